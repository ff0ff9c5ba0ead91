"""The training job itself, once its files are in place: the story on one page."""

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from container.dataset.weights import image_weights
from container.modeling.artifacts import write_judgement, write_model
from container.modeling.augmentation import build_augmentor
from container.modeling.channels import EVALUATION, TRAINING, VALIDATION, Folders, check_classes
from container.modeling.evaluate import Evaluation, evaluate, predictions
from container.modeling.input_pipeline import Batches, LabeledImages
from container.modeling.job import Job
from container.modeling.networks.backbones import WeightFolders
from container.modeling.networks.initial_weights import load_initial_weights
from container.modeling.networks.models import build_model
from container.modeling.optimization.checkpoints import CheckpointFolder
from container.modeling.optimization.fit import Fitted, fit
from container.modeling.optimization.steps import BatchAugmentor, Predictor
from container.modeling.own_parts.errors import PartError, explained_parts
from container.modeling.own_parts.loading import load_images
from container.modeling.own_parts.parts import OwnParts, load_parts
from container.modeling.settings import ContainerSettings
from container.modeling.stopping import deferred_stop
from container.report.facts import Metrics, Predictions

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageSets:
    """What a model learns from, what chooses its best epoch, and what it is judged by."""

    training: LabeledImages
    validation: LabeledImages
    evaluation: LabeledImages

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of the model's outputs."""
        return self.training.classes


def train_and_evaluate(settings: ContainerSettings, job: Job, folders: Folders | None) -> Metrics:
    """Train on the channels `training` and `validation`, judge by `evaluation`, write the job's model folder.

    Training goes on from the newest checkpoint where there is one. SIGTERM ends it early, with a checkpoint; the best
    model so far is then written and evaluated as always.

    Args:
        settings: what to train, and how.
        job: where things lie.
        folders: the images of the channels; None: the loader of `parts.loader` finds them.

    Raises:
        ProjectError: the images, the settings or the job are not as they should be, or training failed.
    """
    keras.utils.set_random_seed(settings.training.seed)
    keras.mixed_precision.set_dtype_policy(settings.training.precision)
    parts = load_parts(settings)
    images = _image_sets(settings, job, folders, parts)
    if parts.metrics:
        parts.metrics.try_out(len(images.classes))
    model = _build(settings, job, images.classes, parts)
    augmentor = _augmentor(settings, len(images.classes), parts)
    checkpoints = CheckpointFolder(job.opt_ml.checkpoints_dir, settings.checkpoints)
    weights = image_weights(images.training, _channel_folder(job, TRAINING), settings.loss)
    training = Batches(images.training, settings, weights)
    validation, evaluation = Batches(images.validation, settings), Batches(images.evaluation, settings)
    with deferred_stop() as stop:
        with explained_parts(), training.explained_errors():
            fitted = fit(model, training, validation, settings, augmentor, checkpoints, stop)
        # A stop leaves two minutes, of which many evaluation images may need more: the model comes first.
        write_model(job.opt_ml.model_dir, model, settings, images.classes)
        with evaluation.explained_errors():
            outputs = Predictor(model, len(images.classes))(evaluation.iterate())
        assert outputs is not None
        probabilities = outputs.probabilities
        judged = evaluate(images.evaluation.labels, probabilities, images.classes)
        predicted = _predictions(images, probabilities, parts)
        metrics = _metrics(job, settings, images, model, fitted, judged, predicted.means)
        write_judgement(job.opt_ml.model_dir, metrics, judged, fitted.history, predicted)
    logger.info("evaluation_accuracy=%.4f evaluation_loss=%.4f", metrics.accuracy, metrics.loss)
    return metrics


def _image_sets(settings: ContainerSettings, job: Job, folders: Folders | None, parts: OwnParts) -> ImageSets:
    if folders is not None:
        sets = ImageSets(*map(LabeledImages.of_folder, (folders.training, folders.validation, folders.evaluation)))
    else:
        assert parts.loader is not None
        training = load_images(parts.loader, job.channel(TRAINING), settings.image)
        check_classes(training.classes, Counter(training.labels.tolist()))
        others = [
            load_images(parts.loader, job.channel(name), settings.image, training.classes)
            for name in (VALIDATION, EVALUATION)
        ]
        sets = ImageSets(training, *others)
    logger.info(
        "classes=%d training_images=%d validation_images=%d evaluation_images=%d",
        len(sets.classes),
        len(sets.training),
        len(sets.validation),
        len(sets.evaluation),
    )
    return sets


def _build(settings: ContainerSettings, job: Job, classes: tuple[str, ...], parts: OwnParts) -> keras.Model:
    folders = WeightFolders(pretrained=_channel_folder(job, "pretrained"))
    preprocessor = parts.preprocessor(settings.image) if parts.preprocessor else None
    model = build_model(settings, len(classes), preprocessor, parts.model_builder, folders)
    load_initial_weights(model, settings.model, classes, folders)
    logger.info("model=%s parameters=%d", settings.model.name, model.count_params())
    return model


def _augmentor(settings: ContainerSettings, class_count: int, parts: OwnParts) -> BatchAugmentor:
    if parts.augmentor:
        if settings.augmentation.layers:
            logger.warning("augmentation.layers have no effect: parts.augmentor takes their place")
        return parts.augmentor(settings.image, class_count, settings.training.seed)
    return build_augmentor(settings.augmentation, settings.image, settings.training.seed)


def _predictions(images: ImageSets, probabilities: NDArray[np.float32], parts: OwnParts) -> Predictions:
    """Return the predictions with the user's own metrics; without, where one fails: the model is worth more."""
    known = images.evaluation.names, images.evaluation.labels, probabilities, images.classes
    try:
        return predictions(*known, parts.metrics)
    except PartError as error:
        logger.error("%s: predictions.csv and metrics.json are without the metrics of parts.evaluator", error)
        return predictions(*known)


def _channel_folder(job: Job, name: str) -> Path:
    """Return a channel's folder, which may not exist."""
    return job.opt_ml.channel_dir(name)


def _metrics(
    job: Job,
    settings: ContainerSettings,
    images: ImageSets,
    model: keras.Model,
    fitted: Fitted,
    evaluation: Evaluation,
    own_metrics: dict[str, float],
) -> Metrics:
    return Metrics(
        training_job=job.name,
        accuracy=evaluation.accuracy,
        loss=evaluation.loss,
        classes=evaluation.classes,
        macro_average=evaluation.macro_average,
        weighted_average=evaluation.weighted_average,
        confusion_matrix=evaluation.confusion_matrix.tolist(),
        training_images=len(images.training),
        validation_images=len(images.validation),
        evaluation_images=len(images.evaluation),
        parameters=model.count_params(),
        monitor=settings.training.monitor,
        best_epoch=fitted.best,
        epochs=len(fitted.history),
        stopped=fitted.stopped,
        own_metrics=own_metrics,
    )
