"""The images of a training job's three channels, as all of its hosts see them."""

import json
import logging
from dataclasses import dataclass, replace

import numpy as np

from container.dataset.index import ImageFolder
from container.dataset.sharded_folder import ShardedFolder
from container.errors import DataError
from container.modeling.channels import EVALUATION, TRAINING, VALIDATION, Folders, check_classes, index_channel
from container.modeling.distribution import Distribution
from container.modeling.input_pipeline.labeled_images import LabeledImages
from container.modeling.job import Job
from container.modeling.own_parts.loading import load_images
from container.modeling.own_parts.parts import OwnParts
from container.modeling.settings import Image

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


def read_image_sets(
    job: Job, image: Image, folders: Folders | None, parts: OwnParts, distribution: Distribution
) -> ImageSets:
    """Return the images of a job's channels.

    Args:
        job: where they lie.
        image: what a loader's images become.
        folders: those that were found already; None: they are found now, or loaded by a loader of the user's own.
        parts: of which the loader counts.
        distribution: the hosts, which may each have a share of a channel.

    Raises:
        DataError: a channel holds nothing, or other classes than it should; or the hosts have not the same images of a
            channel that is not spread over them.
        PartError: the loader failed.
    """
    if folders is not None:
        known = ((TRAINING, folders.training), (VALIDATION, folders.validation), (EVALUATION, folders.evaluation))
        sets = ImageSets(*(_of_folder(job, name, folder) for name, folder in known))
    else:
        training = _read(job, TRAINING, image, parts)
        if training.is_share:
            _check_complete(training, distribution)
            of_hosts = map(json.loads, distribution.gather_texts(json.dumps(training.classes)))
            training = training.with_classes(tuple(sorted(set().union(*of_hosts))))
        own_images = np.bincount(training.labels, minlength=len(training.classes))
        images = distribution.sum_hosts(own_images) if training.is_share else own_images
        check_classes(training.classes, dict(enumerate(images.tolist())))
        others = [_read(job, name, image, parts, training.classes) for name in (VALIDATION, EVALUATION)]
        sets = ImageSets(training, *others)
    for name, images_of in ((TRAINING, sets.training), (VALIDATION, sets.validation), (EVALUATION, sets.evaluation)):
        if not images_of.is_share:
            _check_alike(job, name, images_of, distribution)
    logger.info(
        "classes=%d training_images=%d validation_images=%d evaluation_images=%d",
        len(sets.classes),
        len(sets.training),
        len(sets.validation),
        len(sets.evaluation),
    )
    return sets


def _read(job: Job, name: str, image: Image, parts: OwnParts, classes: tuple[str, ...] | None = None) -> LabeledImages:
    if parts.loader is None:
        return _of_folder(job, name, index_channel(job, name, image, classes))
    images = load_images(parts.loader, job.channel(name), image, classes)
    return replace(images, is_share=name in job.sharded_channels)


def _of_folder(job: Job, name: str, folder: ImageFolder | ShardedFolder) -> LabeledImages:
    images = LabeledImages.of_shards(folder) if isinstance(folder, ShardedFolder) else LabeledImages.of_folder(folder)
    return replace(images, is_share=name in job.sharded_channels, is_streamed=name in job.streamed_channels)


def _check_complete(images: LabeledImages, distribution: Distribution) -> None:
    """See that the hosts' shards together hold what the index lists that one of them was given."""
    own = (len(images.shards), images.shards.listed) if images.shards else (0, 0)
    found, listed = distribution.sum_hosts(np.array(own)).tolist()
    if found != listed:
        raise DataError(
            f"the shards of the channel {TRAINING!r} hold {found} images on all hosts, and their index lists {listed}: "
            "upload the prepared images again by --init_s3_buckets --prune"
        )


def _check_alike(job: Job, name: str, images: LabeledImages, distribution: Distribution) -> None:
    if distribution.replicas.hosts == 1:
        return
    chiefs, *others = distribution.gather_texts(images.fingerprint())
    for host, fingerprint in zip(job.hosts[1:], others, strict=True):
        if fingerprint != chiefs:
            raise DataError(
                f"{host} has other images of the channel {name!r} than {job.hosts[0]}: they were changed while the job "
                "started (launch it again), or S3DistributionType must be ShardedByS3Key, or parts.loader gives others "
                "on each host"
            )
