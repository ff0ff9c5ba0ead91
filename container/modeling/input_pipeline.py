"""From labeled files to batches of pixels, by tf.data: order by seed, decoding in parallel, a cache where it fits."""

import os
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from container.dataset.index import Sample
from container.errors import DataError, ProjectError
from container.modeling.decoding import decode_image
from container.modeling.settings import ContainerSettings, Image

# Share of the machine's memory that the decoded images of one set may fill.
CACHE_SHARE = 1 / 8
# How much of TensorFlow's text about a broken image an error repeats, in characters.
MAX_REASON = 200
# The names of operations that TensorFlow puts around its messages.
WRAPPING = r"^.*? Iterator::\S*: |\{\{.*?\}\}|\[\[.*?\]\]|\[Op:\w*\](?: name:)?|assertion failed:"


class OutOfMemoryError(ProjectError):
    """A batch does not fit in the memory of the device."""


def training_batches(samples: Sequence[Sample], settings: ContainerSettings, cache_bytes: int | None = None) -> Any:
    """Return a tf.data.Dataset of (pixels, labels) that shuffles all images anew in each pass, by training.seed.

    Shapes: pixels (batch, height, width, channels), uint8; labels (batch,), int32. The last batch may be smaller.
    Decoded images that fill at most `cache_bytes` are kept in memory; None: a share of this machine's.
    """
    shuffled = {"buffer_size": len(samples), "seed": settings.training.seed, "reshuffle_each_iteration": True}
    files = _files(samples)
    if _fits(samples, settings.image, cache_bytes):
        images = _decoded(files, settings.image).cache().shuffle(**shuffled)
    else:
        images = _decoded(files.shuffle(**shuffled), settings.image)
    return images.batch(settings.training.batch_size).prefetch(tf.data.AUTOTUNE)


def ordered_batches(samples: Sequence[Sample], settings: ContainerSettings, cache: bool = False) -> Any:
    """Return a tf.data.Dataset of (pixels, labels), as `training_batches` does, in the order of the samples.

    `cache` keeps the decoded images for the next pass where they fit in a share of this machine's memory.
    """
    images = _decoded(_files(samples), settings.image)
    if cache and _fits(samples, settings.image):
        images = images.cache()
    return images.batch(settings.training.batch_size).prefetch(tf.data.AUTOTUNE)


def labels_of(samples: Sequence[Sample]) -> NDArray[np.int32]:
    """Return the labels, shape (samples,)."""
    return np.fromiter((sample.label for sample in samples), np.int32, len(samples))


@contextmanager
def explained_errors(samples: Sequence[Sample], settings: ContainerSettings) -> Iterator[None]:
    """Run what reads these samples; what TensorFlow raises on the way becomes an error that a user can act on.

    Raises:
        DataError: a file cannot be read or decoded; it is named.
        OutOfMemoryError: a batch is too large for the device.
    """
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        raise OutOfMemoryError(
            f"out of memory with training.batch_size={settings.training.batch_size} and images of "
            f"{settings.image.height}x{settings.image.width}: lower training.batch_size"
        ) from error
    except tf.errors.OpError as error:
        broken = _first_broken(samples, settings.image)
        if broken is None:
            raise
        reason = _why_broken(broken, settings.image)
        raise DataError(f"the image {str(broken.path)!r} cannot be decoded ({reason}): replace or remove it") from error


def _files(samples: Sequence[Sample]) -> Any:
    paths = [os.fsencode(sample.path) for sample in samples]
    return tf.data.Dataset.from_tensor_slices((paths, labels_of(samples)))


def _decoded(files: Any, image: Image) -> Any:
    return files.map(lambda path, label: (_read(path, image), label), num_parallel_calls=tf.data.AUTOTUNE)


def _read(path: Any, image: Image) -> Any:
    return decode_image(tf.io.read_file(path), image)


def _fits(samples: Sequence[Sample], image: Image, cache_bytes: int | None = None) -> bool:
    if cache_bytes is None:
        cache_bytes = int(CACHE_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return len(samples) * image.height * image.width * image.channels <= cache_bytes


def _first_broken(samples: Sequence[Sample], image: Image) -> Sample | None:
    """Return the first sample that cannot be decoded: tf.data tells that one failed, but not which."""
    positions = tf.data.Dataset.range(len(samples))
    readable = tf.data.Dataset.zip(positions, _files(samples)).map(
        lambda position, file: (position, _read(file[0], image)), num_parallel_calls=tf.data.AUTOTUNE
    )
    expected = 0
    for position, _ in readable.ignore_errors().prefetch(tf.data.AUTOTUNE):
        if int(position) != expected:
            break
        expected += 1
    return samples[expected] if expected < len(samples) else None


def _why_broken(sample: Sample, image: Image) -> str:
    try:
        next(iter(_decoded(_files([sample]), image)))
    except tf.errors.OpError as error:
        text = re.sub(WRAPPING, " ", error.message)
        return textwrap.shorten(text, MAX_REASON, placeholder=" ...")
    return "it could be the second time"
