"""From labeled images to batches of pixels, by tf.data: any order, decoding in parallel, kept where they fit.

Images are asked for by their positions in the set. So the order of an epoch is a list that anybody can make, and an
interrupted epoch goes on with the rest of its list.
"""

import os
import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from container.dataset.index import ImageFolder
from container.errors import DataError, ProjectError
from container.modeling.decoding import decode_image
from container.modeling.settings import ContainerSettings

# Share of the machine's memory that the decoded images of one set may fill.
CACHE_SHARE = 1 / 8
# How much of TensorFlow's text about a broken image an error repeats, in characters.
MAX_REASON = 200
# The names of operations that TensorFlow puts around its messages.
WRAPPING = r"^.*? Iterator::\S*: |\{\{.*?\}\}|\[\[.*?\]\]|\[Op:\w*\](?: name:)?|assertion failed:"


class OutOfMemoryError(ProjectError):
    """A batch does not fit in the memory of the device."""


@dataclass(frozen=True, eq=False)
class LabeledImages:
    """The images of one channel: files, or pixels that are in memory already."""

    classes: tuple[str, ...]
    labels: NDArray[np.int32]
    """Position of each image's class, shape (images,)."""
    names: tuple[str, ...]
    """What tells the images apart: their paths inside the channel."""
    paths: tuple[bytes, ...] = ()
    """The files, as the file system names them; none where the pixels are given."""
    pixels: NDArray[np.uint8] | None = None
    """Shape (images, height, width, channels)."""

    @classmethod
    def of_folder(cls, folder: ImageFolder) -> Self:
        """Return the images of an indexed folder."""
        return cls(
            classes=folder.classes,
            labels=np.fromiter((sample.label for sample in folder.samples), np.int32, len(folder.samples)),
            names=tuple(sample.path.relative_to(folder.directory).as_posix() for sample in folder.samples),
            paths=tuple(os.fsencode(sample.path) for sample in folder.samples),
        )

    def __len__(self) -> int:
        return len(self.labels)


class Batches:
    """Batches of a set's images, decoded when they are asked for the first time and kept where they fit."""

    def __init__(
        self,
        images: LabeledImages,
        settings: ContainerSettings,
        weights: NDArray[np.float32] | None = None,
        cache_bytes: int | None = None,
    ) -> None:
        """Prepare the batches; nothing is read yet.

        Args:
            images: the set.
            settings: the images' size, and how many are in a batch.
            weights: how much each image counts, shape (images,); None: 1.
            cache_bytes: how much memory decoded images may fill, all or nothing; None: a share of this machine's.
        """
        self.images = images
        self.batch_size = settings.training.batch_size
        self._image = settings.image
        self._weights = np.ones(len(images), np.float32) if weights is None else weights
        self._kept = images.pixels
        self._is_kept = np.full(len(images), images.pixels is not None)
        shape = (len(images), settings.image.height, settings.image.width, settings.image.channels)
        if cache_bytes is None:
            cache_bytes = int(CACHE_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        if self._kept is None and np.prod(shape) <= cache_bytes:
            # The memory is taken as it is written to.
            self._kept = np.empty(shape, np.uint8)
        self._positions = np.arange(len(images))
        self._decoding: Any = None
        self._keeping: Any = None

    def steps(self, positions: int | None = None) -> int:
        """Return how many batches there are of so many images; None: of all."""
        return -(-(len(self.images) if positions is None else positions) // self.batch_size)

    def iterate(self, positions: NDArray[np.int64] | None = None) -> Any:
        """Return an iterator over the images at these positions (None: all, in order), to be used up before the next.

        It yields tensors: pixels (batch, height, width, channels), uint8; labels (batch,), int32; weights (batch,),
        float32. The last batch may be smaller.
        """
        self._positions = np.arange(len(self.images)) if positions is None else positions
        if self._is_kept.all():
            self._keeping = self._keeping or self._kept_batches()
            return iter(self._keeping)
        self._decoding = self._decoding or self._decoded_batches()
        return iter(self._decoding)

    @contextmanager
    def explained_errors(self) -> Iterator[None]:
        """Run what uses these batches; what TensorFlow raises on the way becomes an error that a user can act on.

        Raises:
            DataError: a file cannot be read or decoded; it is named.
            OutOfMemoryError: a batch is too large for the device.
        """
        try:
            yield
        except (tf.errors.ResourceExhaustedError, MemoryError) as error:
            raise OutOfMemoryError(
                f"out of memory with training.batch_size={self.batch_size} and images of "
                f"{self._image.height}x{self._image.width}: lower training.batch_size"
            ) from error
        except tf.errors.OpError as error:
            broken = self._first_broken()
            if broken is None:
                raise
            path, reason = os.fsdecode(self.images.paths[broken]), self._why_broken(broken)
            raise DataError(f"the image {path!r} cannot be decoded ({reason}): replace or remove it") from error

    def _source(self) -> Any:
        def positions(_: Any) -> Any:
            # Read when an iterator starts, so that one dataset, which takes long to build, serves all epochs.
            order = tf.numpy_function(lambda: self._positions, [], tf.int64)
            order.set_shape((None,))
            return tf.data.Dataset.from_tensor_slices(order)

        return tf.data.Dataset.range(1).flat_map(positions)

    def _decoded_batches(self) -> Any:
        read = self._reader()
        decoded = self._source().map(lambda position: (position, read(position)), num_parallel_calls=tf.data.AUTOTUNE)
        batches = decoded.batch(self.batch_size)
        if self._kept is not None:
            batches = batches.map(
                lambda positions, pixels: (tf.numpy_function(self._keep, [positions, pixels], tf.int64), pixels)
            )
        return batches.map(self._labeled).prefetch(tf.data.AUTOTUNE)

    def _kept_batches(self) -> Any:
        def take(positions: Any) -> Any:
            pixels = tf.numpy_function(lambda chosen: self._kept[chosen], [positions], tf.uint8)  # type: ignore[index]
            return self._labeled(positions, pixels)

        batches = self._source().batch(self.batch_size)
        return batches.map(take, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    def _labeled(self, positions: Any, pixels: Any) -> Any:
        positions.set_shape((None,))
        pixels.set_shape((None, self._image.height, self._image.width, self._image.channels))
        return pixels, tf.gather(self.images.labels, positions), tf.gather(self._weights, positions)

    def _keep(self, positions: NDArray[np.int64], pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
        assert self._kept is not None
        self._kept[positions] = pixels
        self._is_kept[positions] = True
        return positions

    def _reader(self) -> Any:
        paths = tf.constant(self.images.paths)
        return lambda position: decode_image(tf.io.read_file(tf.gather(paths, position)), self._image)

    def _first_broken(self) -> int | None:
        """Return the first image that cannot be decoded: tf.data tells that one failed, but not which."""
        if not self.images.paths:
            return None
        read, expected = self._reader(), 0
        positions = tf.data.Dataset.range(len(self.images))
        readable = positions.map(lambda position: (position, read(position)), num_parallel_calls=tf.data.AUTOTUNE)
        for position, _ in readable.ignore_errors().prefetch(tf.data.AUTOTUNE):
            if int(position) != expected:
                break
            expected += 1
        return expected if expected < len(self.images) else None

    def _why_broken(self, position: int) -> str:
        try:
            # Where it failed before: TensorFlow words its errors differently outside of tf.data.
            next(iter(tf.data.Dataset.from_tensors(position).map(self._reader())))
        except tf.errors.OpError as error:
            return textwrap.shorten(re.sub(WRAPPING, " ", error.message), MAX_REASON, placeholder=" ...")
        return "it could be the second time"
