"""Finds the images of a training job's channels, and checks that they can be trained on. Nothing is decoded here."""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from container.dataset.index import ImageFolder, index_images
from container.dataset.sharded_folder import ShardedFolder, holds_shards, index_shards
from container.errors import DataError
from container.modeling.job import Job
from container.modeling.settings import Image

logger = logging.getLogger(__name__)

TRAINING, VALIDATION, EVALUATION = "training", "validation", "evaluation"


@dataclass(frozen=True)
class Folders:
    """The images of the three channels, each in class folders or in shards."""

    training: ImageFolder | ShardedFolder
    validation: ImageFolder | ShardedFolder
    evaluation: ImageFolder | ShardedFolder


def index_channels(job: Job, image: Image) -> Folders:
    """Return the images of a job's channels.

    Raises:
        DataError: a channel is missing or empty, holds other classes than it should, or images that were prepared for a
            smaller input.
    """
    training = index_channel(job, TRAINING, image)
    if isinstance(training, ShardedFolder):
        images = Counter(training.labels.tolist())
    else:
        images = Counter(sample.label for sample in training.samples)
    check_classes(training.classes, images)
    return Folders(training, *(index_channel(job, name, image, training.classes) for name in (VALIDATION, EVALUATION)))


def index_channel(
    job: Job, name: str, image: Image, classes: tuple[str, ...] | None = None
) -> ImageFolder | ShardedFolder:
    """Return the images of one channel, and log what is left out.

    Raises:
        DataError: the channel is missing or empty, holds a class that is not among those given, or images that were
            prepared for a smaller input.
    """
    directory, is_streamed = job.channel(name), name in job.streamed_channels
    if holds_shards(directory):
        # Shards that are fetched while they are read are read as they lie.
        shards = index_shards(directory, classes, is_share=name in job.sharded_channels, as_stored=is_streamed)
        if shortage := shards.recipe.shortage(image):
            raise DataError(
                f"the images of the channel {name!r} {shortage}: prepare them with these settings by python "
                "data_handler.py --prepare, and upload them by --init_s3_buckets --prune"
            )
        return shards
    # To look into a file that is fetched when it is read takes a request of its own.
    folder = index_images(directory, classes, looks_inside=not is_streamed)
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
