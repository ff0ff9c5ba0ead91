"""Reads images out of shards that are fetched while they are read, as FastFile does: piece by piece, each once.

To ask for single images out of a shard would be a request to S3 for each. So a shard is read in pieces of some MB, and
an epoch's order takes the images of some pieces at a time (`in_windows`), which are all that is in memory.
"""

import threading
from collections import OrderedDict
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from container.dataset.sharded_folder import ShardedFolder, read_range

# S3 gives single requests of 8 to 16 MB at the best rate; of pieces of 4 MB, more are in memory, and mixed.
PIECE_BYTES = 4 << 20
# How many pieces an epoch's order mixes. Twice as many are kept, since batches of two windows are made side by side.
WINDOW = 32


def pieces(folder: ShardedFolder) -> NDArray[np.int64]:
    """Return the number of the piece that each image is in, shape (images,): pieces are counted through all shards."""
    in_file = folder.offsets // PIECE_BYTES
    # No two shards share a number.
    _, numbers = np.unique(folder.file_of * (in_file.max(initial=0) + 1) + in_file, return_inverse=True)
    return numbers.astype(np.int64)


def in_windows(order: NDArray[np.int64], numbers: NDArray[np.int64], seed: tuple[int, ...]) -> NDArray[np.int64]:
    """Return an epoch's order such that the images of some pieces come before those of all others.

    Args:
        order: positions of images, which may occur more than once; their order within a window stays.
        numbers: the piece of each image.
        seed: of the order in which the pieces come.
    """
    count = int(numbers.max(initial=-1)) + 1
    window = np.random.default_rng(seed).permutation(count) // WINDOW
    return order[np.argsort(window[numbers[order]], kind="stable")]


class PieceReader:
    """Gives images out of shards; threads may use it side by side."""

    def __init__(self, folder: ShardedFolder) -> None:
        self._folder, self._numbers = folder, pieces(folder)
        count = int(self._numbers.max(initial=-1)) + 1
        ends = folder.offsets + folder.lengths
        self._starts, self._ends = np.full(count, np.iinfo(np.int64).max), np.zeros(count, np.int64)
        np.minimum.at(self._starts, self._numbers, folder.offsets)
        np.maximum.at(self._ends, self._numbers, ends)
        self._read: OrderedDict[int, Future[bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def content(self, position: int) -> bytes:
        """Return the encoded image at a position.

        Raises:
            OSError: the shard cannot be read.
        """
        number = int(self._numbers[position])
        start = int(self._folder.offsets[position] - self._starts[number])
        piece = self._piece(number, int(self._folder.file_of[position]))
        return piece[start : start + int(self._folder.lengths[position])]

    def _piece(self, number: int, file: int) -> bytes:
        with self._lock:
            future = self._read.get(number)
            is_mine = future is None
            if future is None:
                future = self._read[number] = Future()
                if len(self._read) > 2 * WINDOW:
                    self._read.popitem(last=False)
            self._read.move_to_end(number)
        if is_mine:
            start = int(self._starts[number])
            try:
                future.set_result(read_range(self._folder.files[file], start, int(self._ends[number]) - start))
            except BaseException as error:
                with self._lock:
                    self._read.pop(number, None)
                future.set_exception(error)
        return future.result()
