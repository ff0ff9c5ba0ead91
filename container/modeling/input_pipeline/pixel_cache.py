"""Keeps decoded images, so that each is decoded once: in memory where they fit, else on the instance's disk."""

import errno
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from container.modeling.container_settings import Input

logger = logging.getLogger(__name__)

# Share of a disk's free space that is not filled: checkpoints and the model need some.
FREE_DISK_SHARE = 0.2
# Of the memory of TensorFlow's tensors, in bytes.
ALIGNMENT = 64
# Where Linux tells how much memory a container may use: control groups of version 2, then of version 1.
MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class PixelCache(Protocol):
    """Images of one size, by their positions. Threads may use it side by side."""

    def put(self, positions: NDArray[np.int64], pixels: NDArray[np.uint8]) -> None:
        """Keep images: pixels of shape (positions, height, width, channels)."""

    def take(self, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return images that were kept, shape (positions, height, width, channels)."""

    def taken(self, positions: Any) -> Any:
        """Return the same in a graph: positions and pixels are tensors."""


class MemoryCache:
    """Keeps images in memory, which is taken as they come."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._pixels = pixels

    def put(self, positions: NDArray[np.int64], pixels: NDArray[np.uint8]) -> None:
        """See PixelCache."""
        self._pixels[positions] = pixels

    def take(self, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        """See PixelCache."""
        return self._pixels[positions]

    def taken(self, positions: Any) -> Any:
        """See PixelCache."""
        if self._pixels.ctypes.data % ALIGNMENT or not self._pixels.flags.writeable:
            return tf.numpy_function(self.take, [positions], tf.uint8)
        # The same memory as a tensor; threads of TensorFlow's own gather from it faster than Python can.
        return tf.gather(tf.experimental.dlpack.from_dlpack(self._pixels.__dlpack__()), positions)


class DiskCache:
    """Keeps images in a file without a name, which vanishes with the process, however that ends.

    It is read and written, not mapped: pages of a mapped file would count as memory of the process.
    """

    def __init__(self, folder: Path, image_shape: tuple[int, int, int]) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 lives as long as the cache
        self._shape = image_shape
        self._bytes = int(np.prod(image_shape))

    def put(self, positions: NDArray[np.int64], pixels: NDArray[np.uint8]) -> None:
        """See PixelCache.

        Raises:
            OSError: the disk is full.
        """
        for position, image in zip(positions.tolist(), np.ascontiguousarray(pixels), strict=True):
            view: Any = image.reshape(-1).data
            written = os.pwrite(self._file.fileno(), view, position * self._bytes)
            while written < self._bytes:
                written += os.pwrite(self._file.fileno(), view[written:], position * self._bytes + written)

    def take(self, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        """See PixelCache."""
        pixels = np.empty((len(positions), *self._shape), np.uint8)
        for position, image in zip(positions.tolist(), pixels, strict=True):
            view, read = image.reshape(-1).data, 0
            while read < self._bytes:
                part = os.preadv(self._file.fileno(), [view[read:]], position * self._bytes + read)
                if not part:
                    raise OSError(errno.EIO, f"the image {position} is not among those that were kept")
                read += part
        return pixels

    def taken(self, positions: Any) -> Any:
        """See PixelCache."""
        return tf.numpy_function(self.take, [positions], tf.uint8)


class CacheSpace:
    """The room for the decoded images of a job's sets; each set's is all or nothing."""

    def __init__(self, memory_bytes: int, folder: Path | None) -> None:
        """Take no room yet.

        Args:
            memory_bytes: how much memory all caches may fill together.
            folder: on the disk to use where memory does not suffice; None: none.
        """
        self._memory_bytes = memory_bytes
        self._folder = folder
        self._disk_bytes = int((1 - FREE_DISK_SHARE) * shutil.disk_usage(folder).free) if folder else 0

    @classmethod
    def of_machine(cls, settings: Input) -> "CacheSpace":
        """Return what the settings allow of this machine's memory, and of the disk of its temporary folder."""
        folder = Path(tempfile.gettempdir()) if settings.disk_cache else None
        return cls(int(settings.memory_share * usable_memory()), folder)

    def cache(self, shape: tuple[int, int, int, int], name: str) -> PixelCache | None:
        """Return a cache for images of shape (images, height, width, channels); None: there is no room."""
        count, *image_shape = shape
        size = int(np.prod(shape))
        if size <= self._memory_bytes:
            self._memory_bytes -= size
            return MemoryCache(_aligned(shape))
        place = "nowhere: they are decoded anew in each epoch"
        cache = None
        if self._folder is not None and size <= self._disk_bytes:
            self._disk_bytes -= size
            place = f"on the disk, in {self._folder}"
            cache = DiskCache(self._folder, (image_shape[0], image_shape[1], image_shape[2]))
        logger.info("the %d %s images (%.1f GB decoded) are kept %s", count, name, size / 1e9, place)
        return cache


def _aligned(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return an array that TensorFlow can use as it is, of undefined content; memory is taken as it is written to."""
    size = int(np.prod(shape))
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].reshape(shape)


def usable_memory() -> int:
    """Return how many bytes of memory this process may use: the machine's, or its container's limit."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for file in MEMORY_LIMITS:
        try:
            memory = min(memory, int(file.read_text(encoding="ascii")))
        # Without a limit the file says "max", or is not there.
        except (OSError, ValueError):
            continue
    return memory
