"""Trains, evaluates and exports a classifier: what `train` runs inside SageMaker.

TensorFlow is imported where it is used: a job that is set up wrongly fails before, within a second.
"""

import errno
import logging
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from typing import TYPE_CHECKING

from sagemaker_training.errors import ClientError

from container.dataset.index import ImageFolder, index_images
from container.errors import DataError, ProjectError
from container.modeling.devices import check_gpus, import_tensorflow
from container.modeling.job import Job, JobError, OptMl
from container.modeling.overrides import override
from container.modeling.settings import ContainerSettings
from container.modeling.stopping import deferred_stop
from container.report.facts import Metrics

if TYPE_CHECKING:
    from container.modeling.evaluate import Evaluation
    from container.modeling.optimization import Fitted

logger = logging.getLogger(__name__)

# What DescribeTrainingJob shows of the failure file.
MAX_FAILURE_REASON = 1024
# How much of an unforeseen error's text stands there, in characters: TensorFlow's run over pages.
MAX_ERROR_TEXT = 300


class TrainingFailedError(ClientError):
    """The one exception that leaves `main`. sagemaker-training exits with 1 for it, without a second traceback."""


def main() -> None:
    """Run the training job that /opt/ml describes; sagemaker-training calls this.

    Raises:
        TrainingFailedError: whatever went wrong. The failure file has the reason, the log the traceback.
    """
    opt_ml = OptMl.from_environment()
    with reported_failure(opt_ml):
        _log_to_stdout()
        job = Job.read(opt_ml)
        train_and_evaluate(override(ContainerSettings(), job.hyperparameters), job)


@contextmanager
def reported_failure(opt_ml: OptMl) -> Iterator[None]:
    """Turn whatever is raised inside into a failure file and one exception with which the process exits with 1.

    Raises:
        TrainingFailedError: something was raised, be it SystemExit.
    """
    try:
        yield
    # sagemaker-training would end with exit code 0 on SystemExit, and on an OSError that has no errno.
    except BaseException as error:
        reason = _explain(error)[:MAX_FAILURE_REASON]
        _write_failure(opt_ml, reason)
        raise TrainingFailedError(reason) from None


def train_and_evaluate(settings: ContainerSettings, job: Job) -> Metrics:
    """Train on the channels `training` and `validation`, judge by `evaluation`, write the job's model folder.

    SIGTERM ends training early; the best model so far is then evaluated and written as always.

    Raises:
        ProjectError: the images, the settings or the job are not as they should be, or training failed.
    """
    check_gpus(job.instance_type)
    images = _index_channels(job)
    import_tensorflow()

    import keras

    from container.modeling.artifacts import write_artifacts
    from container.modeling.input_pipeline import explained_errors, labels_of, ordered_batches, training_batches
    from container.modeling.models import build_model
    from container.modeling.optimization import fit

    keras.utils.set_random_seed(settings.training.seed)
    model = build_model(settings, len(images.classes))
    logger.info("model=%s parameters=%d", settings.model.name, model.count_params())
    with deferred_stop() as stop:
        with explained_errors(images.training.samples + images.validation.samples, settings):
            training = training_batches(images.training.samples, settings)
            validation = ordered_batches(images.validation.samples, settings, cache=True)
            fitted = fit(model, training, validation, settings, stop)
        with explained_errors(images.evaluation.samples, settings):
            probabilities = model.predict(ordered_batches(images.evaluation.samples, settings), verbose=0)

        # scikit-learn takes a second to import, which training need not wait for.
        from container.modeling.evaluate import evaluate

        evaluation = evaluate(labels_of(images.evaluation.samples), probabilities, images.classes)
        metrics = _metrics(job, settings, images, model.count_params(), fitted, evaluation)
        write_artifacts(job.opt_ml.model_dir, model, settings, metrics, evaluation, fitted.history)
    logger.info("evaluation_accuracy=%.4f evaluation_loss=%.4f", metrics.accuracy, metrics.loss)
    return metrics


@dataclass(frozen=True)
class _Images:
    training: ImageFolder
    validation: ImageFolder
    evaluation: ImageFolder

    @property
    def classes(self) -> tuple[str, ...]:
        return self.training.classes


def _index_channels(job: Job) -> _Images:
    if len(job.hosts) > 1:
        raise JobError(f"the job has {len(job.hosts)} instances, but trains on one: set InstanceCount to 1")
    training = index_images(job.channel("training"))
    if len(training.classes) < 2:
        raise DataError(f"the channel 'training' has one class, {training.classes[0]!r}: add a folder for another one")
    filled = Counter(sample.label for sample in training.samples)
    for label, name in enumerate(training.classes):
        if not filled[label]:
            raise DataError(
                f"the channel 'training' has no image of the class {name!r}: add some, or remove its folder"
            )
    others = [index_images(job.channel(name), training.classes) for name in ("validation", "evaluation")]
    folders = dict(zip(("training", "validation", "evaluation"), (training, *others), strict=True))
    for name, folder in folders.items():
        for bad in folder.left_out.bad_files:
            logger.warning("the %s image %r is left out: %s", name, bad.path, bad.reason)
    sizes = " ".join(f"{name}_images={len(folder.samples)}" for name, folder in folders.items())
    logger.info("classes=%d %s", len(training.classes), sizes)
    return _Images(**folders)


def _metrics(
    job: Job, settings: ContainerSettings, images: _Images, parameters: int, fitted: "Fitted", evaluation: "Evaluation"
) -> Metrics:
    return Metrics(
        training_job=job.name,
        accuracy=evaluation.accuracy,
        loss=evaluation.loss,
        classes=evaluation.classes,
        macro_average=evaluation.macro_average,
        weighted_average=evaluation.weighted_average,
        confusion_matrix=evaluation.confusion_matrix.tolist(),
        training_images=len(images.training.samples),
        validation_images=len(images.validation.samples),
        evaluation_images=len(images.evaluation.samples),
        parameters=parameters,
        monitor=settings.training.monitor,
        best_epoch=fitted.best,
        epochs=len(fitted.history),
        stopped=fitted.stopped,
    )


def _explain(error: BaseException) -> str:
    """Return what went wrong in one sentence, and log the traceback of what nobody foresaw."""
    if isinstance(error, ProjectError):
        return str(error)
    logger.error("training failed", exc_info=error)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk of the training instance is full: raise training_job.volume_size_gb"
    if isinstance(error, MemoryError):
        return "the training instance is out of memory: choose one with more, or lower training.batch_size"
    text = textwrap.shorten(f": {error}", MAX_ERROR_TEXT, placeholder=" ...")
    return f"training failed with {type(error).__name__}, the job's log has the traceback{text.rstrip(': ')}"


def _write_failure(opt_ml: OptMl, reason: str) -> None:
    try:
        opt_ml.failure_file.parent.mkdir(parents=True, exist_ok=True)
        opt_ml.failure_file.write_text(reason, encoding="utf-8", errors="backslashreplace")
    except OSError:
        logger.exception("the failure file %s cannot be written", opt_ml.failure_file)


class _Formatter(logging.Formatter):
    """Plain lines, as metric definitions read them; only a warning or an error says that it is one."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno < logging.WARNING else f"{record.levelname}: {text}"


def _log_to_stdout() -> None:
    if isinstance(sys.stdout, TextIOWrapper):
        # A class may have any name, and the log any encoding.
        sys.stdout.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # Keras warns that HDF5 is a legacy format; TensorFlow tells where it writes a SavedModel's assets.
    logging.getLogger("absl").setLevel(logging.ERROR)
    logging.getLogger("tensorflow").setLevel(logging.WARNING)
