"""The reliability diagram: how often a model is right, by how sure it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from container.report.charts import GRID, MUTED, SET_COLORS, SET_DASHES, Chart, Table, diagonal, new_figure
from container.report.facts import SetPredictions
from container.report.judging import CALIBRATION_BINS, calibration_bins
from container.report.results import EVALUATION, JUDGED_SETS, Results
from container.words import percent, plural

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

HEIGHT = 420


@dataclass(frozen=True)
class Bin:
    """The images of a set whose highest probability lies between two bounds."""

    center: float
    """Between the bounds."""
    confidence: float
    """Mean of the highest probability."""
    accuracy: float
    images: int


def reliability_chart(results: Results) -> Chart:
    """Return how often the model is right, by how sure it is."""
    bins = {name: tuple(_bins(results.sets[name])) for name in JUDGED_SETS}
    figure = _empty_figure()
    figure.add_trace(diagonal("as sure as right"))
    for name in JUDGED_SETS:
        _add_set(figure, name, bins[name])
    errors = " and ".join(f"{percent(results.judgement(name).calibration_error)} ({name})" for name in JUDGED_SETS)
    return Chart(
        key="reliability",
        title="Reliability",
        summary=f"Share of right predictions by the highest probability. The expected calibration error is {errors}.",
        note="Of the images to which the model gives its class with, say, 80 %, it should get 80 % right: points below "
        "the line are too sure of themselves, points above too modest; larger ones stand for more images. Expected "
        f"calibration error: {errors}.",
        figure=figure,
        table=Table(
            header=("set", "mean probability", "right", "images"),
            rows=tuple(
                (name, percent(part.confidence), percent(part.accuracy), f"{part.images:,}")
                for name in JUDGED_SETS
                for part in bins[name]
            ),
        ),
    )


def _bins(predictions: SetPredictions) -> Iterator[Bin]:
    """Yield the bins of the expected calibration error that have images."""
    confidence = predictions.probabilities.max(axis=1).astype(np.float64)
    is_right = predictions.probabilities.argmax(axis=1) == predictions.labels
    positions = calibration_bins(confidence)
    for position in np.unique(positions).tolist():
        inside = positions == position
        yield Bin(
            center=(position + 0.5) / CALIBRATION_BINS,
            confidence=float(confidence[inside].mean()),
            accuracy=float(is_right[inside].mean()),
            images=int(inside.sum()),
        )


def _empty_figure() -> "Figure":
    images_axis: dict[str, Any] = {
        "domain": [0, 0.24],
        "anchor": "x",
        "fixedrange": True,
        "gridcolor": GRID,
        "tickfont": {"color": MUTED},
        "tickformat": ".0%",
        "rangemode": "tozero",
        "nticks": 3,
        "title": {"text": "images", "font": {"color": MUTED, "size": 13}, "standoff": 10},
        "automargin": True,
    }
    return new_figure(
        HEIGHT,
        "highest probability",
        "share that is right",
        xaxis={"range": [0, 1], "tickformat": ".0%", "anchor": "y2"},
        yaxis={"range": [0, 1.02], "tickformat": ".0%", "domain": [0.34, 1]},
        yaxis2=images_axis,
    )


def _add_set(figure: "Figure", name: str, bins: tuple[Bin, ...]) -> None:
    from plotly.graph_objects import Bar, Scatter

    total = sum(part.images for part in bins)
    hover = [f"{name}: {plural(part.images, 'image')}" for part in bins]
    figure.add_trace(
        Scatter(
            x=[part.confidence for part in bins],
            y=[part.accuracy for part in bins],
            name=name,
            mode="lines+markers",
            line={"color": SET_COLORS[name], "width": 1.5, "dash": SET_DASHES[name]},
            # A bin of few images tells little.
            marker={"size": [5 + 13 * (part.images / total) ** 0.5 for part in bins]},
            cliponaxis=False,
            customdata=hover,
            hovertemplate="%{customdata}<br>sure by %{x:.1%}, right in %{y:.1%}<extra></extra>",
        )
    )
    width = 0.4 / CALIBRATION_BINS
    figure.add_trace(
        Bar(
            x=[part.center for part in bins],
            y=[part.images / total for part in bins],
            width=width,
            offset=-width if name == EVALUATION else 0,
            yaxis="y2",
            marker={"color": SET_COLORS[name]},
            customdata=hover,
            hovertemplate="%{customdata}, %{y:.1%} of all<extra></extra>",
            showlegend=False,
        )
    )
