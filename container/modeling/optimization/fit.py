"""Trains a model in one or two phases, keeps the weights of its best epoch, and goes on after interruptions."""

import io
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

from container.modeling.diagnostics.watch import watch
from container.modeling.distribution import Distribution
from container.modeling.input_pipeline.batches import Batches
from container.modeling.input_pipeline.epochs import Epochs
from container.modeling.optimization.checkpoints import NEW_JOB, Checkpoint, CheckpointFolder, ForeignCheckpointError
from container.modeling.optimization.observing import Observer
from container.modeling.optimization.predictor import Predictor
from container.modeling.optimization.steps import BatchAugmentor
from container.modeling.optimization.training_run import Phase, TrainingRun
from container.modeling.settings import ContainerSettings
from container.modeling.stopping import Stop
from container.report.facts import Diagnostics, Epoch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fitted:
    """How training went."""

    history: tuple[Epoch, ...]
    best: Epoch
    """The epoch whose weights the model now has."""
    stopped: bool
    """Whether the job was asked to stop."""
    diagnostics: Diagnostics
    """What looked wrong; the first host's."""


def fit(
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
    observers: Sequence[Observer] = (),
) -> Fitted:
    """Train a model; at the end it has the weights of the epoch with the best `training.monitor`, the first of equals.

    Args:
        model: as `build_model` returns it.
        training: the images to learn from.
        epochs: which of them each step shows.
        validation: those to judge each epoch by.
        settings: epochs, optimizer, what to monitor.
        augmentor: changes the training images at random.
        checkpoints: where training goes on from, if it was interrupted, and writes what it could go on from.
        stop: ends training after the running steps, with a checkpoint.
        distribution: the devices that train.
        predictor: of the model.
        observers: are told of the epochs, on the first host.

    Raises:
        DivergedError: the loss became infinite or no number, or the gradients exploded.
        ForeignCheckpointError: the newest checkpoint is of another training.
    """
    gpus = len(tf.config.list_physical_devices("GPU")) if distribution.is_chief else 0
    with watch(settings.diagnostics, model, training, validation, gpus) as watching:
        run = TrainingRun(
            model,
            training,
            epochs,
            validation,
            settings,
            augmentor,
            checkpoints,
            stop,
            distribution,
            predictor,
            observers,
            watching,
        )
        _train(run, settings, checkpoints, distribution)
        if distribution.is_chief and not run.stopping:
            watching.after_training(run.history)
    history = run.history
    assert history.best is not None
    if run.stopping:
        logger.info("asked to stop: the model is that of the best epoch so far")
    logger.info("kept_epoch=%d phase=%d", history.best.epoch, history.best.phase)
    return Fitted(history.epochs, history.best, run.stopping, watching.diagnostics)


def _train(
    run: TrainingRun, settings: ContainerSettings, checkpoints: CheckpointFolder, distribution: Distribution
) -> None:
    """Go on from the newest checkpoint, if there is one, and train all phases."""
    phases = _phases(settings, distribution.replicas.count)
    checkpoint = _newest(checkpoints, distribution)
    if checkpoint is not None:
        if checkpoint.state.phase > len(phases):
            raise ForeignCheckpointError(f"the checkpoint is of a second phase, and now there is one: {NEW_JOB}")
        run.go_on_from(checkpoint)
    # Its arrays are as large as the model and the optimizer together.
    del checkpoint
    behind = len(run.history.epochs)
    for phase in phases:
        run.train(phase)
    if 0 < behind == len(run.history.epochs) and not run.stopping:
        logger.warning("all epochs lie behind the checkpoint: nothing was trained; raise training.epochs to go on")


def _newest(checkpoints: CheckpointFolder, distribution: Distribution) -> Checkpoint | None:
    """Return the newest checkpoint that the chief has: the others' folders may be of another moment."""
    if distribution.replicas.hosts == 1:
        return checkpoints.newest()
    content = distribution.from_chief(checkpoints.newest_content() if distribution.is_chief else b"")
    return Checkpoint.read(io.BytesIO(content)) if content else None


def _phases(settings: ContainerSettings, replicas: int) -> list[Phase]:
    training, fine_tuning = settings.training, settings.fine_tuning
    scale = {"none": 1.0, "linear": float(replicas), "sqrt": math.sqrt(replicas)}[
        settings.distribution.learning_rate_scaling
    ]
    second = fine_tuning.epochs if settings.model.name == "fine_tune" else 0
    phases = [Phase(1, training.epochs, scale * training.learning_rate, "training.learning_rate", second)]
    if second:
        phases.append(Phase(2, second, scale * fine_tuning.learning_rate, "fine_tuning.learning_rate", 0))
    return phases
