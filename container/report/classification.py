"""How well each class is recognized, as a table for notebooks and scripts. It needs pandas, so no job imports it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from container.report.class_names import as_array, checked_names, checked_probabilities, positions_of
from container.report.facts import Scores
from container.report.judging import balanced_accuracy, macro_average, score_classes, weighted_average

COLUMNS = ("precision", "recall", "specificity", "f1", "geometric_mean", "support")


def classification_report(y_true: ArrayLike, y_pred: ArrayLike, labels: Sequence[Any]) -> pd.DataFrame:
    """Return how well each class is recognized, and all of them together.

    Args:
        y_true: name or position of each image's true class, shape (images,).
        y_pred: name or position of each image's predicted class, shape (images,); or the probability of each class,
            shape (images, classes), of which the largest counts.
        labels: the class names, in the order of the model's outputs. Some may occur in neither of the others.

    Returns:
        A row for each class, with its name as index, then the rows `accuracy`, `balanced accuracy`, `macro average`
        (the mean over the classes) and `weighted average` (by support). The columns are those of `facts.Scores`.
        `accuracy` stands under precision, recall and F1, which are the same over all images together, and `balanced
        accuracy` under recall, whose mean over the classes with images it is; the rest of these two rows is NaN.

    Raises:
        ValueError: a class is unknown (it is named), the shapes do not fit each other, or there are no images.
    """
    names = checked_names(labels)
    true = positions_of(y_true, names, "y_true")
    predicted = _predicted(as_array(y_pred, "y_pred"), len(true), names)
    rows = score_classes(true, predicted, len(names))
    accuracy, balanced, nan = float(np.mean(true == predicted)), balanced_accuracy(rows), float("nan")
    table = [
        *map(_cells, rows),
        (accuracy, accuracy, nan, accuracy, nan, len(true)),
        (nan, balanced, nan, nan, nan, len(true)),
        _cells(macro_average(rows)),
        _cells(weighted_average(rows)),
    ]
    index = pd.Index([*names, "accuracy", "balanced accuracy", "macro average", "weighted average"], name="class")
    return pd.DataFrame(table, columns=list(COLUMNS), index=index)


def _predicted(y_pred: NDArray[Any], images: int, names: Sequence[str]) -> NDArray[np.int64]:
    if y_pred.ndim == 2:
        return checked_probabilities(y_pred, images, names).argmax(axis=1)
    predicted = positions_of(y_pred, names, "y_pred")
    if len(predicted) != images:
        raise ValueError(f"y_true has {images} images and y_pred {len(predicted)}: give both for the same images")
    return predicted


def _cells(scores: Scores) -> tuple[float, ...]:
    return tuple(getattr(scores, column) for column in COLUMNS)
