"""The parallel coordinates of a tuning job: each trial as a line over an axis for each setting.

They are lines of SVG, since plotly's own parallel coordinates need WebGL, which not each reader's machine has.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from container.dataset.text import printable
from container.report.charts import (
    GRID,
    INK,
    LONGEST_OF_MANY,
    MUTED,
    PAPER,
    Chart,
    Choice,
    Option,
    Table,
    chart_text,
    new_figure,
    shortened,
)
from container.report.ranked_trials import (
    RankedTrial,
    axis_ticks,
    by_color,
    judged_trials,
    objective_text,
    point_text,
    shown_value,
    trial_text,
)
from container.report.tuning_axes import Axis, axis_of, number_axis
from container.report.tuning_job import TuningJob
from container.words import plural

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

HEIGHT = 460
# Of an axis, in pixels.
AXIS_WIDTH = 104
# Fewer trials have no best quarter that is worth a look of its own.
LEAST_TO_CHOOSE = 8


def parallel_chart(tuning: TuningJob, trials: Sequence[RankedTrial]) -> Chart:
    """Return the parallel coordinates: an axis for each setting and the objective, and a line for each judged trial."""
    judged = judged_trials(trials)
    columns = [(name, [item.trial.values.get(name) for item in judged]) for name in tuning.parameters]
    axes = [axis_of(name, values) for name, values in columns]
    axes.append(number_axis(tuning.objective, [item.objective for item in judged]))
    figure = _parallel_figure(axes)
    quarter = max(2, len(judged) // 4)
    can_choose = len(judged) >= LEAST_TO_CHOOSE
    everybody = range(len(judged))
    _add_lines(figure, tuning, axes, judged, everybody, {"trials": "all"} if can_choose else None)
    if can_choose:
        _add_quiet_lines(figure, axes, everybody[quarter:])
        _add_lines(figure, tuning, axes, judged, everybody[:quarter], {"trials": "best"})
    best = judged[0]
    return Chart(
        key="parallel-coordinates",
        title="Parallel coordinates",
        summary=f"A line of each of {plural(len(judged), 'trial')} over an axis for each setting and, as the last, the "
        f"objective. The best trial, number {best.number}, has {_values_text(tuning, best)}.",
        note="Each line is a trial, and crosses each axis at its value. The bluer it is, the better the trial's rank; "
        "the orange ones are the worst. The best one is thick.",
        figure=figure,
        table=Table(
            header=("trial", *map(printable, tuning.parameters), printable(tuning.objective)),
            rows=tuple(
                (
                    str(item.number),
                    *(shown_value(item.trial.values.get(name)) for name in tuning.parameters),
                    objective_text(item.objective),
                )
                for item in judged
            ),
            text_columns=1,
        ),
        choices=(Choice("trials", "Trials", (Option("all", "all"), Option("best", f"best {quarter}"))),)
        if can_choose
        else (),
        least_width=AXIS_WIDTH * (len(axes) + 1),
    )


def _parallel_figure(axes: Sequence[Axis]) -> "Figure":
    # Room for the texts of the outer axes, as a share of the distance between two of them.
    left, right = min(0.8, 0.13 * len(axes)), min(0.4, 0.07 * len(axes))
    figure = new_figure(
        HEIGHT,
        xaxis={"range": [-left, len(axes) - 1 + right], "visible": False},
        yaxis={"range": [-0.04, 1.03], "visible": False},
        margin={"l": 8, "r": 8, "t": 56, "b": 8},
        hovermode="closest",
        showlegend=False,
    )
    for position, axis in enumerate(axes):
        figure.add_shape(
            type="line", x0=position, x1=position, y0=0, y1=1, layer="above", line={"color": MUTED, "width": 1}
        )
        figure.add_annotation(
            x=position,
            y=1.03,
            yanchor="bottom",
            showarrow=False,
            text=_heading(axis.name),
            font={"color": INK, "size": 12},
        )
        ticks = axis_ticks(axis, LONGEST_OF_MANY)
        for at, text in zip(ticks["tickvals"], ticks["ticktext"], strict=True):
            figure.add_annotation(
                x=position,
                y=axis.place(at),
                xanchor="right",
                xshift=-3,
                showarrow=False,
                text=text,
                font={"color": MUTED, "size": 11},
                bgcolor=PAPER,
                borderpad=1,
                opacity=0.85,
            )
    return figure


def _heading(name: str) -> str:
    """Return a name in two lines where it is long: a setting's group and itself, or a metric's words."""
    shown = printable(name)
    first, mark, last = shown.rpartition("." if "." in shown else "_")
    lines = [first + mark, last] if mark and len(shown) > LONGEST_OF_MANY else [shown]
    return "<br>".join(chart_text(shortened(line, LONGEST_OF_MANY)) for line in lines)


def _add_lines(
    figure: "Figure",
    tuning: TuningJob,
    axes: Sequence[Axis],
    judged: Sequence[RankedTrial],
    positions: Sequence[int],
    meta: dict[str, str] | None,
) -> None:
    """Add the lines of some judged trials: one trace for each color, since many traces are slow to draw."""
    from plotly.graph_objects import Scatter

    for is_best, color, group in by_color(judged, positions):
        figure.add_trace(
            Scatter(
                **_line_coordinates(axes, group),
                mode="lines+markers" if is_best else "lines",
                line={"color": color, "width": 4 if is_best else 1.5},
                marker={"size": 8},
                opacity=1 if is_best else 0.8,
                customdata=[text for position in group for text in (*_texts(tuning, judged, position), "")],
                hovertemplate="%{customdata}<extra></extra>",
                meta=meta,
            )
        )


def _texts(tuning: TuningJob, judged: Sequence[RankedTrial], position: int) -> Iterator[str]:
    """Yield what a trial's marks tell: on each setting's axis its value there, on the objective's all of it."""
    for name in tuning.parameters:
        yield point_text(tuning, judged[position], name)
    yield trial_text(tuning, judged[position], len(judged))


def _line_coordinates(axes: Sequence[Axis], positions: Sequence[int]) -> dict[str, list[float | None]]:
    """Return the lines of some trials as one, with a gap after each."""
    places = [axis.places for axis in axes]
    return {
        "x": [*range(len(axes)), None] * len(positions),
        "y": [place for position in positions for place in (*(column[position] for column in places), None)],
    }


def _add_quiet_lines(figure: "Figure", axes: Sequence[Axis], positions: Sequence[int]) -> None:
    """Add lines that only show where the others are."""
    from plotly.graph_objects import Scatter

    figure.add_trace(
        Scatter(
            **_line_coordinates(axes, positions),
            mode="lines",
            line={"color": GRID, "width": 1},
            hoverinfo="skip",
            meta={"trials": "best"},
        )
    )


def _values_text(tuning: TuningJob, item: RankedTrial) -> str:
    return ", ".join(f"{printable(name)} {shown_value(item.trial.values.get(name))}" for name in tuning.parameters)
