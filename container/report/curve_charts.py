"""The ROC and precision-recall curves of each class against the rest, and the mean of all."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from container.dataset.text import printable
from container.report.charts import (
    PAPER,
    SET_COLORS,
    SET_DASHES,
    Chart,
    Choice,
    Option,
    Table,
    diagonal,
    new_figure,
)
from container.report.facts import Judgement
from container.report.results import EVALUATION, JUDGED_SETS, Results

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

HEIGHT = 420
# A curve of more points is drawn by so many of them: at a curve's length of 2 at most, none is 1 % off.
MOST_POINTS = 200
# Where the mean of all classes' curves is taken.
GRID_POINTS = np.linspace(0, 1, 501)
MEAN = "mean"


@dataclass(frozen=True, eq=False)
class Curve:
    """A curve in the unit square, from the left to the right."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]

    def thinned(self) -> "Curve":
        """Return the curve with so many points as can be told apart in a chart."""
        if len(self.x) <= MOST_POINTS:
            return self
        lengths = np.concatenate([[0], np.cumsum(np.hypot(np.diff(self.x), np.diff(self.y)))])
        kept = np.unique(np.searchsorted(lengths, np.linspace(0, lengths[-1], MOST_POINTS - 1)))
        kept = np.append(kept[kept < len(self.x) - 1], len(self.x) - 1)
        return Curve(self.x[kept], self.y[kept])


@dataclass(frozen=True)
class Kind:
    """A kind of curve."""

    of_class: Callable[[NDArray[np.bool_], NDArray[np.float32]], Curve]
    """Gives the curve of one class from whether each image is of it, and its probability."""
    mean: Callable[[Iterable[Curve]], Curve]
    hover: str
    """Plotly's template of a point's label."""
    shape: str
    """Plotly's name of the line between two points."""


def roc_chart(results: Results) -> Chart:
    """Return the ROC curves of each class against the rest, and their mean."""
    figure = new_figure(
        HEIGHT,
        "false positive rate",
        "true positive rate",
        xaxis={"range": [-0.01, 1.01], "tickformat": ".0%"},
        yaxis={"range": [0, 1.01], "tickformat": ".0%"},
    )
    figure.add_trace(diagonal("guessing"))
    _add_curves(figure, results, Kind(_roc, _mean_roc, "%{x:.1%} false, %{y:.1%} true positives", "linear"))
    for name in JUDGED_SETS:
        _mark_threshold(figure, results, name, _roc_point)
    return Chart(
        key="roc",
        title="ROC curve",
        summary="True positive rate by false positive rate, of each class against the rest. The area under the curve, "
        f"in the mean of the classes, is {_areas(results, 'roc_auc')}.",
        note="How many of a class are found, by how many of the others are taken for it, as the threshold falls. Area "
        f"under the curve: {_areas(results, 'roc_auc')}.",
        figure=figure,
        table=_area_table(results, "roc_auc", "area under the ROC curve"),
        choices=_class_choices(results),
        is_wide=False,
    )


def precision_recall_chart(results: Results) -> Chart:
    """Return the precision-recall curves of each class against the rest, and their mean."""
    figure = new_figure(
        HEIGHT,
        "recall",
        "precision",
        xaxis={"range": [-0.01, 1.01], "tickformat": ".0%"},
        yaxis={"range": [0, 1.01], "tickformat": ".0%"},
    )
    kind = Kind(_precision_recall, _mean_precision_recall, "recall %{x:.1%}, precision %{y:.1%}", "vh")
    _add_curves(figure, results, kind)
    for name in JUDGED_SETS:
        _mark_threshold(figure, results, name, _precision_recall_point)
    return Chart(
        key="precision-recall",
        title="Precision-recall curve",
        summary="Precision by recall, of each class against the rest. The average precision, in the mean of the "
        f"classes, is {_areas(results, 'average_precision')}.",
        note="How many of those taken for a class are of it, by how many of the class are found. Average precision: "
        f"{_areas(results, 'average_precision')}.",
        figure=figure,
        table=_area_table(results, "average_precision", "average precision"),
        choices=_class_choices(results),
        is_wide=False,
    )


def _add_curves(figure: "Figure", results: Results, kind: Kind) -> None:
    from plotly.graph_objects import Scatter

    for name in JUDGED_SETS:
        predictions, curves = results.sets[name], {}
        for position in range(len(results.classes)):
            is_of_class = predictions.labels == position
            # Such a class has no curve, as it has no area.
            if is_of_class.any() and not is_of_class.all():
                curves[str(position)] = kind.of_class(is_of_class, predictions.probabilities[:, position])
        if curves:
            curves[MEAN] = kind.mean(tuple(curves.values()))
        for key, curve in curves.items():
            thin = curve.thinned()
            figure.add_trace(
                Scatter(
                    x=thin.x.astype(np.float32),
                    y=thin.y.astype(np.float32),
                    name=name,
                    mode="lines",
                    line={"color": SET_COLORS[name], "width": 2, "dash": SET_DASHES[name], "shape": kind.shape},
                    hovertemplate=kind.hover,
                    meta={"class": key},
                )
            )


def _roc(is_of_class: NDArray[np.bool_], probabilities: NDArray[np.float32]) -> Curve:
    from sklearn.metrics import roc_curve

    false_positives, true_positives, _ = roc_curve(is_of_class, probabilities)
    return Curve(false_positives, true_positives)


def _mean_roc(curves: Iterable[Curve]) -> Curve:
    heights = np.mean([np.interp(GRID_POINTS, curve.x, curve.y) for curve in curves], axis=0)
    # Some of a class may be found before any other is taken for it: the curve rises above 0.
    return Curve(np.append(0, GRID_POINTS), np.append(0, heights))


def _precision_recall(is_of_class: NDArray[np.bool_], probabilities: NDArray[np.float32]) -> Curve:
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(is_of_class, probabilities, drop_intermediate=True)
    return Curve(recall[::-1], precision[::-1])


def _mean_precision_recall(curves: Iterable[Curve]) -> Curve:
    # Average precision is the area under these steps: between two recalls the precision is that of the greater one.
    heights = [curve.y[np.searchsorted(curve.x, GRID_POINTS)] for curve in curves]
    return Curve(GRID_POINTS, np.mean(heights, axis=0))


def _mark_threshold(
    figure: "Figure", results: Results, name: str, point: Callable[[Judgement], tuple[float, float]]
) -> None:
    """Mark where the threshold of a problem of two classes lies on the curve of the second one."""
    from plotly.graph_objects import Scatter

    judgement = results.judgement(name)
    if judgement.threshold is None or not all(scores.support for scores in judgement.classes):
        return
    x, y = point(judgement)
    figure.add_trace(
        Scatter(
            x=[x],
            y=[y],
            name=f"threshold {judgement.threshold.probability:.3f}",
            mode="markers",
            showlegend=name == EVALUATION,
            cliponaxis=False,
            marker={"color": PAPER, "size": 11, "line": {"color": SET_COLORS[name], "width": 3}},
            hovertemplate=f"threshold, {name}: %{{x:.1%}}, %{{y:.1%}}<extra></extra>",
            meta={"class": "1"},
        )
    )


def _roc_point(judgement: Judgement) -> tuple[float, float]:
    assert judgement.threshold is not None
    first, second = (scores.support for scores in judgement.classes)
    return judgement.threshold.false_positives / first, 1 - judgement.threshold.false_negatives / second


def _precision_recall_point(judgement: Judgement) -> tuple[float, float]:
    assert judgement.threshold is not None
    second = judgement.classes[1].support
    found = second - judgement.threshold.false_negatives
    given = found + judgement.threshold.false_positives
    return found / second, found / given if given else 1.0


def _class_choices(results: Results) -> tuple[Choice, ...]:
    """Return the choice among the classes that have a curve."""
    options = [
        Option(str(position), printable(name))
        for position, name in enumerate(results.classes)
        if any(results.judgement(group).classes[position].roc_auc is not None for group in JUDGED_SETS)
    ]
    if not options:
        return ()
    mean = Option(MEAN, "mean of all classes")
    # The threshold of two classes is one for the second of them.
    options = [*reversed(options), mean] if len(results.classes) == 2 else [mean, *options]
    return (Choice("class", "Class", tuple(options)),)


def _areas(results: Results, field: str) -> str:
    areas = ((name, getattr(results.judgement(name), field)) for name in JUDGED_SETS)
    return " and ".join(f"{_area(area)} ({name})" for name, area in areas)


def _area(area: float | None) -> str:
    return "not defined" if area is None else f"{area:.3f}"


def _area_table(results: Results, field: str, title: str) -> Table:
    rows = [
        (printable(name), *(_area(getattr(results.judgement(group).classes[position], field)) for group in JUDGED_SETS))
        for position, name in enumerate(results.classes)
    ]
    mean = ("mean", *(_area(getattr(results.judgement(group), field)) for group in JUDGED_SETS))
    return Table(
        header=("class", *(f"{group}: {title}" for group in JUDGED_SETS)),
        rows=(mean, *rows),
        note="It is not defined for a class of which a set has no images, or no others.",
    )
