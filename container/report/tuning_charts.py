"""The charts of a tuning job's objective: trial by trial, and against each setting."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from statistics import median
from typing import TYPE_CHECKING, Any

from container.dataset.text import printable
from container.report.charts import INK, MUTED, Chart, Table, chart_text, new_figure
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

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

HEIGHT = 320
NOTES = {"linear": "", "log": "On a logarithmic scale.", "category": "A line marks the median of each value."}


def progress_chart(tuning: TuningJob, trials: Sequence[RankedTrial]) -> Chart:
    """Return the objective of each trial in the order of the launch, and the best so far."""
    from plotly.graph_objects import Scatter

    judged = [item for item in trials if item.rank]
    choose = max if tuning.direction == "Maximize" else min
    best_so_far = list(accumulate((item.objective for item in judged), choose))
    ranked = judged_trials(trials)
    objective = number_axis(tuning.objective, [item.objective for item in ranked])
    heights = dict(zip((item.objective for item in ranked), objective.values, strict=True))
    x_axis: dict[str, Any] = {"range": [0.4, len(trials) + 0.6]} | ({"dtick": 1} if len(trials) <= 12 else {})
    figure = _objective_figure(tuning, objective, x_axis, "trial, in the order of the launch")
    figure.add_trace(
        Scatter(
            x=[item.number for item in judged],
            y=[heights[best] for best in best_so_far],
            mode="lines",
            line={"color": INK, "width": 1.5, "shape": "hv"},
            hoverinfo="skip",
        )
    )
    numbers: dict[int, float | None] = {item.number: item.number for item in trials}
    _add_points(figure, ranked, numbers, objective, [trial_text(tuning, item, len(ranked)) for item in ranked])
    _add_unranked(figure, trials, numbers, objective)
    best = ranked[0]
    return Chart(
        key="progress",
        title="Objective by trial",
        summary=f"{printable(tuning.objective)} of each trial in the order of the launch. The first one with an "
        f"objective reached {objective_text(judged[0].objective)}, the best one, number {best.number}, "
        f"{objective_text(best.objective)}.",
        note="The line is the best so far, the star the best of all. Crosses below are trials without an objective.",
        figure=figure,
        table=Table(
            header=("trial", "objective", "best so far"),
            rows=tuple(
                (str(item.number), objective_text(item.objective), objective_text(best_then))
                for item, best_then in zip(judged, best_so_far, strict=True)
            ),
        ),
    )


def parameter_charts(tuning: TuningJob, trials: Sequence[RankedTrial]) -> tuple[Chart, ...]:
    """Return a chart for each setting: its values against the objective."""
    return tuple(_parameter_chart(tuning, trials, position, name) for position, name in enumerate(tuning.parameters))


def _parameter_chart(tuning: TuningJob, trials: Sequence[RankedTrial], position: int, name: str) -> Chart:
    judged = judged_trials(trials)
    axis = axis_of(name, [item.trial.values.get(name) for item in trials])
    objective = number_axis(tuning.objective, [item.objective for item in judged])
    places = dict(zip((item.number for item in trials), axis.values, strict=True))
    if axis.kind == "category":
        # Trials of one category would hide each other.
        places = {number: None if at is None else at + _aside(number) for number, at in places.items()}
    figure = _objective_figure(tuning, objective, axis_ticks(axis))
    if axis.kind == "category":
        _add_medians(figure, axis, objective, [axis.values[item.number - 1] for item in judged])
    _add_points(figure, judged, places, objective, [point_text(tuning, item, name) for item in judged])
    _add_unranked(figure, trials, places, objective)
    shown = printable(name)
    by_value = sorted(
        judged, key=lambda item: (axis.values[item.number - 1] is None, axis.values[item.number - 1] or 0.0)
    )
    return Chart(
        key=f"setting-{position + 1}",
        title=shown,
        summary=f"{printable(tuning.objective)} by {shown}. The best trial, number {judged[0].number}, has "
        f"{shown_value(judged[0].trial.values.get(name))}.",
        note=NOTES[axis.kind],
        figure=figure,
        table=Table(
            header=(shown, "objective", "trial"),
            rows=tuple(
                (shown_value(item.trial.values.get(name)), objective_text(item.objective), str(item.number))
                for item in by_value
            ),
        ),
        is_wide=False,
    )


def _objective_figure(tuning: TuningJob, objective: Axis, x_axis: dict[str, Any], x_title: str = "") -> "Figure":
    """Return a figure with the objective upwards, and room below for the trials without one."""
    span = objective.high - objective.low
    low, high = objective.low - 0.16 * span, objective.high + 0.07 * span
    y_axis = axis_ticks(objective) | {"range": [low, high], "zeroline": False}
    return new_figure(
        HEIGHT,
        x_title,
        chart_text(tuning.objective),
        xaxis={"showgrid": False, "zeroline": False} | x_axis,
        yaxis=y_axis,
        margin={"l": 8, "r": 16, "t": 16, "b": 8},
        hovermode="closest",
        showlegend=False,
    )


def _add_points(
    figure: "Figure",
    judged: Sequence[RankedTrial],
    places: Mapping[int, float | None],
    objective: Axis,
    texts: Sequence[str],
) -> None:
    """Add a mark for each judged trial, the best one first, at a place by the trial's number."""
    from plotly.graph_objects import Scatter

    # The best ones are drawn over the others. A trace for each color: marks with colors of their own are slow to draw.
    for is_best, color, positions in by_color(judged, range(len(judged))):
        figure.add_trace(
            Scatter(
                x=[places[judged[position].number] for position in positions],
                y=[objective.values[position] for position in positions],
                mode="markers",
                marker={
                    "color": color,
                    "symbol": "star" if is_best else "circle",
                    "size": 16 if is_best else 8,
                    "line": {"color": INK, "width": 1},
                    "opacity": 1,
                },
                customdata=[texts[position] for position in positions],
                hovertemplate="%{customdata}<extra></extra>",
            )
        )


def _add_unranked(
    figure: "Figure", trials: Sequence[RankedTrial], places: Mapping[int, float | None], objective: Axis
) -> None:
    """Add a cross below for each trial whose objective does not count, or is not there."""
    from plotly.graph_objects import Scatter

    unranked = [item for item in trials if item.rank is None]
    low = objective.low - 0.1 * (objective.high - objective.low)
    figure.add_trace(
        Scatter(
            x=[places[item.number] for item in unranked],
            y=[low] * len(unranked),
            mode="markers",
            marker={"color": MUTED, "symbol": "x-thin", "size": 8, "line": {"color": MUTED, "width": 2}},
            customdata=[f"trial {item.number}: {chart_text(item.trial.status)}, no objective" for item in unranked],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )


def _add_medians(figure: "Figure", axis: Axis, objective: Axis, categories: Sequence[float | None]) -> None:
    """Add a line at the median objective of each category; `categories` has that of each judged trial."""
    from plotly.graph_objects import Scatter

    x: list[float | None] = []
    y: list[float | None] = []
    for tick in axis.ticks:
        reached = [
            value
            for value, category in zip(objective.values, categories, strict=True)
            if category == tick.at and value is not None
        ]
        if reached:
            x += [tick.at - 0.35, tick.at + 0.35, None]
            y += [median(reached), median(reached), None]
    figure.add_trace(Scatter(x=x, y=y, mode="lines", line={"color": MUTED, "width": 2}, hoverinfo="skip"))


def _aside(number: int) -> float:
    """Return by how much a trial is moved aside: multiples of the golden ratio spread evenly, however many they are."""
    return ((number * 0.618034) % 1 - 0.5) * 0.5
