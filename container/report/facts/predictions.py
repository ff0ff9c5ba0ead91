"""What the model says of each image: predictions.csv."""

import csv
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from container.report.facts.files import unreadable
from container.report.facts.metrics import Metrics

# The first columns of predictions.csv; those of the probabilities begin with PROBABILITY.
PREDICTION_COLUMNS = ("set", "path", "label", "prediction", "loss")
PROBABILITY = "probability_"
# What a further metric cannot be called.
RESERVED_METRIC_NAMES = frozenset({*PREDICTION_COLUMNS, *Metrics.model_fields})
# A spreadsheet runs a cell that begins so as a formula: such a text has an apostrophe before it, as one that begins
# with an apostrophe has. A number is none of them.
FORMULA = r"'|[=@\t\r]|[-+](?!\d+(\.\d+)?$)"


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one image: a row of predictions.csv."""

    set: str
    """The channel of the image: `validation` or `evaluation`."""
    path: str
    """Inside the channel, with `/` between its parts."""
    label: str
    prediction: str
    """The most probable class."""
    loss: float
    """Cross-entropy, in nats."""
    probabilities: tuple[float, ...]
    """Of each class, single precision, in the order of the model's outputs."""
    metrics: tuple[float, ...] = ()
    """Of the evaluator, for this image."""


@dataclass(frozen=True, eq=False)
class SetPredictions:
    """What the model says of the images of one set, as arrays."""

    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    """Position of each image's class, shape (images,)."""
    probabilities: NDArray[np.float32]
    """Of each class, shape (images, classes)."""


@dataclass(frozen=True)
class Predictions:
    """What the model says of the images of the validation and the evaluation set: predictions.csv."""

    classes: tuple[str, ...]
    """In the order of the model's outputs."""
    metrics: tuple[str, ...]
    """Names of the evaluator's metrics; none where there is no evaluator."""
    rows: tuple[Prediction, ...]

    @property
    def means(self) -> dict[str, float]:
        """The mean of each of the evaluator's metrics over the evaluation images."""
        columns = zip(*(row.metrics for row in self.rows if row.set == "evaluation"), strict=True)
        return {name: math.fsum(column) / len(column) for name, column in zip(self.metrics, columns, strict=True)}

    def __add__(self, others: Self) -> Self:
        """Return these predictions and those for other images, of the same classes and metrics."""
        return replace(self, rows=self.rows + others.rows)

    def of_set(self, name: str) -> SetPredictions:
        """Return the predictions for the images of a set, in order.

        Raises:
            ValueError: an image's label is none of the classes.
        """
        rows = [row for row in self.rows if row.set == name]
        positions = {label: position for position, label in enumerate(self.classes)}
        if unknown := next((row.label for row in rows if row.label not in positions), None):
            raise ValueError(f"{unknown!r} is none of the classes")
        probabilities = np.array([row.probabilities for row in rows], np.float32)
        return SetPredictions(
            paths=tuple(row.path for row in rows),
            labels=np.array([positions[row.label] for row in rows], np.int64),
            probabilities=probabilities.reshape(len(rows), len(self.classes)),
        )

    def write(self, file: Path) -> None:
        """Write predictions.csv: a row per image, in order."""
        with file.open("w", newline="", encoding="utf-8") as opened:
            writer = csv.writer(opened)
            writer.writerow((*PREDICTION_COLUMNS, *(PROBABILITY + name for name in self.classes), *self.metrics))
            for row in self.rows:
                texts = (as_cell(text) for text in (row.set, row.path, row.label, row.prediction))
                # Nine digits tell all numbers of single precision apart.
                probabilities = (f"{probability:.9g}" for probability in row.probabilities)
                writer.writerow((*texts, f"{row.loss:.9g}", *probabilities, *map(repr, row.metrics)))

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read predictions.csv.

        Raises:
            DataError: the file cannot be read, or is not what `write` writes.
        """
        try:
            with file.open(newline="", encoding="utf-8") as opened:
                # Row by row: as texts, all cells together take several times the memory.
                rows = csv.reader(opened, strict=True)
                header, known = next(rows, []), len(PREDICTION_COLUMNS)
                if tuple(header[:known]) != PREDICTION_COLUMNS:
                    raise ValueError(f"its columns do not begin with {', '.join(PREDICTION_COLUMNS)}")
                names = header[known:]
                classes = tuple(name.removeprefix(PROBABILITY) for name in names if name.startswith(PROBABILITY))
                metrics = tuple(names[len(classes) :])
                return cls(classes, metrics, tuple(_prediction(row, classes, metrics) for row in rows))
        except (OSError, ValueError, csv.Error) as error:
            raise unreadable(file, error) from None


def _prediction(cells: list[str], classes: tuple[str, ...], metrics: tuple[str, ...]) -> Prediction:
    if len(cells) != len(PREDICTION_COLUMNS) + len(classes) + len(metrics):
        raise ValueError(f"a row has {len(cells)} columns")
    group, path, label, prediction = (re.sub("^'", "", text) for text in cells[:4])
    loss, *numbers = map(float, cells[4:])
    return Prediction(
        set=group,
        path=path,
        label=label,
        prediction=prediction,
        loss=loss,
        probabilities=tuple(numbers[: len(classes)]),
        metrics=tuple(numbers[len(classes) :]),
    )


def as_cell(text: str) -> str:
    """Return a text as a cell of predictions.csv, in which no spreadsheet finds a formula."""
    return f"'{text}" if re.match(FORMULA, text) else text
