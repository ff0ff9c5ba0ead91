"""Batches of a set's images, by tf.data: any order, decoded in parallel and once, broken files passed over.

Images are asked for by their positions, batch by batch. So the order of an epoch is a table that anybody can make, and
an interrupted epoch goes on with the rest of its rows.
"""

import logging
import os
import re
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from container.errors import DataError, ProjectError
from container.modeling.decoding import decode_image
from container.modeling.input_pipeline.labeled_images import LabeledImages
from container.modeling.input_pipeline.pixel_cache import CacheSpace, MemoryCache
from container.modeling.settings import ContainerSettings

logger = logging.getLogger(__name__)

# Stands in a row, and among the labels, where there is no image.
NO_IMAGE = -1
# Bytes of batches that are made before they are asked for, and the most batches.
PREFETCHED_BYTES = 64 << 20
MAX_PREFETCHED = 64
# Files of a batch that are opened at the same time where each open takes the time of a request to S3: a core decodes
# some 300 images a second, and so needs 30 under way at 100 ms. And the most of all batches: S3 answers 5,500 requests
# a second under a prefix.
STREAMED_AT_ONCE = 32
MAX_STREAMED = 512
# How much of TensorFlow's text about a broken image an error repeats, in characters, and how many images it names.
MAX_REASON = 200
MAX_NAMED = 5
# The names of operations that TensorFlow puts around its messages.
WRAPPING = r"^.*? Iterator::\S*: |\{\{.*?\}\}|\[\[.*?\]\]|\[Op:\w*\](?: name:)?|assertion failed:"


class OutOfMemoryError(ProjectError):
    """A batch does not fit in the memory of the device."""


class Batches:
    """Batches of a set's images, decoded when they are asked for the first time and kept where there is room."""

    def __init__(
        self,
        images: LabeledImages,
        settings: ContainerSettings,
        name: str,
        weights: NDArray[np.float32] | None = None,
        space: CacheSpace | None = None,
        fast: bool = False,
    ) -> None:
        """Prepare the batches; nothing is read yet.

        Args:
            images: the set.
            settings: the images' size, how many are in a batch, how many may be broken.
            name: what errors call the set.
            weights: how much each image counts, shape (images,); None: 1.
            space: where decoded images may be kept; None: nowhere.
            fast: decode as is good enough to learn from.
        """
        self.images = images
        self.batch_size = settings.training.batch_size
        self._image, self._name, self._fast = settings.image, name, fast
        self._max_broken = settings.input.max_broken_share
        self._weights = np.ones(len(images), np.float32) if weights is None else weights
        shape = (len(images), settings.image.height, settings.image.width, settings.image.channels)
        self._cache = space.cache(shape, name) if space and images.pixels is None else None
        if images.pixels is not None:
            self._cache = MemoryCache(images.pixels)
        self._is_kept = np.full(len(images), images.pixels is not None)
        self._is_broken = np.zeros(len(images), bool)
        self._told_broken = 0
        self._has_room = self._cache is not None
        self._tables: Callable[[int], NDArray[np.int64]]
        self._reading: Any = None
        self._taking: Any = None

    @property
    def broken(self) -> NDArray[np.int64]:
        """Positions of the images that could not be read so far."""
        return np.flatnonzero(self._is_broken)

    def iterate(self, rows: NDArray[np.int64] | None = None) -> Any:
        """Return an iterator over batches, to be used up before the next; None: over all images in order.

        Args:
            rows: positions of each batch's images, shape (batches, up to the batch size); where `NO_IMAGE` stands
                there is none.

        It yields tensors: pixels (batch, height, width, channels), uint8; labels (batch,), int32; weights (batch,),
        float32. A batch is as large as its row has images, but never empty. In the place of a broken image stands a
        copy of another one with the label `NO_IMAGE` and the weight 0, and so in that of a row's only image.
        """
        table = rows_of(np.arange(len(self.images)), self.batch_size) if rows is None else rows
        asked = table[table != NO_IMAGE]
        reads = not (self._is_kept | self._is_broken)[asked].all()
        return self._iterator(lambda number: table if number == 0 else table[:0], reads)

    def iterate_endlessly(self, tables: Callable[[int], NDArray[np.int64]]) -> Any:
        """Return an iterator over the rows of tables(0), tables(1) and so on, to be left before the next is begun.

        So the next table is read while nothing is asked for. The tables are as in `iterate`, and none is empty.
        """
        return self._iterator(tables, not self.is_settled)

    @property
    def is_settled(self) -> bool:
        """Whether all images are kept, or broken: an iterator that is begun now reads no file."""
        return bool((self._is_kept | self._is_broken).all())

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def _iterator(self, tables: Callable[[int], NDArray[np.int64]], reads: bool) -> Any:
        self._tables = tables
        if self._is_kept.any() and not reads:
            self._taking = self._taking or self._taken_batches()
            return iter(self._taking)
        self._reading = self._reading or self._read_batches()
        return iter(self._reading)

    def check_broken(self, gather: Callable[[NDArray[np.int64]], NDArray[np.int64]] = np.asarray) -> None:
        """Tell of the images that turned out to be broken since the last time.

        Args:
            gather: gives the positions that any of several hosts found; all of them must call this then.

        Raises:
            DataError: they are more than the settings allow, or all; some are named.
        """
        broken = self.broken if self.images.is_share else np.unique(gather(self.broken))
        if len(broken) == self._told_broken:
            return
        self._told_broken = len(broken)
        named = [f"{self.images.names[position]!r} ({self._why_broken(position)})" for position in broken[:MAX_NAMED]]
        names = ", ".join(named) + (" and others" if len(broken) > MAX_NAMED else "")
        found = f"{len(broken)} of {len(self.images)} {self._name} images cannot be read: {names}"
        if len(broken) == len(self.images):
            raise DataError(f"{found}; none is left: replace or remove them")
        if len(broken) > self._max_broken * len(self.images):
            raise DataError(
                f"{found}; this is more than input.max_broken_share={self._max_broken:g} allows: replace or remove them"
            )
        logger.warning("%s; they are left out", found)

    def _source(self) -> Any:
        def table(number: Any) -> Any:
            # Asked for as it is needed, so that one dataset, which takes long to build, serves all iterators.
            rows = tf.numpy_function(lambda chosen: self._tables(int(chosen)), [number], tf.int64)
            rows.set_shape((None, None))
            return rows

        tables = tf.data.Dataset.counter().map(table).take_while(lambda rows: tf.shape(rows)[0] > 0)
        return tables.unbatch().map(lambda row: tf.boolean_mask(row, row != NO_IMAGE))

    def _read_batches(self) -> Any:
        """Return batches of which each is read in one thread, several side by side."""
        threads = len(os.sched_getaffinity(0))
        encoded = self.images.reader()
        at_once: dict[str, Any] = {"num_parallel_calls": STREAMED_AT_ONCE, "deterministic": True}
        # A filler ends what is read of a row: there is a batch also where nothing can be read.
        end = tf.data.Dataset.from_tensors((np.int64(NO_IMAGE), tf.zeros(self._shape(), tf.uint8)))

        def read_row(row: Any) -> Any:
            unread = tf.numpy_function(self._unread, [row], tf.int64)
            unread.set_shape((None,))
            files = tf.data.Dataset.from_tensor_slices(unread).map(
                lambda position: (position, encoded(position)), **(at_once if self.images.is_streamed else {})
            )
            read = files.ignore_errors().map(lambda position, content: (position, self._decoded(content)))
            whole = read.ignore_errors().concatenate(end).batch(self.batch_size + 1)
            return whole.map(lambda positions, pixels: (row, positions, pixels))

        read = self._source().interleave(
            read_row, cycle_length=threads + 1, block_length=1, num_parallel_calls=threads, deterministic=True
        )

        def put_together(*parts: Any) -> Any:
            return tf.numpy_function(self._put_together, parts, (tf.int64, tf.uint8))

        batches = self._labeled(read.map(put_together, num_parallel_calls=threads))
        if not self.images.is_streamed:
            return batches
        options = tf.data.Options()
        # TensorFlow's own threads are as many as the cores, and each waits for the file that it opens.
        options.threading.private_threadpool_size = min((threads + 1) * STREAMED_AT_ONCE, MAX_STREAMED)
        return batches.with_options(options)

    def _taken_batches(self) -> Any:
        cache = self._cache
        assert cache is not None

        def take(row: Any) -> Any:
            positions, sources = tf.numpy_function(self._with_sources, [row], (tf.int64, tf.int64))
            return positions, cache.taken(sources)

        options = tf.data.Options()
        # They would copy the graph, and all kept images with it.
        options.experimental_optimization.apply_default_optimizations = False
        return self._labeled(self._source().map(take, num_parallel_calls=tf.data.AUTOTUNE)).with_options(options)

    def _labeled(self, batches: Any) -> Any:
        """Return batches of positions and pixels with labels and weights in the place of the positions."""
        labels = tf.constant(np.append(self.images.labels, np.int32(NO_IMAGE)))
        weights = tf.constant(np.append(self._weights, np.float32(0)))

        def label(positions: Any, pixels: Any) -> Any:
            positions.set_shape((None,))
            pixels.set_shape((None, *self._shape()))
            # The last entry is that of no image.
            chosen = tf.where(positions == NO_IMAGE, np.int64(len(self.images)), positions)
            return pixels, tf.gather(labels, chosen), tf.gather(weights, chosen)

        depth = PREFETCHED_BYTES // max(self.batch_size * int(np.prod(self._shape())), 1)
        return batches.map(label).prefetch(min(max(depth, 2), MAX_PREFETCHED))

    def _unread(self, row: NDArray[np.int64]) -> NDArray[np.int64]:
        return row[~(self._is_kept[row] | self._is_broken[row])]

    def _put_together(
        self, row: NDArray[np.int64], read: NDArray[np.int64], pixels: NDArray[np.uint8]
    ) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Return the batch of a row, of which some images were read just now; the last one read is a filler."""
        read, pixels = read[:-1], pixels[:-1]
        if 0 < len(read) == len(row):
            self._keep(row, pixels)
            return row, pixels
        known = self._is_kept[row] | self._is_broken[row]
        self._is_broken[np.setdiff1d(row[~known], read)] = True
        self._keep(read, pixels)
        batch = np.zeros((max(len(row), 1), *self._shape()), np.uint8)
        # Where an image is both, it was read twice at the same time.
        was_read = np.isin(row, read)
        was_kept = known & ~was_read & ~self._is_broken[row]
        if was_read.any():
            order = np.argsort(read)
            batch[np.flatnonzero(was_read)] = pixels[order[np.searchsorted(read, row[was_read], sorter=order)]]
        if was_kept.any():
            assert self._cache is not None
            batch[np.flatnonzero(was_kept)] = self._cache.take(row[was_kept])
        return _with_copies(row, batch, was_read | was_kept)

    def _with_sources(self, row: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return a row's positions, and those of the images that stand there."""
        is_whole = ~self._is_broken[row]
        # What stands in a batch without an image counts nothing, but there must be such an image.
        stand_in = row[is_whole.argmax()] if is_whole.any() else self._is_kept.argmax()
        if not len(row):
            return np.array([NO_IMAGE]), np.array([stand_in])
        return np.where(is_whole, row, NO_IMAGE), np.where(is_whole, row, stand_in)

    def _keep(self, positions: NDArray[np.int64], pixels: NDArray[np.uint8]) -> None:
        if self._cache is None or not self._has_room:
            return
        try:
            self._cache.put(positions, pixels)
        except OSError as error:
            logger.warning("no more decoded images are kept, since the disk cannot be written: %s", error.strerror)
            self._has_room = False
            return
        self._is_kept[positions] = True

    def _decoded(self, encoded: Any) -> Any:
        return decode_image(encoded, self._image, self._fast)

    def _shape(self) -> tuple[int, int, int]:
        return self._image.height, self._image.width, self._image.channels

    @contextmanager
    def explained_errors(self) -> Iterator[None]:
        """Run what uses these batches; that memory does not suffice becomes an error that a user can act on.

        Raises:
            OutOfMemoryError: a batch is too large for the device.
        """
        try:
            yield
        except (tf.errors.ResourceExhaustedError, MemoryError) as error:
            raise OutOfMemoryError(
                f"out of memory with training.batch_size={self.batch_size} and images of "
                f"{self._image.height}x{self._image.width}: lower training.batch_size"
            ) from error

    def _why_broken(self, position: int) -> str:
        try:
            # In a dataset as before: TensorFlow words its errors differently outside of one.
            encoded = self.images.reader()
            files = tf.data.Dataset.from_tensors(np.int64(position)).map(encoded)
            next(iter(files.map(self._decoded)))
        except tf.errors.OpError as error:
            return textwrap.shorten(re.sub(WRAPPING, " ", error.message), MAX_REASON, placeholder=" ...")
        return "it could be read when it was tried again"


def rows_of(positions: NDArray[np.int64], batch_size: int) -> NDArray[np.int64]:
    """Return positions, shape (images,), as rows of batches, shape (batches, batch_size); the last one is filled up."""
    batches = -(-len(positions) // batch_size)
    rows = np.full(batches * batch_size, NO_IMAGE, np.int64)
    rows[: len(positions)] = positions
    return rows.reshape(batches, batch_size)


def _with_copies(
    row: NDArray[np.int64], batch: NDArray[np.uint8], is_whole: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return a row's positions and its batch with copies of an image in the place of those that are not whole.

    Black ones would move batch normalization's averages.
    """
    if not len(row):
        return np.array([NO_IMAGE]), batch
    if is_whole.any():
        batch[np.flatnonzero(~is_whole)] = batch[np.argmax(is_whole)]
    return np.where(is_whole, row, NO_IMAGE), batch
