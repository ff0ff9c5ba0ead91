"""What the model says of each image: predictions.csv."""

import csv
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from container.report.facts.files import unreadable
from container.report.facts.metrics import Metrics

# The first columns of predictions.csv; those of the probabilities begin with PROBABILITY.
PREDICTION_COLUMNS = ("path", "label", "prediction")
PROBABILITY = "probability_"
# What a further metric cannot be called.
RESERVED_METRIC_NAMES = frozenset({*PREDICTION_COLUMNS, *Metrics.model_fields})
# A spreadsheet runs a cell that begins so as a formula: such a text has an apostrophe before it, as one that begins
# with an apostrophe has. A number is none of them.
FORMULA = r"'|[=@\t\r]|[-+](?!\d+(\.\d+)?$)"


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one evaluation image: a row of predictions.csv."""

    path: str
    """Inside the channel `evaluation`, with `/` between its parts."""
    label: str
    prediction: str
    """The most probable class."""
    probabilities: tuple[float, ...]
    """Of each class, single precision, in the order of the model's outputs."""
    metrics: tuple[float, ...] = ()
    """Of the evaluator, for this image."""


@dataclass(frozen=True)
class Predictions:
    """What the model says of the evaluation images: predictions.csv."""

    classes: tuple[str, ...]
    """In the order of the model's outputs."""
    metrics: tuple[str, ...]
    """Names of the evaluator's metrics; none where there is no evaluator."""
    rows: tuple[Prediction, ...]

    @property
    def means(self) -> dict[str, float]:
        """The mean of each of the evaluator's metrics over the images."""
        columns = zip(*(row.metrics for row in self.rows), strict=True)
        return {name: math.fsum(column) / len(column) for name, column in zip(self.metrics, columns, strict=True)}

    def write(self, file: Path) -> None:
        """Write predictions.csv: a row per image, in order."""
        with file.open("w", newline="", encoding="utf-8") as opened:
            writer = csv.writer(opened)
            writer.writerow((*PREDICTION_COLUMNS, *(PROBABILITY + name for name in self.classes), *self.metrics))
            for row in self.rows:
                texts = (_cell(text) for text in (row.path, row.label, row.prediction))
                # Nine digits tell all numbers of single precision apart.
                probabilities = (f"{probability:.9g}" for probability in row.probabilities)
                writer.writerow((*texts, *probabilities, *map(repr, row.metrics)))

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read predictions.csv.

        Raises:
            DataError: the file cannot be read, or is not what `write` writes.
        """
        try:
            with file.open(newline="", encoding="utf-8") as opened:
                header, *rows = csv.reader(opened, strict=True)
            if tuple(header[:3]) != PREDICTION_COLUMNS:
                raise ValueError(f"its columns do not begin with {', '.join(PREDICTION_COLUMNS)}")
            classes = tuple(name.removeprefix(PROBABILITY) for name in header[3:] if name.startswith(PROBABILITY))
            metrics = tuple(header[3 + len(classes) :])
            return cls(classes, metrics, tuple(_prediction(row, classes, metrics) for row in rows))
        except (OSError, ValueError, csv.Error) as error:
            raise unreadable(file, error) from None


def _prediction(cells: list[str], classes: tuple[str, ...], metrics: tuple[str, ...]) -> Prediction:
    if len(cells) != len(PREDICTION_COLUMNS) + len(classes) + len(metrics):
        raise ValueError(f"a row has {len(cells)} columns")
    path, label, prediction = (re.sub("^'", "", text) for text in cells[:3])
    numbers = [float(cell) for cell in cells[3:]]
    return Prediction(path, label, prediction, tuple(numbers[: len(classes)]), tuple(numbers[len(classes) :]))


def _cell(text: str) -> str:
    return f"'{text}" if re.match(FORMULA, text) else text
