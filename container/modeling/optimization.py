"""Fits a model in one or two phases, keeps the weights of its best epoch, and logs a line per epoch."""

import logging
import math
import time
from dataclasses import dataclass
from typing import Any

import keras

from container.errors import ProjectError
from container.modeling.models import release_last_layers
from container.modeling.settings import ContainerSettings, Training
from container.modeling.stopping import Stop
from container.report.facts import Epoch

logger = logging.getLogger(__name__)

# Several steps run without a return to Python where the pixels of a batch are few; large ones take their time anyway,
# and a stop waits for the end of them all.
MAX_STEPS_PER_EXECUTION = 32
PIXELS_PER_EXECUTION = 1 << 20


class DivergedError(ProjectError):
    """The loss is no finite number any more."""


@dataclass(frozen=True)
class Fitted:
    """How training went."""

    history: tuple[Epoch, ...]
    best: Epoch
    """The epoch whose weights the model now has."""
    stopped: bool
    """Whether the job was asked to stop."""


def fit(model: keras.Model, training: Any, validation: Any, settings: ContainerSettings, stop: Stop) -> Fitted:
    """Train a model; at the end it has the weights of the epoch with the best `training.monitor`, the first of equals.

    Args:
        model: as `build_model` returns it.
        training: tf.data.Dataset of (pixels, labels) batches.
        validation: the same.
        settings: epochs, optimizer, what to monitor.
        stop: ends training after the running steps; then the epoch's validation still takes place.

    Raises:
        DivergedError: the loss became infinite or no number.
    """
    progress = _Progress(settings.training, stop)
    steps = _steps_per_execution(settings)
    for phase in _phases(settings):
        if phase.number == 2:
            release_last_layers(model, settings.fine_tuning)
        model.compile(
            optimizer=keras.optimizers.Adam(phase.learning_rate),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
            steps_per_execution=steps,
        )
        first = progress.begin(phase)
        model.fit(
            training,
            validation_data=validation,
            initial_epoch=first,
            epochs=first + phase.epochs,
            callbacks=[progress],
            # The dataset shuffles itself.
            shuffle=False,
            verbose=0,
        )
        model.set_weights(progress.best_weights)
        if stop.requested:
            break
    return Fitted(tuple(progress.history), progress.best, stop.requested)


@dataclass(frozen=True)
class _Phase:
    number: int
    epochs: int
    learning_rate: float
    later_epochs: int
    """Epochs of the phases after this one."""


def _phases(settings: ContainerSettings) -> list[_Phase]:
    training, fine_tuning = settings.training, settings.fine_tuning
    second = fine_tuning.epochs if settings.model.name == "fine_tune" else 0
    phases = [_Phase(1, training.epochs, training.learning_rate, second)]
    if second:
        phases.append(_Phase(2, second, fine_tuning.learning_rate, 0))
    return phases


def _steps_per_execution(settings: ContainerSettings) -> int:
    pixels = settings.training.batch_size * settings.image.height * settings.image.width
    return min(max(PIXELS_PER_EXECUTION // pixels, 1), MAX_STEPS_PER_EXECUTION)


class _Progress(keras.callbacks.Callback):
    """Follows the epochs over all phases: the log line, the best weights, the reasons to end."""

    best: Epoch

    def __init__(self, training: Training, stop: Stop) -> None:
        super().__init__()
        self.training = training
        self.stop = stop
        self.history: list[Epoch] = []
        self.best_weights: list[Any] = []

    def begin(self, phase: _Phase) -> int:
        """Prepare for a phase; return how many epochs lie behind."""
        self.phase = phase
        self.without_improvement = 0
        self.epochs = len(self.history) + phase.epochs + phase.later_epochs
        return len(self.history)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.stop.requested:
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        row = Epoch(
            epoch=epoch + 1,
            phase=self.phase.number,
            seconds=time.perf_counter() - self.started,
            learning_rate=float(self.model.optimizer.learning_rate),
            **{name: float(value) for name, value in logs.items()},
        )
        for name in ("loss", "val_loss"):
            if not math.isfinite(getattr(row, name)):
                raise DivergedError(
                    f"{name} became {getattr(row, name)} in epoch {row.epoch}: lower training.learning_rate "
                    f"(it was {row.learning_rate:g})"
                )
        self._keep(row)
        logger.info(self._line(row))
        if self.stop.requested or 0 < self.training.patience <= self.without_improvement:
            self.model.stop_training = True

    def _keep(self, row: Epoch) -> None:
        if not self.history or self._gain(row) > self.training.min_delta:
            self.best, self.best_weights = row, self.model.get_weights()
            self.without_improvement = 0
        else:
            self.without_improvement += 1
        self.history.append(row)

    def _gain(self, row: Epoch) -> float:
        name = self.training.monitor
        gain: float = getattr(row, name) - getattr(self.best, name)
        return -gain if name == "val_loss" else gain

    def _line(self, row: Epoch) -> str:
        values = {name: getattr(row, name) for name in ("loss", "accuracy", "val_loss", "val_accuracy")}
        for name in sorted({"val_accuracy", self.training.monitor}):
            values[f"best_{name}"] = getattr(self.best, name)
        numbers = " ".join(f"{name}={value:.4f}" for name, value in values.items())
        return f"epoch={row.epoch} epochs={self.epochs} seconds={row.seconds:.2f} {numbers}"
