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
    specificity: float
    """Share of the images of other classes that were not given this one; 0 where there are none."""
    geometric_mean: float
    """Square root of recall times specificity."""
    support: int
    """Images of the class."""


class ClassScores(Scores):
    """How well one class is recognized."""

    name: str
    roc_auc: float | None = None
    """Area under the ROC curve of this class against the rest; None where the set has none of it, or nothing else."""
    average_precision: float | None = None
    """Area under the precision-recall curve, as a sum of steps; None where the set has none of it, or nothing else."""


class Threshold(Facts):
    """A problem of two classes, decided by the cost of each kind of mistake instead of by the larger probability."""

    probability: float
    """An image is given the second class from this probability on; the one of the least cost on the validation set."""
    cost: float
    """Mean cost of an image, by `evaluation.false_positive_cost` and `evaluation.false_negative_cost`."""
    false_positives: int
    """Images of the first class that are given the second one."""
    false_negatives: int
    """Images of the second class that are given the first one."""


class Judgement(Facts):
    """How well a model's predictions for a set of images meet the labels."""

    images: int
    """Those that were judged: all that could be read."""
    accuracy: float
    accuracy_interval: tuple[float, float]
    """Within these the accuracy lies with a confidence of 95 % (Wilson's interval)."""
    majority_accuracy: float
    """What always guessing the set's most frequent class would reach."""
    balanced_accuracy: float
    """Mean recall over the classes that occur in the labels."""
    top_k: int
    top_k_accuracy: float
    """Share of the images whose class is among the `top_k` most probable ones."""
    loss: float
    """Mean cross-entropy, in nats."""
    calibration_error: float
    """Expected calibration error: how far the highest probability is off the accuracy, in the mean over 15 bins."""
    roc_auc: float | None
    """Mean over the classes that have one."""
    average_precision: float | None
    """Mean over the classes that have one."""
    threshold: Threshold | None = None
    """None where there are not two classes."""
    classes: tuple[ClassScores, ...]
    """In the order of the model's outputs."""
    macro_average: Scores
    """Mean over all classes."""
    weighted_average: Scores
    """The same, weighted by support."""
    confusion_matrix: tuple[tuple[int, ...], ...]
    """Images by true class (row) and predicted class (column)."""


class Metrics(Judgement):
    """The judgement of the finished model on the evaluation set, and how it came about: metrics.json."""

    training_job: str
    """TrainingJobName; empty where there was none."""
    validation: Judgement
    """The same judgement on the validation set, which chose the epoch and so flatters it."""
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
    class_counts: dict[str, tuple[int, ...]]
    """Images of each class, in the order of `classes`, by the channel's name."""
    data_fingerprint: str
    """SHA-256 over the names and classes of the images of all sets, in hexadecimal digits."""
    uploaded_fingerprint: str = ""
    """SHA-256 over paths and contents of all files that were uploaded, as the data bucket's manifest tells; empty: who
    launched the job did not tell."""
    seconds: float
    """What all epochs took together."""
    instance_type: str
    """Such as ml.g5.xlarge; empty where nobody told."""
    hosts: int
    """Instances."""
    devices: int
    """GPUs (or CPUs) of all instances that trained."""
    versions: dict[str, str]
    """Of Python and the packages that matter, by name."""

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
