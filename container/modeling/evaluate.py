"""From a model's outputs to what predictions.csv and scikit-learn's report hold. Pure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from container.report.facts import Judgement, Prediction, Predictions, Scores
from container.report.judging import cross_entropies

if TYPE_CHECKING:
    from container.modeling.own_parts.checked import OwnMetrics


def predictions(
    set_name: str,
    names: Sequence[str],
    labels: NDArray[Any],
    probabilities: NDArray[np.float32],
    classes: Sequence[str],
    metrics: "OwnMetrics | None" = None,
) -> Predictions:
    """Return the prediction for each image, with the values of the user's own metrics.

    Args:
        set_name: the channel of the images.
        names: of the images, in the order of the labels.
        labels: position of each image's true class; integers, shape (images,).
        probabilities: of each class for each image; shape (images, classes).
        classes: names, in the order of the probabilities.
        metrics: those of `parts.evaluator`; None: there is none.

    Raises:
        PartError: a metric failed; it and the image are named.
    """
    one_hot = np.eye(len(classes), dtype=np.float32)
    losses = cross_entropies(labels, probabilities)
    rows = tuple(
        Prediction(
            set=set_name,
            path=name,
            label=classes[label],
            prediction=classes[row.argmax()],
            loss=float(loss),
            probabilities=tuple(row.tolist()),
            metrics=metrics.values(one_hot[label], row, name) if metrics else (),
        )
        for name, label, loss, row in zip(names, labels, losses, probabilities, strict=True)
    )
    return Predictions(tuple(classes), metrics.names if metrics else (), rows)


def as_report(judgement: Judgement) -> dict[str, Any]:
    """Return what sklearn.metrics.classification_report(output_dict=True) returns."""
    averages = {"macro avg": judgement.macro_average, "weighted avg": judgement.weighted_average}
    rows: dict[str, Any] = {scores.name: _as_row(scores) for scores in judgement.classes}
    return rows | {"accuracy": judgement.accuracy} | {name: _as_row(scores) for name, scores in averages.items()}


def _as_row(scores: Scores) -> dict[str, float]:
    return {
        "precision": scores.precision,
        "recall": scores.recall,
        "f1-score": scores.f1,
        "support": float(scores.support),
    }
