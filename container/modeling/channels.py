"""Finds the images of a training job's channels, and checks that they can be trained on. Nothing is decoded here."""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from container.dataset.index import ImageFolder, index_images
from container.errors import DataError
from container.modeling.job import Job

logger = logging.getLogger(__name__)

TRAINING, VALIDATION, EVALUATION = "training", "validation", "evaluation"


@dataclass(frozen=True)
class Folders:
    """The images of the three channels, in class folders."""

    training: ImageFolder
    validation: ImageFolder
    evaluation: ImageFolder


def index_channels(job: Job) -> Folders:
    """Return the images of a job's channels.

    Raises:
        DataError: a channel is missing or empty, or holds other classes than it should.
    """
    training = index_channel(job, TRAINING)
    check_classes(training.classes, Counter(sample.label for sample in training.samples))
    return Folders(training, *(index_channel(job, name, training.classes) for name in (VALIDATION, EVALUATION)))


def index_channel(job: Job, name: str, classes: tuple[str, ...] | None = None) -> ImageFolder:
    """Return the images of one channel, and log what is left out.

    Raises:
        DataError: the channel is missing or empty, or holds a class that is not among those given.
    """
    # To look into a file that is fetched when it is read takes a request of its own.
    folder = index_images(job.channel(name), classes, looks_inside=name not in job.streamed_channels)
    for bad in folder.left_out.bad_files:
        logger.warning("the %s image %r is left out: %s", name, bad.path, bad.reason)
    return folder


def check_classes(classes: tuple[str, ...], images: Mapping[int, int]) -> None:
    """See that there is something to tell apart.

    Args:
        classes: of the training images.
        images: how many there are of each, by its position.

    Raises:
        DataError: there is one class only, or one without images.
    """
    if len(classes) < 2:
        raise DataError(f"the channel 'training' has one class, {classes[0]!r}: add a folder for another one")
    for label, name in enumerate(classes):
        if not images.get(label):
            raise DataError(
                f"the channel 'training' has no image of the class {name!r}: add some, or remove its folder"
            )
