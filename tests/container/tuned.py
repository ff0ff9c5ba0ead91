"""Tuning jobs that never ran, of any size and with any values."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np

from manager.trials import Trial, TuningJob

LAUNCHED = datetime(2030, 1, 1, 12, tzinfo=UTC)
NAME = "digits-cnn-300101-120000"
Draw = Callable[[np.random.Generator], Any]

LEARNING_RATE = "training.learning_rate"
SETTINGS: Mapping[str, Draw] = {
    LEARNING_RATE: lambda random: float(10 ** random.uniform(-4, -1)),
    "training.batch_size": lambda random: int(random.choice([32, 64, 128])),
    "training.optimizer": lambda random: str(random.choice(["adam", "lion", "sgd"])),
    "training.xla": lambda random: bool(random.integers(2)),
    "training.epochs": lambda random: int(random.integers(6, 21)),
    "training.weight_decay": lambda random: float(10 ** random.uniform(-6, -2)),
    "model.dropout": lambda random: float(random.uniform(0, 0.6)),
    "augmentation.rotation": lambda random: float(random.uniform(0, 30)),
    "image.height": lambda random: int(random.integers(64, 225)),
    "training.label_smoothing": lambda random: 0.1,
}


def trial(
    number: int, values: Mapping[str, Any], objective: float | None, status: str = "Completed", failure: str = ""
) -> Trial:
    """A trial that was launched after `number` minutes and took 90 s."""
    launched = LAUNCHED + timedelta(minutes=number)
    ended = None if status == "InProgress" else launched + timedelta(seconds=90)
    name = f"{NAME}-{number:03}-0123abcd"
    return Trial(name, status, dict(values), objective, launched, launched if ended else None, ended, failure)


def tuning_of(
    *trials: Trial,
    direction: Literal["Maximize", "Minimize"] = "Maximize",
    status: str = "Completed",
    objective: str = "best_val_accuracy",
) -> TuningJob:
    """A tuning job of these trials."""
    parameters = tuple(dict.fromkeys(name for trial in trials for name in trial.values))
    return TuningJob(NAME, status, objective, direction, parameters, len(trials), trials)


def made_up_tuning(
    trials: int,
    settings: Mapping[str, Draw] = SETTINGS,
    failures: float = 0.1,
    direction: Literal["Maximize", "Minimize"] = "Maximize",
) -> TuningJob:
    """A tuning job in which the learning rate matters most, the optimizer a little, and all else nothing.

    Args:
        trials: how many.
        settings: what is varied, and how values are chosen.
        failures: share of the trials that fail.
        direction: of the objective.
    """
    random = np.random.default_rng(0)
    sign = 1 if direction == "Maximize" else -1
    made = []
    for number in range(1, trials + 1):
        values = {name: draw(random) for name, draw in settings.items()}
        distance = np.log10(values.get(LEARNING_RATE, 0.004)) + 2.4
        bonus = 0.03 if values.get("training.optimizer") == "adam" else 0.0
        objective = sign * float(0.93 - 0.08 * distance**2 + bonus + random.normal(0, 0.005))
        if random.random() < failures:
            made.append(trial(number, values, None, "Failed", "AlgorithmError: the loss is not finite"))
        else:
            made.append(trial(number, values, objective))
    return tuning_of(*made, direction=direction)
