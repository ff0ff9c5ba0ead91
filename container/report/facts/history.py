"""How training went, epoch by epoch: history.csv."""

import csv
from collections.abc import Iterable
from pathlib import Path

from container.report.facts.files import Facts, unreadable

# Columns that differ between two trainings that are otherwise alike.
DURATIONS = {"seconds", "validation_seconds", "data_seconds"}


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
    validation_seconds: float = 0.0
    """Of `seconds`: the validation's."""
    data_seconds: float = 0.0
    """Of `seconds`: those in which the training steps waited for images."""
    gradient_norm: float = 0.0
    """Norm of all gradients of a step together, in the mean over the steps."""


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
        raise unreadable(file, error) from None
