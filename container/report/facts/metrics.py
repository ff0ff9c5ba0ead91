"""How good the finished model is, and how it came about: metrics.json and classes.json."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from pydantic import Field, TypeAdapter

from container.report.facts.files import Facts, read_json
from container.report.facts.history import Epoch


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
    own_metrics: dict[str, float] = Field({})
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
        return read_json(file, TypeAdapter(cls))


def write_classes(file: Path, classes: Iterable[str]) -> None:
    """Write classes.json: the class names in the order of the model's outputs."""
    file.write_text(json.dumps(list(classes), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_classes(file: Path) -> tuple[str, ...]:
    """Read classes.json.

    Raises:
        DataError: the file cannot be read, or is not a list of names.
    """
    return read_json(file, TypeAdapter(tuple[str, ...]))
