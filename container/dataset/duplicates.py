"""Finds images that are the same, and images that are nearly so, among many.

Two images are the same if all their pixels are. They are nearly the same if their perceptual hashes differ in few bits
and the small pictures that these are made of look alike as well: the hash alone knows nothing of colors, and little of
images without edges.
"""

from collections.abc import Iterator

import numpy as np
import xxhash
from numpy.typing import NDArray

from container.dataset.looks import SIDE

# Of the 128 bits, those in which two nearly equal images may differ.
MOST_BITS = 7
# By how much one of two nearly equal images may be lighter, and how far their small pictures may be apart beside that:
# means over values of 0 to 255. Of photos encoded anew at quality 30 this finds 99 %, of those that are scaled to a
# half before 98 %, of those that lose 1 % at each border before 92 %: see benchmarks/data_check.py.
MOST_LIGHTER, MOST_DIFFERENCE = 40.0, 10.0
# Bits of a band, and the bands of a hash. Hashes that differ in fewer bits than there are bands have one in common
# (multi-index hashing: M. Norouzi, A. Punjani, D. Fleet, https://arxiv.org/abs/1307.2982), so that hashes are compared
# with those alone that share a band.
BAND_BITS, BANDS = 16, 8
# Of the images that share a band, so many neighbors in the order of their hashes are compared. Only where thousands are
# all but empty, as drawings on white are, does this leave out anything: images that are not nearly the same.
WINDOW = 64
# Images or pairs that are looked at together, so that memory does not grow with their number.
PAIRS = 2_048
# The weights of ITU-R BT.601, times 1000: sums of integers are the same on every machine.
GREY = np.array([299, 587, 114], np.int32)

Bytes = NDArray[np.uint8]
Positions = NDArray[np.intp]


def perceptual_hashes(pictures: Bytes) -> Bytes:
    """Return 128 bits of each image that change little where it is encoded anew, scaled or made lighter.

    It is the difference hash of N. Krawetz (https://www.hackerfactor.com/blog/index.php?/archives/529-Kind-of-Like-That.html)
    in both directions: whether each pixel of a small grey picture is darker than its neighbor on the right, and than
    the one below.

    Args:
        pictures: the images in 9 x 9 pixels of RGB, shape (images, 9 * 9 * 3).

    Returns:
        Shape (images, 16).
    """
    grey = pictures.reshape(-1, SIDE, SIDE, 3).astype(np.int32) @ GREY
    inner = grey[:, :-1, :-1]
    bits = np.stack([inner < grey[:, :-1, 1:], inner < grey[:, 1:, :-1]], axis=1)
    return np.packbits(bits.reshape(len(pictures), -1), axis=1)


def equal_rows(rows: Bytes, positions: Positions) -> list[tuple[int, ...]]:
    """Return which of the rows at these positions are equal, as sorted groups of at least two, by their first ones."""
    groups: dict[bytes, list[int]] = {}
    # By a hash first: the rows themselves would be kept as often as there are different ones.
    hashes = np.fromiter((xxhash.xxh3_64_intdigest(rows[position]) for position in positions), np.uint64)
    order = np.argsort(hashes, kind="stable")
    is_same = hashes[order[1:]] == hashes[order[:-1]]
    for place in order[np.flatnonzero(np.append(is_same, False) | np.append(False, is_same))]:
        position = int(positions[place])
        groups.setdefault(rows[position].tobytes(), []).append(position)
    return sorted(tuple(sorted(group)) for group in groups.values() if len(group) > 1)


def near_images(pictures: Bytes, positions: Positions) -> Iterator[tuple[int, int]]:
    """Yield pairs of positions of images that are nearly the same; a pair may come more than once.

    Args:
        pictures: see `perceptual_hashes`.
        positions: of the images to compare; no two should be the same, since all of these would be compared.
    """
    hashes = np.concatenate(
        [np.empty((0, BANDS * BAND_BITS // 8), np.uint8)]
        + [perceptual_hashes(pictures[positions[start : start + PAIRS]]) for start in range(0, len(positions), PAIRS)]
    )
    bands, words = hashes.view(np.uint16), hashes.view(np.uint64)
    for band in range(BANDS):
        # By this band, then by the others: neighbors are alike in more than it.
        order = np.lexsort(np.roll(bands, -band, axis=1).T[::-1])
        values = bands[order, band]
        left = np.arange(len(order))
        for distance in range(1, WINDOW + 1):
            left = left[left + distance < len(order)]
            left = left[values[left] == values[left + distance]]
            if not len(left):
                break
            ones, others = order[left], order[left + distance]
            is_near = np.bitwise_count(words[ones] ^ words[others]).sum(axis=1) <= MOST_BITS
            yield from _confirmed(pictures, positions[ones[is_near]], positions[others[is_near]])


def _confirmed(pictures: Bytes, ones: Positions, others: Positions) -> Iterator[tuple[int, int]]:
    """Yield those pairs whose small pictures look alike."""
    for start in range(0, len(ones), PAIRS):
        some, their = ones[start : start + PAIRS], others[start : start + PAIRS]
        apart = pictures[some].astype(np.float32) - pictures[their]
        lighter = apart.mean(axis=1)
        rest = np.abs(apart - lighter[:, np.newaxis]).mean(axis=1)
        is_near = (np.abs(lighter) <= MOST_LIGHTER) & (rest <= MOST_DIFFERENCE)
        for one, other in zip(some[is_near], their[is_near], strict=True):
            yield int(one), int(other)
