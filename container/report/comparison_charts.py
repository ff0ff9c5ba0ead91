"""The charts that show training jobs over each other: their learning curves, and how well they tell each class."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from container.dataset.text import printable
from container.report.charts import (
    COLUMN_WIDTH,
    MOST_ROWS,
    PAPER,
    Chart,
    Choice,
    Option,
    Table,
    axis_labels,
    chart_text,
    finite,
    full_name,
    new_figure,
    shortened,
)
from container.report.facts import ClassScores, Epoch, Judgement, Metrics
from container.report.results import EVALUATION, JUDGED_SETS
from container.report.summary import quoted
from container.report.training_charts import MOST_EPOCHS, epoch_axis
from container.words import number_text, percent

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MOST_JOBS = 8
# In pixels; a legend has a line for each job.
CURVE_HEIGHT, LEGEND_LINE = 300, 22
ROW_HEIGHT = 24
# Of a job's name in a legend, in characters.
LONGEST_NAME = 44


@dataclass(frozen=True)
class LineStyle:
    """How the lines of one job look: no two jobs have the color alone between them."""

    color: str
    dash: str
    """As SVG and plotly take it: lengths in pixels of what is drawn and what is left out."""
    symbol: str
    """Plotly's name of the mark."""


@dataclass(frozen=True, eq=False)
class JudgedJob:
    """A training job with results."""

    position: int
    """Among all jobs that are compared."""
    name: str
    style: LineStyle
    metrics: Metrics
    history: tuple[Epoch, ...]

    def judgement(self, group: str) -> Judgement:
        """Return how good its model is on one of JUDGED_SETS."""
        return self.metrics if group == EVALUATION else self.metrics.validation

    def class_scores(self, group: str) -> dict[str, ClassScores]:
        """Return how well it tells each class, by the class's name."""
        return {scores.name: scores for scores in self.judgement(group).classes}


def line_styles(count: int) -> tuple[LineStyle, ...]:
    """Return a style for each of at most MOST_JOBS jobs."""
    dashes = ("", "8,4", "2,3", "10,3,2,3", "14,5", "10,3,2,3,2,3", "5,2", "2,7")
    symbols = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "triangle-down")
    return tuple(
        LineStyle(f"var(--job-{number})", dash, symbol)
        for number, dash, symbol in zip(range(1, count + 1), dashes, symbols, strict=False)
    )


def curve_charts(jobs: Sequence[JudgedJob]) -> tuple[Chart, ...]:
    """Return the learning curves of all jobs over each other."""
    return (
        _curve_chart(jobs, "loss", "Training loss", lambda row: row.loss, "Lower is better."),
        _curve_chart(jobs, "val-loss", "Validation loss", lambda row: row.val_loss, "Lower is better."),
        _curve_chart(jobs, "val-accuracy", "Validation accuracy", lambda row: row.val_accuracy, "Higher is better."),
        _curve_chart(jobs, "val-f1", "Validation F1", lambda row: row.val_f1, "Higher is better."),
    )


def class_chart(jobs: Sequence[JudgedJob]) -> Chart:
    """Return the F1 score of each class by each job; the class that is told best on average comes first."""
    scores: dict[str, dict[int, float]] = {}
    for job in jobs:
        for name, of_class in job.class_scores(EVALUATION).items():
            scores.setdefault(name, {})[job.position] = of_class.f1
    order = sorted(scores, key=lambda name: -fmean(scores[name].values()))
    names = {job.position: job.name for job in jobs}
    widest = max(order, key=lambda name: max(scores[name].values()) - min(scores[name].values()))
    low, high = min(scores[widest].values()), max(scores[widest].values())
    best = max(scores[widest], key=lambda position: scores[widest][position])
    apart = (
        f"The models differ most at {quoted(widest)}: {low:.3f} to {high:.3f}, the best by {quoted(names[best])}."
        if high > low
        else "The models do equally well at all classes."
    )
    return Chart(
        key="class-scores",
        title="F1 score by class",
        summary=f"F1 score of each class on the evaluation set, the class with the highest mean first. {apart}",
        note="A mark for each job, the class with the highest mean first. A job whose model does not know a class has "
        f"no mark there. {apart}",
        figure=_class_figure(jobs, order),
        table=Table(
            header=("class", *(f"{printable(job.name)}: {group}" for group in JUDGED_SETS for job in jobs)),
            rows=tuple(_class_row(jobs, name) for name in order),
        ),
        choices=(Choice("set", "Set", tuple(Option(group, group) for group in JUDGED_SETS)),),
        least_width=0 if len(order) <= MOST_ROWS else 80 + len(order) * max(COLUMN_WIDTH, 8),
    )


def _curve_chart(
    jobs: Sequence[JudgedJob],
    key: str,
    title: str,
    value: Callable[[Epoch], float],
    note: str,
) -> Chart:
    from plotly.graph_objects import Scatter

    is_share = key == "val-accuracy"
    epochs = [row.epoch for job in jobs for row in job.history]
    figure = new_figure(
        CURVE_HEIGHT + LEGEND_LINE * len(jobs),
        "epoch",
        xaxis=epoch_axis(min(epochs), max(epochs)),
        yaxis={"tickformat": ".0%"} if is_share else {},
        # Of a single job as well: its name says whose curve it is.
        showlegend=True,
    )
    for job in jobs:
        figure.add_trace(
            Scatter(
                x=[row.epoch for row in job.history],
                y=[finite(value(row)) for row in job.history],
                name=chart_text(shortened(printable(job.name), LONGEST_NAME)),
                mode="lines",
                line={"color": job.style.color, "width": 2, "dash": _plotly_dash(job.style)},
                text=full_name(job.name),
                hovertemplate=f"%{{text}}<br>epoch %{{x}}: %{{y:{'.2%' if is_share else '.4g'}}}<extra></extra>",
            )
        )
        _mark_best(figure, job, value)

    def shown(number: float) -> str:
        return percent(number, 2) if is_share else number_text(number)

    words = "; ".join(
        f"{printable(job.name)}: {shown(value(best))} in its best epoch, {best.epoch}"
        for job in jobs
        for best in (job.metrics.best_epoch,)
    )
    return Chart(
        key=key,
        title=title,
        summary=f"{title} by epoch. {words}.",
        note=f"{note} A mark stands at the epoch whose weights were kept.",
        figure=figure,
        table=_curve_table(jobs, lambda row: shown(value(row))),
        is_wide=False,
    )


def _mark_best(figure: "Figure", job: JudgedJob, value: Callable[[Epoch], float]) -> None:
    from plotly.graph_objects import Scatter

    best = job.metrics.best_epoch
    figure.add_trace(
        Scatter(
            x=[best.epoch],
            y=[finite(value(best))],
            mode="markers",
            marker={
                "color": job.style.color,
                "symbol": job.style.symbol,
                "size": 10,
                "line": {"color": PAPER, "width": 1},
            },
            hoverinfo="skip",
            showlegend=False,
        )
    )


def _curve_table(jobs: Sequence[JudgedJob], text: Callable[[Epoch], str]) -> Table:
    columns = [{row.epoch: text(row) for row in job.history} for job in jobs]
    epochs = sorted({epoch for column in columns for epoch in column})
    step = max(1, math.ceil(len(epochs) / MOST_EPOCHS))
    shown = epochs[::step]
    return Table(
        header=("epoch", *(printable(job.name) for job in jobs)),
        rows=tuple((str(epoch), *(column.get(epoch, "") for column in columns)) for epoch in shown),
        note=f"{len(epochs) - len(shown):,} epochs are left out; each job's history.csv has all." if step > 1 else "",
    )


def _class_figure(jobs: Sequence[JudgedJob], order: Sequence[str]) -> "Figure":
    """Return marks in rows of classes where they are few, else in narrow columns."""
    from plotly.graph_objects import Scatter

    labels = dict(zip(order, axis_labels(order), strict=True))
    in_rows = len(order) <= MOST_ROWS
    category: dict[str, object] = {"type": "category", "categoryorder": "array", "categoryarray": list(labels.values())}
    category["range"] = [len(order) - 0.5, -0.5] if in_rows else [-0.5, len(order) - 0.5]
    number = {"tickformat": ".1f", "range": [-0.01, 1.01], "showgrid": not in_rows}
    figure = new_figure(
        (90 + len(order) * ROW_HEIGHT if in_rows else 420) + LEGEND_LINE * len(jobs),
        "F1 score" if in_rows else "",
        "" if in_rows else "F1 score",
        xaxis=number if in_rows else category | {"tickangle": -90},
        yaxis=category if in_rows else number,
        hovermode="closest",
        showlegend=True,
    )
    for group in JUDGED_SETS:
        for job in jobs:
            scores = job.class_scores(group)
            known = [name for name in order if name in scores]
            values, places = [scores[name].f1 for name in known], [labels[name] for name in known]
            figure.add_trace(
                Scatter(
                    x=values if in_rows else places,
                    y=places if in_rows else values,
                    name=chart_text(shortened(printable(job.name), LONGEST_NAME)),
                    mode="markers",
                    marker={
                        "color": job.style.color,
                        "symbol": job.style.symbol,
                        "size": 10 if in_rows else 7,
                        "line": {"color": PAPER, "width": 1},
                    },
                    cliponaxis=False,
                    customdata=[_class_text(job, scores[name]) for name in known],
                    hovertemplate="%{customdata}<extra></extra>",
                    meta={"set": group},
                )
            )
    return figure


def _class_text(job: JudgedJob, scores: ClassScores) -> str:
    return (
        f"{full_name(scores.name)}<br>{full_name(job.name)}<br>F1 {scores.f1:.3f}, precision {scores.precision:.3f}, "
        f"recall {scores.recall:.3f}, {scores.support:,} images"
    )


def _class_row(jobs: Sequence[JudgedJob], name: str) -> tuple[str, ...]:
    cells = [printable(name)]
    for group in JUDGED_SETS:
        for job in jobs:
            scores = job.class_scores(group).get(name)
            cells.append("-" if scores is None else f"{scores.f1:.3f}")
    return tuple(cells)


def _plotly_dash(style: LineStyle) -> str:
    return ",".join(f"{length}px" for length in style.dash.split(",")) if style.dash else "solid"
