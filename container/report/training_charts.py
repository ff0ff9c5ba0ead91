"""The charts that show how training went, epoch by epoch."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from container.report.charts import GRID, INK, MUTED, TRAINING_COLOR, VALIDATION_COLOR, Chart, Table, finite, new_figure
from container.report.facts import HISTORY_FILE, Epoch
from container.report.results import Results
from container.words import number_text, percent

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# More epochs than this are drawn as areas instead of bars, and have no row each in the table.
MOST_EPOCHS = 200
HEIGHT = 320
# Learning rates that differ by more than this factor are drawn on a logarithmic axis.
WIDE_RANGE = 20


def training_charts(results: Results) -> tuple[Chart, ...]:
    """Return the learning curves, the learning rate and where the time went."""
    return (
        _curve(
            results,
            "loss",
            "Loss",
            lambda row: row.loss,
            lambda row: row.val_loss,
            "The objective that training makes small; lower is better.",
        ),
        _curve(
            results,
            "accuracy",
            "Accuracy",
            lambda row: row.accuracy,
            lambda row: row.val_accuracy,
            "Share of the images given their class; higher is better.",
        ),
        _learning_rate(results),
        _time(results),
    )


def epoch_axis(first: int, last: int) -> dict[str, object]:
    """Return an axis of epochs, with room for the marks at its ends."""
    # Epochs are whole numbers: an axis left to itself shows halves of them where they are few.
    few = {"dtick": 1} if last - first < 10 else {}
    return {"range": [first - 0.6, last + 0.6], "showgrid": False, **few}


def _curve(
    results: Results,
    key: str,
    title: str,
    training: Callable[[Epoch], float],
    validation: Callable[[Epoch], float],
    note: str,
) -> Chart:
    from plotly.graph_objects import Scatter

    history, best = results.history, results.metrics.best_epoch
    epochs = [row.epoch for row in history]
    is_share = key == "accuracy"
    figure = new_figure(
        HEIGHT,
        "epoch",
        xaxis=_axis_of(history),
        yaxis={"tickformat": ".0%"} if is_share else {},
    )
    number = "%{y:.2%}" if is_share else "%{y:.4g}"
    for name, values, color, dash in (
        ("training", training, TRAINING_COLOR, "dot"),
        ("validation", validation, VALIDATION_COLOR, "solid"),
    ):
        figure.add_trace(
            Scatter(
                x=epochs,
                y=[finite(values(row)) for row in history],
                name=name,
                mode=_mode(len(history)),
                line={"color": color, "width": 2, "dash": dash},
                marker={"size": 5},
                hovertemplate=f"epoch %{{x}}: {number}",
            )
        )
    _mark_best(figure, best.epoch, finite(validation(best)))
    _mark_phases(figure, history)

    def shown(value: float) -> str:
        return percent(value, 2) if is_share else number_text(value)

    first, last = history[0], history[-1]
    return Chart(
        key=f"{key}-curve",
        title=title,
        summary=f"{title} by epoch. Training: {shown(training(first))} in epoch {first.epoch}, {shown(training(last))} "
        f"in epoch {last.epoch}. Validation: {shown(validation(first))} and {shown(validation(last))}, and "
        f"{shown(validation(best))} in epoch {best.epoch}, the best one by {results.metrics.monitor}.",
        note=note,
        figure=figure,
        table=_table(
            results,
            ("training", "validation"),
            lambda row: (shown(training(row)), shown(validation(row))),
        ),
        is_wide=False,
    )


def _learning_rate(results: Results) -> Chart:
    from plotly.graph_objects import Scatter

    history = results.history
    rates = [row.learning_rate for row in history]
    is_wide_range = min(rates) > 0 and max(rates) / min(rates) > WIDE_RANGE
    # An axis that tells equal rates apart would show their last digit.
    value_axis = {"type": "log", "dtick": 1} if is_wide_range else {"rangemode": "tozero"}
    figure = new_figure(
        HEIGHT,
        "epoch",
        xaxis=_axis_of(history),
        yaxis=value_axis | {"exponentformat": "e"},
        showlegend=False,
    )
    figure.add_trace(
        Scatter(
            x=[row.epoch for row in history],
            y=rates,
            mode=_mode(len(history)),
            line={"color": TRAINING_COLOR, "width": 2},
            marker={"size": 5},
            hovertemplate="epoch %{x}: %{y:.3g}<extra></extra>",
        )
    )
    _mark_phases(figure, history)
    return Chart(
        key="learning-rate",
        title="Learning rate",
        summary=f"Learning rate at the end of each epoch: {number_text(rates[0])} in epoch {history[0].epoch}, "
        f"{number_text(rates[-1])} in epoch {history[-1].epoch}.",
        note="The optimizer's step size at the end of each epoch.",
        figure=figure,
        table=_table(results, ("learning rate",), lambda row: (number_text(row.learning_rate),)),
        is_wide=False,
    )


def _time(results: Results) -> Chart:
    from plotly.graph_objects import Bar, Scatter

    history = results.history
    shares = {
        "waiting for images": ([row.data_seconds for row in history], "var(--waiting)"),
        "training": ([_compute_seconds(row) for row in history], TRAINING_COLOR),
        "validation": ([row.validation_seconds for row in history], VALIDATION_COLOR),
    }
    figure = new_figure(HEIGHT, "epoch", "seconds", xaxis=_axis_of(history), barmode="stack", bargap=0.15)
    epochs = [row.epoch for row in history]
    for name, (seconds, color) in shares.items():
        hover = "epoch %{x}: %{y:.3g} s"
        if len(history) > MOST_EPOCHS:
            area = {"stackgroup": "time", "line": {"width": 0, "color": color}, "fillcolor": color}
            figure.add_trace(Scatter(x=epochs, y=seconds, name=name, mode="lines", hovertemplate=hover, **area))
        else:
            figure.add_trace(Bar(x=epochs, y=seconds, name=name, marker_color=color, hovertemplate=hover))
    _mark_phases(figure, history)
    total = math.fsum(row.seconds for row in history)
    words = ", ".join(
        f"{percent(math.fsum(seconds) / total if total else 0)} {name}" for name, (seconds, _) in shares.items()
    )
    return Chart(
        key="time",
        title="Time per epoch",
        summary=f"Seconds of each epoch, {total:,.0f} in all: {words}.",
        note=f"All epochs together: {words}.",
        figure=figure,
        table=_table(
            results,
            tuple(shares),
            lambda row: tuple(
                f"{seconds:.2f}" for seconds in (row.data_seconds, _compute_seconds(row), row.validation_seconds)
            ),
        ),
        is_wide=False,
    )


def _compute_seconds(row: Epoch) -> float:
    return max(0.0, row.seconds - row.validation_seconds - row.data_seconds)


def _axis_of(history: Sequence[Epoch]) -> dict[str, object]:
    return epoch_axis(history[0].epoch, history[-1].epoch)


def _mode(epochs: int) -> str:
    return "lines+markers" if epochs <= MOST_EPOCHS // 4 else "lines"


def _mark_best(figure: "Figure", epoch: int, value: float | None) -> None:
    from plotly.graph_objects import Scatter

    figure.add_vline(x=epoch, line={"color": INK, "width": 1, "dash": "dash"})
    figure.add_trace(
        Scatter(
            x=[epoch],
            y=[value],
            mode="markers",
            name=f"best epoch ({epoch})",
            marker={"color": "rgba(0,0,0,0)", "size": 11, "line": {"color": INK, "width": 2}},
            hoverinfo="skip",
        )
    )


def _mark_phases(figure: "Figure", history: Sequence[Epoch]) -> None:
    for before, after in itertools.pairwise(history):
        if after.phase != before.phase:
            figure.add_vline(
                x=(before.epoch + after.epoch) / 2,
                line={"color": MUTED, "width": 1},
                annotation={
                    "text": f"phase {after.phase}",
                    "font": {"color": MUTED, "size": 12},
                    "bgcolor": "var(--paper)",
                    "bordercolor": GRID,
                },
                annotation_position="top right",
            )


def _table(results: Results, names: tuple[str, ...], values: Callable[[Epoch], tuple[str, ...]]) -> Table:
    history, best = results.history, results.metrics.best_epoch.epoch
    step = math.ceil(len(history) / MOST_EPOCHS)
    shown = [row for number, row in enumerate(history) if number % step == 0 or row.epoch == best]
    left_out = len(history) - len(shown)
    return Table(
        header=("epoch", *names),
        rows=tuple((f"{row.epoch} (best)" if row.epoch == best else str(row.epoch), *values(row)) for row in shown),
        note=f"{left_out:,} epochs are left out; {HISTORY_FILE} has all." if left_out else "",
    )
