"""A training run: where it stands, and the steps that bring it on."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from container.modeling.diagnostics.watch import Watch
from container.modeling.distribution import Distribution
from container.modeling.input_pipeline.batches import Batches
from container.modeling.input_pipeline.epochs import Epochs
from container.modeling.networks.models import release_last_layers
from container.modeling.optimization.checkpoints import (
    NEW_JOB,
    Checkpoint,
    CheckpointFolder,
    ForeignCheckpointError,
    State,
)
from container.modeling.optimization.divergence import Limits
from container.modeling.optimization.history import History
from container.modeling.optimization.losses import build_loss
from container.modeling.optimization.measures import ExplodedStep
from container.modeling.optimization.observing import ObservedEpoch, Observer
from container.modeling.optimization.optimizers import build_optimizer, reduce_on_plateau, set_iterations
from container.modeling.optimization.predictor import Outputs, Predictor
from container.modeling.optimization.steps import BatchAugmentor, TrainingSteps
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


@dataclass(frozen=True)
class Phase:
    """A part of training with an optimizer of its own."""

    number: int
    """From 1; from the second one on, the end of the backbone learns too."""
    epochs: int
    """At most."""
    learning_rate: float
    """The highest."""
    learning_rate_setting: str
    later_epochs: int
    """Epochs of the phases after this one."""


class TrainingRun:
    """Where training stands. The arguments are those of `fit`, and what watches it."""

    def __init__(
        self,
        model: keras.Model,
        training: Batches,
        epochs: Epochs,
        validation: Batches,
        settings: ContainerSettings,
        augmentor: BatchAugmentor,
        checkpoints: CheckpointFolder,
        stop: Stop,
        distribution: Distribution,
        predictor: Predictor,
        observers: Sequence[Observer],
        watching: Watch,
    ) -> None:
        self._distribution = distribution
        self._model, self._settings, self._stop = model, settings, stop
        self._training, self._epochs, self._validation = training, epochs, validation
        self._augmentor, self._checkpoints = augmentor, checkpoints
        self._classes = training.images.classes
        self._predictor, self._watching = predictor, watching
        # Those that take their time come last: the figures of some rules are of the time that just passed.
        self._observers: Sequence[Observer] = (watching, *observers) if distribution.is_chief else ()
        self._limits = Limits(settings)
        self._loss = build_loss(settings.loss, settings.model.output)
        self._best_weights: list[NDArray[np.float32]] = []
        self._interrupted: Checkpoint | None = None
        self._saved = time.monotonic()
        self._step_images = training.batch_size * distribution.replicas.count
        self._stream: Any = None
        self._stream_is_settled = False
        self.history = History()
        """The epochs so far."""
        self.stopping = False
        """Whether a host was asked to stop, at the last look; all hosts know it at the same look."""

    def go_on_from(self, checkpoint: Checkpoint) -> None:
        """Take over the history of an interrupted run; `train` takes over the weights when it comes to its phase.

        Raises:
            ForeignCheckpointError: it is of other classes, or of settings that another training would have begun with.
        """
        state = checkpoint.state
        if state.classes != self._classes:
            raise ForeignCheckpointError(
                f"the checkpoint is of the classes {', '.join(state.classes)}, but the training images are of "
                f"{', '.join(self._classes)}: {NEW_JOB}"
            )
        for name, value in fixed_settings(self._settings).items():
            if state.fixed_settings.get(name) != value:
                raise ForeignCheckpointError(
                    f"the checkpoint was written with {name}={state.fixed_settings.get(name)}, and now it is {value}: "
                    f"set it back, or {NEW_JOB}"
                )
        self._interrupted, self.history = checkpoint, state.history
        self._best_weights = list(checkpoint.arrays.get("best", ()))
        self._watching.go_on_from(state.findings)
        logger.info("resumed_epoch=%d resumed_step=%d", len(state.history.epochs) + 1, state.step)

    def train(self, phase: Phase) -> None:
        """Train until the phase's epochs or the patience are used up, or the job is asked to stop.

        Then the model has the weights of the best epoch so far.
        """
        if phase.number == 2:
            release_last_layers(self._model, self._settings.fine_tuning)
        self._look()
        lies_behind = self._interrupted is not None and self._interrupted.state.phase > phase.number
        if not lies_behind and not self._may_leave():
            self._begin(phase)
            first_step, seconds = self._restored()
            while self._goes_on():
                self._train_epoch(first_step, seconds)
                first_step, seconds = 0, 0.0
        if self._best_weights:
            self._model.set_weights(self._best_weights)

    def _begin(self, phase: Phase) -> None:
        self._phase = phase
        with self._distribution.scope():
            optimizer = build_optimizer(self._settings, phase.learning_rate, phase.epochs, self._epochs.steps)
        self._steps = TrainingSteps(
            self._model,
            optimizer,
            self._loss,
            self._augmentor,
            len(self._classes),
            self._training.batch_size,
            self._settings.training.xla,
            self._distribution,
            self._limits.gradient_norm,
        )

    def _may_leave(self) -> bool:
        """Whether the job was asked to stop, and has an epoch's weights to leave with."""
        return self.stopping and self.history.best is not None

    def _is_in_vain(self) -> bool:
        self._look()
        return self._may_leave()

    def _goes_on(self) -> bool:
        done = len(self.history.of_phase(self._phase.number))
        patience = self._settings.training.patience
        is_stuck = 0 < patience <= self.history.without_improvement
        return done < self._phase.epochs and not is_stuck and not self._may_leave()

    def _train_epoch(self, first_step: int, seconds: float) -> None:
        """Train one epoch, or the rest of one of which some steps took some seconds already, and judge it."""
        began = time.perf_counter() - seconds
        step = self._take_steps(first_step, began)
        if self.stopping:
            # What follows may take longer than a stop leaves.
            self._save(step, time.perf_counter() - began)
        judged = None if self._may_leave() else self._judged_epoch(began)
        if judged is None:
            return
        row, validation = judged
        # What hosts decide by must be the same to the last bit.
        row = Epoch.model_validate_json(self._distribution.from_chief(row.model_dump_json().encode()))
        self.history = self.history.with_epoch(row, self._settings.training)
        if self.history.best is row:
            self._best_weights = self._model.get_weights()
        reduce_on_plateau(self._steps.optimizer, self._settings.schedule, self.history)
        left = self._phase.epochs - len(self.history.of_phase(self._phase.number)) + self._phase.later_epochs
        logger.info(self.history.line(row.epoch + left))
        observed = ObservedEpoch(row, self.history, self._steps.totals, validation)
        for observer in self._observers:
            observer.after_epoch(observed)
        self._steps.reset()
        every = self._settings.checkpoints.every_epochs
        # A part of an epoch, which only a stop judges, is gone on with from the checkpoint before.
        is_whole = step == self._epochs.steps
        is_time = self._look()
        if is_whole and ((every and row.epoch % every == 0) or is_time or self.stopping):
            self._save(0, 0.0)

    def _take_steps(self, step: int, began: float) -> int:
        """Take the epoch's steps from one on, until its end or a stop; return the number of the next one."""
        epoch, told = len(self.history.epochs), time.monotonic()
        # A run may have been interrupted after the last step, before the validation was over.
        batches = self._batches(epoch, step) if step < self._epochs.steps else None
        at_once = _steps_per_execution(self._settings)
        self._look()
        while step < self._epochs.steps and not self.stopping:
            count = min(at_once, self._epochs.steps - step)
            for observer in self._observers:
                observer.before_steps(epoch * self._epochs.steps + step + 1, count)
            self._check_step(self._steps.run(batches, step, count, self._settings.training.seed, epoch))
            step += count
            if self._distribution.replicas.hosts == 1:
                self._training.check_broken()
            if step < self._epochs.steps and time.monotonic() - told > PROGRESS_SECONDS:
                told = time.monotonic()
                logger.info("running_epoch=%d step=%d steps=%d", epoch + 1, step, self._epochs.steps)
            if self._look() and step < self._epochs.steps:
                self._steps.settle()
                self._save(step, time.perf_counter() - began)
        self._training.check_broken(self._distribution.gather)
        self._steps.settle()
        return step

    def _batches(self, epoch: int, step: int) -> Any:
        """Return an iterator whose next batches are those of an epoch, from a step on.

        One goes on from epoch to epoch, and so reads ahead during the validation, until there is nothing more to read.
        """
        is_settled = self._training.is_settled
        if self._stream is None or (is_settled and not self._stream_is_settled):
            self._stream_is_settled = is_settled
            self._stream = self._training.iterate_endlessly(
                lambda number: self._epochs.rows(epoch + number, 0 if number else step)
            )
        return self._stream

    def _judged_epoch(self, began: float) -> tuple[Epoch, Outputs] | None:
        """Return the row of the epoch whose steps were taken, and what the model then says of the validation images.

        None: the job was asked to stop meanwhile, and may.
        """
        totals, trained = self._steps.totals, time.perf_counter()
        self._check_step(totals.measured.exploded)
        self._check("loss", totals.loss)
        with self._validation.explained_errors():
            outputs = self._predictor(self._validation, self._is_in_vain)
        if outputs is None:
            self._save(self._epochs.steps, time.perf_counter() - began)
            return None
        val_loss, labels, probabilities = outputs.loss(self._loss), outputs.labels, outputs.probabilities
        self._check("val_loss", val_loss)
        row = Epoch(
            epoch=len(self.history.epochs) + 1,
            phase=self._phase.number,
            seconds=time.perf_counter() - began,
            learning_rate=float(self._steps.optimizer.learning_rate),
            loss=totals.loss,
            accuracy=totals.accuracy,
            val_loss=val_loss,
            val_accuracy=float(np.mean(probabilities.argmax(axis=1) == labels)),
            val_f1=f1(labels, probabilities),
            validation_seconds=time.perf_counter() - trained,
            data_seconds=totals.measured.data_seconds,
            gradient_norm=totals.measured.gradient_norm,
        )
        return row, outputs

    def _check(self, name: str, value: float) -> None:
        phase = self._phase
        epoch = len(self.history.epochs) + 1
        self._limits.check_value(name, value, epoch, phase.learning_rate_setting, phase.learning_rate)

    def _check_step(self, exploded: ExplodedStep | None) -> None:
        phase = self._phase
        epoch = len(self.history.epochs) + 1
        self._limits.check_step(exploded, epoch, phase.learning_rate_setting, phase.learning_rate)

    def _look(self) -> bool:
        """Agree with the other hosts whether to stop; return whether the minutes between two checkpoints are over."""
        every = self._settings.checkpoints.every_minutes * 60
        is_time = 0 < every <= time.monotonic() - self._saved
        self.stopping, is_time = self._distribution.any_host(self._stop.requested, is_time)
        return is_time

    def _save(self, step: int, seconds: float) -> None:
        # Nothing can go on from weights that are no numbers.
        totals = self._steps.totals
        self._check_step(totals.measured.exploded)
        self._check("loss", totals.loss)
        self._saved = time.monotonic()
        if not self._distribution.is_chief:
            return
        state = State(
            phase=self._phase.number,
            step=step,
            seconds=seconds,
            epoch_images=self._epochs.images,
            step_images=self._step_images,
            seed=self._settings.training.seed,
            fixed_settings=fixed_settings(self._settings),
            classes=self._classes,
            history=self.history,
            findings=self._watching.diagnostics.findings,
        )
        arrays = {
            "model": self._model.get_weights(),
            "steps": [variable.numpy() for variable in self._steps.variables],
            "best": self._best_weights,
        }
        try:
            self._checkpoints.save(Checkpoint(state, arrays))
        except OSError:
            if not self.stopping:
                raise
            logger.exception("the checkpoint cannot be written; the best model so far is kept all the same")

    def _restored(self) -> tuple[int, float]:
        """Take over an interrupted run; return how many steps of its epoch lie behind, and what they took."""
        if self._interrupted is None:
            self.history = self.history.with_new_phase()
            return 0, 0.0
        (state, arrays), self._interrupted = (self._interrupted.state, self._interrupted.arrays), None
        try:
            self._model.set_weights(arrays["model"])
            for variable, value in zip(self._steps.variables, arrays["steps"], strict=True):
                variable.assign(value)
        except (KeyError, ValueError) as error:
            raise ForeignCheckpointError(
                f"the checkpoint is of another model than the settings ask for ({' '.join(str(error).split())}): "
                f"set it back, or {NEW_JOB}"
            ) from error
        now = (self._epochs.images, self._step_images, self._settings.training.seed)
        if (state.epoch_images, state.step_images, state.seed) == now:
            return state.step, state.seconds
        logger.warning(
            "the images, the batch size, the devices or the seed are not the checkpoint's: the epoch begins anew"
        )
        self._steps.reset()
        # The schedule counts steps, of which an epoch may have more or fewer now.
        done = len(self.history.of_phase(self._phase.number))
        set_iterations(self._steps.optimizer, done * self._epochs.steps)
        return 0, 0.0


def fixed_settings(settings: ContainerSettings) -> dict[str, str]:
    """Return the settings that cannot change while training goes on, by name."""
    return {
        "model.name": settings.model.name,
        "model.output": settings.model.output,
        "optimizer.name": settings.optimizer.name,
        "training.monitor": settings.training.monitor,
        "training.mode": settings.training.mode,
        "training.precision": settings.training.precision,
    }


def f1(labels: NDArray[np.int32], probabilities: NDArray[np.float32]) -> float:
    """Return the F1 score: of the second class where there are two, else the mean over the classes that occur."""
    average = "binary" if probabilities.shape[1] == 2 else "macro"
    return float(f1_score(labels, probabilities.argmax(axis=1), average=average, zero_division=0))


def _steps_per_execution(settings: ContainerSettings) -> int:
    pixels = settings.training.batch_size * settings.image.height * settings.image.width
    return min(max(PIXELS_PER_EXECUTION // pixels, 1), MAX_STEPS_PER_EXECUTION)
