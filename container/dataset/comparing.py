"""Compares the images that a check has looked at: which are the same, and which are nearly so."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from container.dataset.duplicates import Bytes, Positions, equal_rows, near_images
from container.dataset.groups import Ties
from container.dataset.looks import DIGEST_BYTES, digests_of_files
from container.dataset.processes import in_batches
from container.dataset.progress import Progress
from container.dataset.remembered import Memory
from container.dataset.source import ImageSource

# Images that a process gets at once.
BATCH = 16


@dataclass(frozen=True, slots=True)
class Groups:
    """Positions of images, in the order of the source, in groups of at least two, each sorted."""

    same: list[tuple[int, ...]]
    near: list[tuple[int, ...]]
    """Of images that are the same, the first one stands for all."""

    def whole_near(self) -> Iterator[tuple[int, ...]]:
        """Yield the groups of images that are nearly the same, with all that the first ones stand for."""
        same = {group[0]: group for group in self.same}
        for group in self.near:
            yield tuple(sorted(position for first in group for position in same.get(first, (first,))))


def compare_images(source: ImageSource, known: Memory, count: int, progress: Progress) -> Groups:
    """Return which of a source's images, which are so many, are alike.

    Images that are the same have the same small picture too, so only those that share one are decoded again, to see
    whether all of their pixels are the same.
    """
    pictures, with_pixels = known.pictures(source.images(), count)
    same = _same(source, known, pictures, with_pixels, progress)
    repeated = [position for group in same for position in group[1:]]
    ties = Ties()
    for pair in near_images(pictures, np.setdiff1d(with_pixels, repeated)):
        ties.tie(pair)
    return Groups(same, ties.groups())


def _same(
    source: ImageSource, known: Memory, pictures: Bytes, with_pixels: Positions, progress: Progress
) -> list[tuple[int, ...]]:
    candidates = np.array(sorted(place for group in equal_rows(pictures, with_pixels) for place in group), np.intp)
    digests = np.zeros((len(candidates), DIGEST_BYTES), np.uint8)
    unknown = []
    for row, (path, _) in enumerate(source.images_at(candidates.tolist())):
        if digest := known.digest(path):
            digests[row] = np.frombuffer(digest, np.uint8)
        else:
            unknown.append(row)
    if unknown:
        progress.start("Comparing pixels", len(unknown))
        positions = candidates[unknown].tolist()
        files = (f"{source.directory}/{path}" for path, _ in source.images_at(positions))
        found = in_batches(digests_of_files, files, BATCH)
        for row, (path, _), digest in zip(unknown, source.images_at(positions), found, strict=True):
            if digest:
                digests[row] = np.frombuffer(digest, np.uint8)
                known.remember_digest(path, digest)
            progress.advance()
    compared = np.flatnonzero(digests.any(axis=1))
    return [tuple(candidates[list(group)].tolist()) for group in equal_rows(digests, compared)]
