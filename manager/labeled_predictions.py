"""Predictions of images whose classes may be known from their folders: as a table file, and judged."""

import csv
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from container.modeling.insight_settings import Evaluation
from container.report.facts import PROBABILITY, Judgement, as_cell
from container.words import plural
from manager.console import Terminal
from manager.predictor import Prediction
from manager.results import show_judgement


@dataclass(frozen=True)
class LabeledPrediction:
    """What the model says of one image, and what it is of, if that is known."""

    path: str
    """As the user knows it: of a folder's images, inside the folder."""
    prediction: Prediction
    label: str = ""
    """The class that the image is of; empty: not known."""

    @property
    def is_right(self) -> bool:
        """Whether it is of the predicted class."""
        return self.label == self.prediction.label


def folders_around(image: str, folder: str) -> tuple[str, ...]:
    """Return the folders that may be called as an image's class, those inside first, each time the outermost first.

    Args:
        image: its path inside a folder, with `/` between the parts.
        folder: the name of that folder itself.
    """
    *inside, _ = image.split("/")
    return (*inside, folder)


def label_of(folders: Sequence[str], classes: Collection[str]) -> str:
    """Return the first of the folders around an image that is called as a class; empty: none is."""
    return next((folder for folder in folders if folder in classes), "")


def write_predictions(file: Path, rows: Sequence[LabeledPrediction]) -> None:
    """Write predictions as CSV: path, label, prediction, and the probability of each class, as in predictions.csv.

    The file appears when it is whole.
    """
    classes = tuple(rows[0].prediction.probabilities) if rows else ()
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    with partial.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(("path", "label", "prediction", *(PROBABILITY + name for name in classes)))
        for row in rows:
            # Nine digits tell all numbers of single precision apart.
            numbers = (f"{row.prediction.probabilities[name]:.9g}" for name in classes)
            writer.writerow((*map(as_cell, (row.path, row.label, row.prediction.label)), *numbers))
    partial.replace(file)


def judged(rows: Sequence[LabeledPrediction], settings: Evaluation) -> Judgement | None:
    """Return how good the predictions of images are whose class is known; None: there are none.

    It tells of the classes alone that occur in the labels or in the predictions: the others say nothing of the model.
    """
    import numpy as np

    from container.report.judging import judge

    known = [row for row in rows if row.label]
    if not known:
        return None
    classes = tuple(known[0].prediction.probabilities)
    positions = {name: position for position, name in enumerate(classes)}
    judgement = judge(
        np.array([positions[row.label] for row in known], np.int64),
        np.array([tuple(row.prediction.probabilities.values()) for row in known], np.float32),
        classes,
        settings,
    )
    return _of_occurring_classes(judgement)


def show_predictions(rows: Sequence[LabeledPrediction], settings: Evaluation, terminal: Terminal) -> None:
    """Print how good predictions are as far as labels are known, and otherwise how many images each class was given."""
    judgement = judged(rows, settings)
    if judgement is None:
        counts = Counter(row.prediction.label for row in rows)
        table = [(name, f"{counts[name]:,}") for name in rows[0].prediction.probabilities] if rows else []
        terminal.table("Predictions", ("class", "images"), table)
        terminal.plain(f"{plural(len(rows), 'image')}, in no folder that is called as a class")
        return
    show_judgement(judgement, f"Classification of {plural(judgement.images, 'image')}, labeled by folders", terminal)
    terminal.plain(f"accuracy {judgement.accuracy:.4f}, macro F1 {judgement.macro_average.f1:.4f}")
    classes = len(rows[0].prediction.probabilities)
    if absent := classes - len(judgement.classes):
        are = "is" if absent == 1 else "are"
        terminal.prose(f"{absent:,} of {classes:,} classes {are} left out: no image here is labeled or predicted so")
    if unknown := len(rows) - judgement.images:
        terminal.prose(f"not judged: {plural(unknown, 'image')} in no folder that is called as a class")


def _of_occurring_classes(judgement: Judgement) -> Judgement:
    from container.report.judging import macro_average

    matrix = judgement.confusion_matrix
    kept = [position for position, counts in enumerate(matrix) if any(counts) or any(row[position] for row in matrix)]
    classes = tuple(judgement.classes[position] for position in kept)
    return judgement.model_copy(
        update={
            "classes": classes,
            "macro_average": macro_average(classes),
            "confusion_matrix": tuple(tuple(matrix[true][predicted] for predicted in kept) for true in kept),
        }
    )
