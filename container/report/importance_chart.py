"""The chart of how much each setting of a tuning job mattered."""

from container.dataset.text import printable
from container.report.charts import INK, Chart, Table, chart_text, distinct_labels, full_name, new_figure
from container.report.importance import Importance
from container.report.tuning_axes import Axis
from container.words import percent

ROW_HEIGHT = 34
# Of a setting's name on the axis, in characters.
LONGEST_NAME = 40


def importance_chart(importance: Importance, objective: Axis) -> Chart:
    """Return how much each setting mattered, with how sure that is; `objective` is the axis that it was judged on."""
    from plotly.graph_objects import Bar

    found = importance.parameters
    names = distinct_labels([item.name for item in found], LONGEST_NAME)
    labels = [chart_text(name) for name in names]
    figure = new_figure(
        90 + ROW_HEIGHT * len(found),
        "share of the variance",
        xaxis={"tickformat": ".0%", "zeroline": True},
        yaxis={"type": "category", "range": [len(found) - 0.5, -0.5], "showgrid": False},
        bargap=0.45,
        showlegend=False,
    )
    figure.add_trace(
        Bar(
            x=[max(item.share, 0.0) for item in found],
            y=labels,
            orientation="h",
            marker={"color": ["var(--evaluation)" if item.is_sure else "var(--training)" for item in found]},
            error_x={"array": [item.margin for item in found], "color": INK, "thickness": 1.5, "width": 5},
            customdata=[f"{full_name(item.name)}<br>{_share_text(item.share, item.margin)}" for item in found],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )
    variance = "variance of the objective's logarithm" if objective.kind == "log" else "objective's variance"
    sure = [printable(item.name) for item in found if item.is_sure]
    return Chart(
        key="importance",
        title="What mattered",
        summary=f"Share of the {variance} between the trials that goes with each setting: "
        + "; ".join(f"{printable(item.name)} {_share_text(item.share, item.margin)}" for item in found)
        + ".",
        note=f"Share of the {variance} that goes with a setting, alone or together with others, and its "
        f"95\N{NO-BREAK SPACE}% interval. By a forest of scikit-learn, which explains "
        f"{percent(importance.explained, 0)} of the variance of trials that it had not seen. "
        + (f"Surely more than nothing: {', '.join(sure)}; gray bars" if sure else "All of it")
        + " may be chance. It holds for the values that were tried.",
        figure=figure,
        table=Table(
            header=("setting", "share of the variance", "plus or minus", "may be chance"),
            rows=tuple(
                (printable(item.name), percent(item.share), percent(item.margin), "no" if item.is_sure else "yes")
                for item in found
            ),
        ),
    )


def _share_text(share: float, margin: float) -> str:
    return f"{percent(share)}, plus or minus {percent(margin)}"
