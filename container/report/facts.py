"""What a training job found out, as the files of model.tar.gz that any program can read.

The container writes them; the user's machine and the report read them. Nothing here needs TensorFlow, and nothing is
unpickled.
"""

import csv
import json
from collections.abc import Iterable
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
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float


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


def _read(file: Path, adapter: TypeAdapter[T]) -> T:
    try:
        return adapter.validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())
    return DataError(f"{file} cannot be read as a training job's results: {reason}; download them again")
