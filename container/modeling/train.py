"""Runs a training job: what `train` calls inside SageMaker.

TensorFlow is imported last: a job that is set up wrongly fails before, within a second.
"""

import errno
import logging
import signal
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

from sagemaker_training.errors import ClientError

from container.errors import ProjectError
from container.modeling.channels import index_channels
from container.modeling.devices import check_gpus, import_tensorflow
from container.modeling.job import Job, OptMl
from container.modeling.logs import log_to_stdout
from container.modeling.overrides import override
from container.modeling.own_parts.errors import PARTS_FOLDER
from container.modeling.own_parts.sources import check_parts
from container.modeling.settings import ContainerSettings
from container.modeling.stopping import JobStoppedError

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
        log_to_stdout()
        run_job(opt_ml)
        # All is written: a stop that comes now has nothing to stop.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def run_job(opt_ml: OptMl) -> None:
    """Run the training job that a folder describes.

    Raises:
        ProjectError: the job, its settings or its images are not as they should be, or training failed.
    """
    job = Job.read(opt_ml)
    settings = override(ContainerSettings(), job.hyperparameters)
    check_parts(settings, PARTS_FOLDER)
    check_gpus(job.instance_type)
    # A loader of the user's own may read anything else than class folders, and which classes there are is known to all
    # hosts together where each has a share of the images.
    folders = None if settings.parts.loader or job.sharded_channels else index_channels(job, settings.image)
    import_tensorflow()

    from container.modeling.run import train_and_evaluate

    train_and_evaluate(settings, job, folders)


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


def _explain(error: BaseException) -> str:
    """Return what went wrong in one sentence, and log the traceback of what nobody foresaw."""
    if isinstance(error, ProjectError | JobStoppedError):
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
