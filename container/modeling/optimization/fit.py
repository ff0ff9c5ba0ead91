"""Trains a model in one or two phases, keeps the weights of its best epoch, and survives interruptions."""

import logging
import math
import time
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from container.dataset.weights import epoch_order
from container.errors import ProjectError
from container.modeling.input_pipeline import Batches
from container.modeling.networks.models import release_last_layers
from container.modeling.optimization.checkpoints import Checkpoint, CheckpointFolder, State
from container.modeling.optimization.history import History
from container.modeling.optimization.losses import build_loss
from container.modeling.optimization.optimizers import build_optimizer, reduce_on_plateau
from container.modeling.optimization.steps import Augmentor, Predictor, TrainingSteps
from container.modeling.settings import ContainerSettings
from container.modeling.stopping import Stop
from container.report.facts import Epoch

logger = logging.getLogger(__name__)

# Several steps run without a return to Python where the pixels of a batch are few; large ones take their time anyway,
# and a stop waits for the end of them all.
MAX_STEPS_PER_EXECUTION = 32
PIXELS_PER_EXECUTION = 1 << 20
# How often a long epoch tells how far it is, in seconds.
PROGRESS_SECONDS = 30.0
NEW_JOB = "launch a new job, without --resume"


class DivergedError(ProjectError):
    """The loss is no finite number any more."""


class ForeignCheckpointError(ProjectError):
    """A checkpoint belongs to another model or other classes."""


@dataclass(frozen=True)
class Fitted:
    """How training went."""

    history: tuple[Epoch, ...]
    best: Epoch
    """The epoch whose weights the model now has."""
    stopped: bool
    """Whether the job was asked to stop."""


def fit(
    model: keras.Model,
    training: Batches,
    validation: Batches,
    settings: ContainerSettings,
    augmentor: Augmentor,
    checkpoints: CheckpointFolder,
    stop: Stop,
) -> Fitted:
    """Train a model; at the end it has the weights of the epoch with the best `training.monitor`, the first of equals.

    Args:
        model: as `build_model` returns it.
        training: the images to learn from.
        validation: those to judge each epoch by.
        settings: epochs, optimizer, what to monitor.
        augmentor: changes the training images at random.
        checkpoints: where training goes on from, if it was interrupted, and writes what it could go on from.
        stop: ends training after the running steps, with a checkpoint.

    Raises:
        DivergedError: the loss became infinite or no number.
        ForeignCheckpointError: the newest checkpoint is of another model.
    """
    run = _Run(model, training, validation, settings, augmentor, checkpoints, stop)
    checkpoint = checkpoints.newest()
    if checkpoint is not None:
        run.go_on_from(checkpoint)
    for phase in _phases(settings):
        run.train(phase)
    if run.interrupted is not None:
        raise ForeignCheckpointError(f"the checkpoint is of a second phase, which there is none of now: {NEW_JOB}")
    return run.result()


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


class _Run:
    """A training run: where it stands, and the steps that bring it on."""

    def __init__(
        self,
        model: keras.Model,
        training: Batches,
        validation: Batches,
        settings: ContainerSettings,
        augmentor: Augmentor,
        checkpoints: CheckpointFolder,
        stop: Stop,
    ) -> None:
        self.model, self.settings, self.stop = model, settings, stop
        self.training, self.validation = training, validation
        self.augmentor, self.checkpoints = augmentor, checkpoints
        self.classes = training.images.classes
        self.predictor = Predictor(model, len(self.classes))
        self.loss = build_loss(settings.loss, settings.model.output)
        self.epoch_images = len(self._order(0))
        self.steps_per_epoch = training.steps(self.epoch_images)
        self.history = History()
        self.best_weights: list[NDArray[Any]] = []
        self.interrupted: Checkpoint | None = None
        self.saved = time.monotonic()

    def go_on_from(self, checkpoint: Checkpoint) -> None:
        """Take over the history of an interrupted run; `train` takes over the weights when it comes to its phase.

        Raises:
            ForeignCheckpointError: its classes are others.
        """
        state = checkpoint.state
        if state.classes != self.classes:
            raise ForeignCheckpointError(
                f"the checkpoint is of the classes {', '.join(state.classes)}, but the training images are of "
                f"{', '.join(self.classes)}: {NEW_JOB}"
            )
        self.interrupted, self.history = checkpoint, state.history
        self.best_weights = list(checkpoint.arrays.get("best", ()))
        logger.info("resumed_epoch=%d resumed_step=%d", len(state.history.epochs) + 1, state.step)

    def train(self, phase: _Phase) -> None:
        """Train until the phase's epochs or the patience are used up, or the job is asked to stop."""
        lies_behind = self.interrupted is not None and self.interrupted.state.phase > phase.number
        if phase.number == 2:
            release_last_layers(self.model, self.settings.fine_tuning)
        if lies_behind or (self.stop.requested and self.history.best):
            return
        self.phase = phase
        self.steps = TrainingSteps(
            self.model,
            build_optimizer(self.settings, phase.learning_rate, phase.epochs, self.steps_per_epoch),
            self.loss,
            self.augmentor,
            len(self.classes),
            self.settings.training.xla,
        )
        first_step, seconds = 0, 0.0
        if self.interrupted is not None:
            first_step, seconds = self._restore(self.interrupted)
            self.interrupted = None
        else:
            self.history = self.history.with_new_phase()
        while self._goes_on():
            self._train_epoch(first_step, seconds)
            first_step, seconds = 0, 0.0
        self.model.set_weights(self.best_weights)

    def result(self) -> Fitted:
        """Return how it went, after the last phase."""
        assert self.history.best is not None
        return Fitted(self.history.epochs, self.history.best, self.stop.requested)

    def _goes_on(self) -> bool:
        if self.stop.requested and self.history.best:
            return False
        done = len(self.history.of_phase(self.phase.number))
        patience = self.settings.training.patience
        return done < self.phase.epochs and not 0 < patience <= self.history.without_improvement

    def _train_epoch(self, first_step: int, seconds: float) -> None:
        """Train one epoch, or the rest of one of which some steps took some seconds already, and judge it."""
        began = time.perf_counter() - seconds
        step = self._take_steps(first_step, began)
        if step < self.steps_per_epoch:
            self._save(step, time.perf_counter() - began)
            if self.history.best:
                return
            # Without a single epoch there would be no model to keep.
        row = self._judged_epoch(began)
        self.history = self.history.with_epoch(row, self.settings.training)
        if self.history.best is row:
            self.best_weights = self.model.get_weights()
        reduce_on_plateau(self.steps.optimizer, self.settings.schedule, self.history)
        left = self.phase.epochs - len(self.history.of_phase(self.phase.number)) + self.phase.later_epochs
        logger.info(self.history.line(row.epoch + left))
        self.steps.reset()
        every = self.settings.checkpoints.every_epochs
        if step == self.steps_per_epoch and (self.stop.requested or (every and row.epoch % every == 0)):
            self._save(0, 0.0)

    def _take_steps(self, step: int, began: float) -> int:
        """Take the epoch's steps from one on, until its end or a stop; return the number of the next one."""
        epoch = len(self.history.epochs)
        batches = self.training.iterate(self._order(epoch)[step * self.training.batch_size :])
        told = time.monotonic()
        at_once, minutes = _steps_per_execution(self.settings), self.settings.checkpoints.every_minutes
        while step < self.steps_per_epoch and not self.stop.requested:
            count = min(at_once, self.steps_per_epoch - step)
            self.steps.run(batches, step, count, self.settings.training.seed, epoch)
            step += count
            if time.monotonic() - told > PROGRESS_SECONDS and step < self.steps_per_epoch:
                told = time.monotonic()
                loss = self.steps.totals.loss
                logger.info("running_epoch=%d step=%d steps=%d loss=%.4f", epoch + 1, step, self.steps_per_epoch, loss)
            if 0 < minutes * 60 <= time.monotonic() - self.saved and step < self.steps_per_epoch:
                self._save(step, time.perf_counter() - began)
        return step

    def _judged_epoch(self, began: float) -> Epoch:
        """Return the row of the epoch whose steps were taken, after looking at the validation images."""
        totals, labels = self.steps.totals, self.validation.images.labels
        with self.validation.explained_errors():
            predictions = self.predictor(self.validation.iterate())
        probabilities = predictions.probabilities
        row = Epoch(
            epoch=len(self.history.epochs) + 1,
            phase=self.phase.number,
            seconds=time.perf_counter() - began,
            learning_rate=float(self.steps.optimizer.learning_rate),
            loss=totals.loss,
            accuracy=totals.accuracy,
            val_loss=predictions.loss(self.loss),
            val_accuracy=float(np.mean(probabilities.argmax(axis=1) == labels)),
            val_f1=f1(labels, probabilities),
        )
        for name in ("loss", "val_loss"):
            if not math.isfinite(getattr(row, name)):
                raise DivergedError(
                    f"{name} became {getattr(row, name)} in epoch {row.epoch}: lower training.learning_rate "
                    f"(it was {row.learning_rate:g})"
                )
        return row

    def _order(self, epoch: int) -> NDArray[np.int64]:
        oversample = self.settings.loss.balance == "oversampling"
        return epoch_order(self.training.images.labels, self.settings.training.seed, epoch, oversample)

    def _save(self, step: int, seconds: float) -> None:
        state = State(
            phase=self.phase.number,
            step=step,
            seconds=seconds,
            epoch_images=self.epoch_images,
            batch_size=self.training.batch_size,
            seed=self.settings.training.seed,
            classes=self.classes,
            history=self.history,
        )
        arrays = {
            "model": self.model.get_weights(),
            "steps": [variable.numpy() for variable in self.steps.variables],
            "best": self.best_weights,
        }
        self.checkpoints.save(Checkpoint(state, arrays))
        self.saved = time.monotonic()

    def _restore(self, checkpoint: Checkpoint) -> tuple[int, float]:
        """Take over the weights; return how many steps of the running epoch lie behind, and what they took."""
        state, variables = checkpoint.state, self.steps.variables
        try:
            self.model.set_weights(checkpoint.arrays["model"])
            for variable, value in zip(variables, checkpoint.arrays["steps"], strict=True):
                variable.assign(value)
        except (KeyError, ValueError) as error:
            raise ForeignCheckpointError(
                f"the checkpoint is of another model or optimizer than the settings ask for: {NEW_JOB} "
                f"({' '.join(str(error).split())})"
            ) from error
        same_steps = (state.epoch_images, state.batch_size, state.seed) == (
            self.epoch_images,
            self.training.batch_size,
            self.settings.training.seed,
        )
        if same_steps:
            return state.step, state.seconds
        logger.warning("the images, the batch size or the seed are not the checkpoint's: the epoch begins anew")
        self.steps.reset()
        return 0, 0.0


def f1(labels: NDArray[Any], probabilities: NDArray[Any]) -> float:
    """Return the F1 score: of the second class where there are two, else the mean over the classes that occur."""
    average = "binary" if probabilities.shape[1] == 2 else "macro"
    return float(f1_score(labels, probabilities.argmax(axis=1), average=average, zero_division=0))


def _steps_per_execution(settings: ContainerSettings) -> int:
    pixels = settings.training.batch_size * settings.image.height * settings.image.width
    return min(max(PIXELS_PER_EXECUTION // pixels, 1), MAX_STEPS_PER_EXECUTION)
