"""What a training job found out, as the files of model.tar.gz that any program can read.

The container writes them; the user's machine and the report read them. Nothing here needs TensorFlow, and nothing is
unpickled.
"""

import csv
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from container.errors import DataError

SAVED_MODEL_FOLDER = "checkpoint"
H5_FILE = "model.h5"
KERAS_FILE = "model.keras"
CLASSES_FILE = "classes.json"
METRICS_FILE = "metrics.json"
CONFIG_FILE = "config.json"
HISTORY_FILE = "history.csv"
PREDICTIONS_FILE = "predictions.csv"
CLASSES_PICKLE = "classes_dict.pkl"
REPORT_PICKLE = "classification_report.pkl"
CONFUSION_PICKLE = "confusion_matrix.pkl"
CONFIG_PICKLE = "config_dict.pkl"

T = TypeVar("T")


class Facts(BaseModel):
    """A group of facts: frozen; names that a later version adds are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class Scores(Facts):
    """How well one class is recognized, or the mean over classes."""

    precision: float
    """Share of the images given this class that are of it; 0 where none was given it."""
    recall: float
    """Share of the images of this class that were given it; 0 where there are none."""
    f1: float
    """Harmonic mean of precision and recall."""
    support: int
    """Images of the class."""


class ClassScores(Scores):
    """How well one class is recognized."""

    name: str


class Epoch(Facts):
    """One pass over the training set, and the validation after it: a row of history.csv."""

    epoch: int
    """From 1; goes on counting in the second phase of fine-tuning."""
    phase: int
    """From 1."""
    seconds: float
    """With the validation."""
    learning_rate: float
    """At the epoch's end."""
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    val_f1: float
    """Of the second class where there are two, else the mean over the classes."""


class Metrics(Facts):
    """The judgement of the finished model on the evaluation set, and how it came about: metrics.json."""

    training_job: str
    """TrainingJobName; empty where there was none."""
    accuracy: float
    loss: float
    """Mean cross-entropy, in nats."""
    classes: tuple[ClassScores, ...]
    """In the order of the model's outputs."""
    macro_average: Scores
    """Mean over the classes that occur in the labels or the predictions."""
    weighted_average: Scores
    """The same, weighted by support."""
    confusion_matrix: tuple[tuple[int, ...], ...]
    """Images by true class (row) and predicted class (column)."""
    training_images: int
    validation_images: int
    evaluation_images: int
    broken_images: int = 0
    """Of these three: could not be read, and were left out."""
    parameters: int
    """Weights of the model, counted one by one."""
    monitor: str
    """The metric that chose the best epoch."""
    best_epoch: Epoch
    """The epoch whose weights were kept."""
    epochs: int
    """Epochs trained."""
    stopped: bool
    """Whether a stop of the job (or its time limit) ended training."""
    own_metrics: dict[str, float] = {}
    """Means over the evaluation images of the metrics that `parts.evaluator` gives, by name."""

    def write(self, file: Path) -> None:
        """Write metrics.json."""
        file.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read metrics.json.

        Raises:
            DataError: the file cannot be read, or is not what `write` writes.
        """
        return _read(file, TypeAdapter(cls))


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
            raise _unreadable(file, error) from None


def write_classes(file: Path, classes: Iterable[str]) -> None:
    """Write classes.json: the class names in the order of the model's outputs."""
    file.write_text(json.dumps(list(classes), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_classes(file: Path) -> tuple[str, ...]:
    """Read classes.json.

    Raises:
        DataError: the file cannot be read, or is not a list of names.
    """
    return _read(file, TypeAdapter(tuple[str, ...]))


def write_history(file: Path, history: Iterable[Epoch]) -> None:
    """Write history.csv: one row per epoch, in order."""
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, fieldnames=list(Epoch.model_fields))
        writer.writeheader()
        writer.writerows(epoch.model_dump() for epoch in history)


def read_history(file: Path) -> tuple[Epoch, ...]:
    """Read history.csv.

    Raises:
        DataError: the file cannot be read, or is not what `write_history` writes.
    """
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            return tuple(Epoch.model_validate(row) for row in csv.DictReader(opened))
    except (OSError, ValueError) as error:
        raise _unreadable(file, error) from None


def _prediction(cells: list[str], classes: tuple[str, ...], metrics: tuple[str, ...]) -> Prediction:
    if len(cells) != len(PREDICTION_COLUMNS) + len(classes) + len(metrics):
        raise ValueError(f"a row has {len(cells)} columns")
    path, label, prediction = (re.sub("^'", "", text) for text in cells[:3])
    numbers = [float(cell) for cell in cells[3:]]
    return Prediction(path, label, prediction, tuple(numbers[: len(classes)]), tuple(numbers[len(classes) :]))


def _cell(text: str) -> str:
    return f"'{text}" if re.match(FORMULA, text) else text


def _read(file: Path, adapter: TypeAdapter[T]) -> T:
    try:
        return adapter.validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())
    return DataError(f"{file} cannot be read as a training job's results: {reason}; download them again")
