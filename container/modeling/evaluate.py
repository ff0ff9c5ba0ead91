"""Judges predictions against labels. Pure: no files, no TensorFlow; scikit-learn computes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from container.report.facts import ClassScores, Prediction, Predictions, Scores

if TYPE_CHECKING:
    from container.modeling.own_parts.checked import OwnMetrics


@dataclass(frozen=True)
class Evaluation:
    """How well predictions meet the labels."""

    accuracy: float
    loss: float
    """Mean cross-entropy, in nats."""
    classes: tuple[ClassScores, ...]
    macro_average: Scores
    weighted_average: Scores
    confusion_matrix: NDArray[np.int64]
    """Images by true class (row) and predicted class (column)."""

    def as_report(self) -> dict[str, Any]:
        """Return what sklearn.metrics.classification_report(output_dict=True) returns."""
        averages = {"macro avg": self.macro_average, "weighted avg": self.weighted_average}
        rows: dict[str, Any] = {scores.name: _as_row(scores) for scores in self.classes}
        return rows | {"accuracy": self.accuracy} | {name: _as_row(scores) for name, scores in averages.items()}


def evaluate(labels: NDArray[Any], probabilities: NDArray[Any], classes: Sequence[str]) -> Evaluation:
    """Judge predictions.

    Args:
        labels: position of each image's true class; integers, shape (images,).
        probabilities: of each class for each image; shape (images, classes).
        classes: names, in the order of the probabilities. Some may occur in no label.

    Raises:
        ValueError: there are no images, or the shapes do not fit each other.
    """
    if len(labels) == 0 or probabilities.shape != (len(labels), len(classes)):
        raise ValueError(f"{len(labels)} labels and {len(classes)} classes do not fit {probabilities.shape}")
    predicted = probabilities.argmax(axis=1)
    positions = np.arange(len(classes))
    rules: dict[str, Any] = {"labels": positions, "zero_division": 0}
    per_class = np.transpose(precision_recall_fscore_support(labels, predicted, **rules))
    support = len(labels)
    averages = [
        _scores(precision_recall_fscore_support(labels, predicted, average=average, **rules)[:3], support)
        for average in ("macro", "weighted")
    ]
    return Evaluation(
        accuracy=float(np.mean(predicted == labels)),
        loss=_cross_entropy(labels, probabilities),
        classes=tuple(
            ClassScores(name=name, **_scores(row[:3], row[3]).model_dump())
            for name, row in zip(classes, per_class, strict=True)
        ),
        macro_average=averages[0],
        weighted_average=averages[1],
        confusion_matrix=confusion_matrix(labels, predicted, labels=positions),
    )


def predictions(
    names: Sequence[str],
    labels: NDArray[Any],
    probabilities: NDArray[np.float32],
    classes: Sequence[str],
    metrics: "OwnMetrics | None" = None,
) -> Predictions:
    """Return the prediction for each image, with the values of the user's own metrics.

    Args:
        names: of the images, in the order of the labels.
        labels: as `evaluate` takes them.
        probabilities: the same.
        classes: the same.
        metrics: those of `parts.evaluator`; None: there is none.

    Raises:
        PartError: a metric failed; it and the image are named.
    """
    one_hot = np.eye(len(classes), dtype=np.float32)
    rows = tuple(
        Prediction(
            path=name,
            label=classes[label],
            prediction=classes[row.argmax()],
            probabilities=tuple(row.tolist()),
            metrics=metrics.values(one_hot[label], row, name) if metrics else (),
        )
        for name, label, row in zip(names, labels, probabilities, strict=True)
    )
    return Predictions(tuple(classes), metrics.names if metrics else (), rows)


def _scores(precision_recall_f1: Any, support: Any) -> Scores:
    precision, recall, f1 = map(float, precision_recall_f1)
    return Scores(precision=precision, recall=recall, f1=f1, support=int(support))


def _cross_entropy(labels: NDArray[Any], probabilities: NDArray[Any]) -> float:
    # sklearn.metrics.log_loss refuses a single class; this is its formula, in its precision.
    chosen = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    smallest = np.finfo(probabilities.dtype).eps
    return float(-np.log(np.clip(chosen, smallest, 1 - smallest)).mean())


def _as_row(scores: Scores) -> dict[str, float]:
    return {
        "precision": scores.precision,
        "recall": scores.recall,
        "f1-score": scores.f1,
        "support": float(scores.support),
    }
