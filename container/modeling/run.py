"""The training job itself, once its files are in place: the story on one page."""

import logging
import operator
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from pathlib import Path

import keras
import numpy as np

from container.dataset.weights import image_weights
from container.errors import SettingsError
from container.modeling.artifacts import write_judgement, write_model, write_page
from container.modeling.augmentation import build_augmentor
from container.modeling.channels import EVALUATION, TRAINING, VALIDATION, Folders
from container.modeling.distribution import Distribution, distribute
from container.modeling.evaluate import predictions
from container.modeling.image_sets import read_image_sets
from container.modeling.input_pipeline.batches import Batches
from container.modeling.input_pipeline.epochs import Epochs
from container.modeling.input_pipeline.pixel_cache import CacheSpace
from container.modeling.job import Job
from container.modeling.networks.backbones import WeightFolders
from container.modeling.networks.initial_weights import load_initial_weights
from container.modeling.networks.layers import synchronize_batch_normalization
from container.modeling.networks.models import build_model
from container.modeling.optimization.checkpoints import CheckpointFolder
from container.modeling.optimization.fit import fit
from container.modeling.optimization.predictor import Outputs, Predictor
from container.modeling.optimization.steps import BatchAugmentor
from container.modeling.own_parts.checked import OwnMetrics
from container.modeling.own_parts.errors import PartError, explained_parts
from container.modeling.own_parts.parts import OwnParts, load_parts
from container.modeling.settings import ContainerSettings
from container.modeling.stopping import Stop, deferred_stop
from container.modeling.summary import ImageSummary, summarize
from container.modeling.tracking.trackers import Trackers, open_trackers
from container.report.facts import Metrics, Predictions

logger = logging.getLogger(__name__)


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
    distribution = distribute(job)
    logger.info("hosts=%d devices=%d", distribution.replicas.hosts, distribution.replicas.count)
    if not distribution.is_chief:
        logger.info("%s tells how training goes; this host tells of its own troubles only", job.hosts[0])
        logging.getLogger("container").setLevel(logging.WARNING)
    with distribution.explained_errors():
        return _train_and_evaluate(settings, job, folders, distribution)


def _train_and_evaluate(
    settings: ContainerSettings, job: Job, folders: Folders | None, distribution: Distribution
) -> Metrics:
    keras.utils.set_random_seed(settings.training.seed)
    keras.mixed_precision.set_dtype_policy(settings.training.precision)
    parts = load_parts(settings)
    images = read_image_sets(job, settings.image, folders, parts, distribution)
    if parts.metrics:
        parts.metrics.try_out(len(images.classes))
    with distribution.scope():
        model = _build(settings, job, images.classes, parts)
        augmentor = _augmentor(settings, len(images.classes), parts)
    synchronizes = settings.distribution.synchronized_batch_normalization and distribution.replicas.count > 1
    synchronize_batch_normalization(model, synchronizes)
    if images.training.is_share and settings.loss.weight_column:
        raise SettingsError(
            "loss.weight_column reads one labels.csv, which ShardedByS3Key gives to one host alone: set "
            "training_job.data_distribution=FullyReplicated"
        )
    sum_hosts = distribution.sum_hosts if images.training.is_share else np.asarray
    weights = image_weights(images.training, _channel_folder(job, TRAINING), settings.loss, sum_hosts)
    space = CacheSpace.of_machine(settings.input)
    training = Batches(images.training, settings, TRAINING, weights, space, fast=True)
    epochs = Epochs(images.training, settings, distribution.replicas, sum_hosts)
    validation = Batches(images.validation, settings, VALIDATION, space=space)
    # It is read once.
    evaluation = Batches(images.evaluation, settings, EVALUATION)
    checkpoints = CheckpointFolder(job.checkpoints_dir, settings.checkpoints)
    # One for the epochs and the evaluation: it is traced once.
    predictor = Predictor(model, len(images.classes), distribution)
    with deferred_stop() as stop, _trackers(settings, job, model, images.classes, distribution, stop) as trackers:
        with explained_parts(), training.explained_errors():
            fitted = fit(
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
                trackers,
            )
        # Who loads the model has one device.
        synchronize_batch_normalization(model, False)
        if distribution.is_chief:
            # A stop leaves two minutes, of which many evaluation images may need more: the model comes first.
            write_model(job.opt_ml.model_dir, model, settings, images.classes)
        outputs = {EVALUATION: _outputs(predictor, evaluation), VALIDATION: _outputs(predictor, validation)}
        predicted = _predictions(outputs, images.classes, parts)
        sets = {TRAINING: training, VALIDATION: validation, EVALUATION: evaluation}
        summary = ImageSummary.of(sets, distribution)
        metrics = summarize(
            job, settings, model, fitted, images.classes, outputs, summary, distribution, predicted.means
        )
        if distribution.is_chief:
            write_judgement(job.opt_ml.model_dir, metrics, fitted.history, predicted, fitted.diagnostics)
        logger.info("evaluation_accuracy=%.4f evaluation_loss=%.4f", metrics.accuracy, metrics.loss)
        # The page reads them again.
        del outputs, predicted
        if distribution.is_chief:
            write_page(job.opt_ml.model_dir, {name: _channel_folder(job, name) for name in (EVALUATION, VALIDATION)})
        for tracker in trackers:
            tracker.finish(metrics, job.opt_ml.model_dir)
    return metrics


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


@contextmanager
def _trackers(
    settings: ContainerSettings,
    job: Job,
    model: keras.Model,
    classes: tuple[str, ...],
    distribution: Distribution,
    stop: Stop,
) -> Iterator[tuple[Trackers, ...]]:
    """Open the trackers, on the first host alone."""
    if not distribution.is_chief:
        yield ()
        return
    with open_trackers(settings, job, model, classes, stop) as trackers:
        yield (trackers,)


def _outputs(predictor: Predictor, batches: Batches) -> Outputs:
    with batches.explained_errors():
        outputs = predictor(batches, with_names=True)
    # Nobody was asked whether it is in vain.
    assert outputs is not None
    return outputs


def _predictions(sets: Mapping[str, Outputs], classes: tuple[str, ...], parts: OwnParts) -> Predictions:
    """Return the predictions with the user's own metrics; without, where one fails: the model is worth more."""

    def predicted(metrics: OwnMetrics | None) -> Predictions:
        of_sets = (
            predictions(name, outputs.names, outputs.labels, outputs.probabilities, classes, metrics)
            for name, outputs in sets.items()
        )
        return reduce(operator.add, of_sets)

    try:
        return predicted(parts.metrics)
    except PartError as error:
        logger.error("%s: predictions.csv and metrics.json are without the metrics of parts.evaluator", error)
        return predicted(None)


def _channel_folder(job: Job, name: str) -> Path:
    """Return a channel's folder, which may not exist."""
    return job.opt_ml.channel_dir(name)
