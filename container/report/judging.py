"""How well predictions meet the labels: scikit-learn's figures, gathered into a Judgement. Pure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from container.errors import ProjectError
from container.modeling.insight_settings import Evaluation
from container.report.facts import ClassScores, Judgement, Scores, Threshold

# Bins of equal width for the expected calibration error: https://arxiv.org/abs/1706.04599, section 2.
CALIBRATION_BINS = 15


class PredictionError(ProjectError):
    """Predictions cannot be judged."""


def judge(
    labels: NDArray[Any],
    probabilities: NDArray[Any],
    classes: Sequence[str],
    settings: Evaluation,
    threshold: float | None = None,
) -> Judgement:
    """Judge predictions.

    Args:
        labels: position of each image's true class; integers, shape (images,).
        probabilities: of each class for each image; floating-point numbers, shape (images, classes).
        classes: names, in the order of the probabilities. Some may occur in no label.
        settings: what to count, and what mistakes cost.
        threshold: the probability from which on an image is given the second of two classes; None: the one that costs
            least here.

    Raises:
        ValueError: there are no images, the shapes do not fit each other, or a label is no position.
        PredictionError: a probability is not a finite number.
    """
    _check(labels, probabilities, classes)
    predicted = probabilities.argmax(axis=1)
    confusion = _confusion(labels, predicted, len(classes))
    areas = [_areas(labels == position, probabilities[:, position]) for position in range(len(classes))]
    rows = score_classes(labels, predicted, len(classes))
    top_k = min(settings.top_k, len(classes))
    return Judgement(
        images=len(labels),
        accuracy=float(np.mean(predicted == labels)),
        accuracy_interval=_accuracy_interval(int(np.sum(predicted == labels)), len(labels)),
        majority_accuracy=max(row.support for row in rows) / len(labels),
        balanced_accuracy=balanced_accuracy(rows),
        top_k=top_k,
        top_k_accuracy=_top_k_accuracy(labels, probabilities, top_k),
        loss=float(cross_entropies(labels, probabilities).mean()),
        calibration_error=_calibration_error(predicted == labels, probabilities.max(axis=1)),
        roc_auc=_mean([roc_auc for roc_auc, _ in areas]),
        average_precision=_mean([precision for _, precision in areas]),
        threshold=_threshold(labels == 1, probabilities[:, 1], settings, threshold) if len(classes) == 2 else None,
        classes=tuple(
            ClassScores(name=name, roc_auc=area[0], average_precision=area[1], **row.model_dump())
            for name, row, area in zip(classes, rows, areas, strict=True)
        ),
        macro_average=macro_average(rows),
        weighted_average=weighted_average(rows),
        confusion_matrix=confusion.tolist(),
    )


def cross_entropies(labels: NDArray[Any], probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """Return the cross-entropy of each prediction, in nats; shape (images,). The arguments are those of `judge`."""
    # sklearn.metrics.log_loss refuses a single class, and tells the mean only; this is its formula, in its precision.
    chosen = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    smallest = np.finfo(probabilities.dtype).eps
    return -np.log(np.clip(chosen, smallest, 1 - smallest))


def score_classes(labels: NDArray[Any], predicted: NDArray[Any], class_count: int) -> tuple[Scores, ...]:
    """Return the scores of each class, in order.

    Args:
        labels: position of each image's true class; integers, shape (images,).
        predicted: position of each image's predicted class; integers, shape (images,).
        class_count: how many classes there are; some may occur in neither.
    """
    from sklearn.metrics import precision_recall_fscore_support

    known = precision_recall_fscore_support(labels, predicted, labels=np.arange(class_count), zero_division=0)
    confusion = _confusion(labels, predicted, class_count)
    others = len(labels) - confusion.sum(axis=1)
    right_others = others - (confusion.sum(axis=0) - confusion.diagonal())
    specificity = np.divide(right_others, others, out=np.zeros(class_count), where=others > 0)
    return tuple(
        Scores(
            precision=float(precision),
            recall=float(recall),
            f1=float(f1),
            specificity=float(rest),
            geometric_mean=float(np.sqrt(recall * rest)),
            support=int(support),
        )
        for precision, recall, f1, support, rest in zip(*known, specificity, strict=True)
    )


def balanced_accuracy(rows: Sequence[Scores]) -> float:
    """Return the mean recall over the classes that occur in the labels."""
    return float(np.mean([row.recall for row in rows if row.support]))


def macro_average(rows: Sequence[Scores]) -> Scores:
    """Return the mean over the classes; its support is that of all together."""
    return _average(rows, [1] * len(rows))


def weighted_average(rows: Sequence[Scores]) -> Scores:
    """Return the mean over the classes, weighted by support; its support is that of all together."""
    return _average(rows, [row.support for row in rows])


def calibration_bins(confidences: NDArray[Any]) -> NDArray[np.int64]:
    """Return the position of the bin of each probability, from 0; shape (images,).

    Bin b holds what is above b / CALIBRATION_BINS and up to (b + 1) / CALIBRATION_BINS, the first one 0 as well.
    """
    inner_edges = np.arange(1, CALIBRATION_BINS) / CALIBRATION_BINS
    return np.searchsorted(inner_edges, confidences.astype(np.float64), side="left")


def _check(labels: NDArray[Any], probabilities: NDArray[Any], classes: Sequence[str]) -> None:
    if labels.ndim != 1 or len(labels) == 0 or probabilities.shape != (len(labels), len(classes)):
        raise ValueError(
            f"labels of the shape {labels.shape} and {len(classes)} classes do not fit probabilities of the shape "
            f"{probabilities.shape}: give at least one image, and a column for each class"
        )
    if labels.min() < 0 or labels.max() >= len(classes):
        found, last = f"{labels.min()} to {labels.max()}", len(classes) - 1
        raise ValueError(f"labels are positions from 0 to {last}, and these go from {found}: give that of each class")
    if broken := len(labels) - int(np.isfinite(probabilities).all(axis=1).sum()):
        raise PredictionError(
            f"the model gives no finite probabilities for {broken} of {len(labels)} images: its numbers are too large; "
            "lower training.learning_rate, or set training.precision=float32"
        )


def _confusion(labels: NDArray[Any], predicted: NDArray[Any], class_count: int) -> NDArray[np.int64]:
    from sklearn.metrics import confusion_matrix

    matrix: NDArray[np.int64] = confusion_matrix(labels, predicted, labels=np.arange(class_count))
    return matrix


def _average(rows: Sequence[Scores], weights: Sequence[int]) -> Scores:
    names = [name for name in Scores.model_fields if name != "support"]
    means = np.average([[getattr(row, name) for name in names] for row in rows], axis=0, weights=weights)
    return Scores(**dict(zip(names, means.tolist(), strict=True)), support=sum(row.support for row in rows))


def _accuracy_interval(right: int, images: int) -> tuple[float, float]:
    from scipy.stats import binomtest

    interval = binomtest(right, images).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


def _top_k_accuracy(labels: NDArray[Any], probabilities: NDArray[Any], k: int) -> float:
    # Of equal probabilities the first one counts as the larger, as it does for the predicted class.
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float(np.mean(np.any(order == labels[:, None], axis=1)))


def _calibration_error(is_right: NDArray[np.bool_], confidence: NDArray[Any]) -> float:
    gaps = np.bincount(calibration_bins(confidence), weights=is_right - confidence.astype(np.float64))
    return float(np.abs(gaps).sum() / len(is_right))


def _areas(is_of_class: NDArray[np.bool_], probabilities: NDArray[Any]) -> tuple[float | None, float | None]:
    """Return the areas under a class's ROC and precision-recall curves; None where they are not defined."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    if is_of_class.all() or not is_of_class.any():
        return None, None
    return float(roc_auc_score(is_of_class, probabilities)), float(average_precision_score(is_of_class, probabilities))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _threshold(
    is_second: NDArray[np.bool_], probabilities: NDArray[Any], settings: Evaluation, probability: float | None
) -> Threshold:
    """Return what a threshold costs; without one, that which costs least: of equal ones the one nearest to one half."""
    candidates = _candidates(probabilities) if probability is None else np.array([probability])
    # How many of each class lie below each candidate.
    below_first = np.searchsorted(np.sort(probabilities[~is_second]), candidates)
    false_negatives = np.searchsorted(np.sort(probabilities[is_second]), candidates)
    false_positives = np.sum(~is_second) - below_first
    costs = false_positives * settings.false_positive_cost + false_negatives * settings.false_negative_cost
    best = np.lexsort((np.abs(candidates - 0.5), costs))[0]
    return Threshold(
        probability=float(candidates[best]),
        cost=float(costs[best] / len(is_second)),
        false_positives=int(false_positives[best]),
        false_negatives=int(false_negatives[best]),
    )


def _candidates(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """Return a threshold for each way in which one can divide the images, and one half."""
    values = np.unique(probabilities).astype(np.float64)
    # Between two probabilities, so that one rounded as in predictions.csv stays on its side.
    between = np.maximum((values[:-1] + values[1:]) / 2, np.nextafter(values[:-1], np.inf))
    below = values[0] / 2
    above = (values[-1] + 1) / 2 if values[-1] < 1 else np.nextafter(values[-1], np.inf)
    return np.array([0.5, below, *between, above])
