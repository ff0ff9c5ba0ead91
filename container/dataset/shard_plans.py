"""Which images are in which shard, and where each of them is to come from."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from container.dataset.index import Scan
from container.dataset.recipe import Recipe
from container.dataset.shards import SUFFIX, Original, ShardIndex, shard_name, share_of
from container.errors import DataError

# A digest's first bytes tell the shard.
PLACE_BYTES = 8


class Known(NamedTuple):
    """An image in an earlier shard."""

    shard: Path
    offset: int
    length: int
    problem: str

    def content(self) -> bytes:
        """Return the encoded image."""
        with self.shard.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.length)


class ShardPlan(NamedTuple):
    """How a shard comes about."""

    file: Path
    members: tuple[Original, ...]
    present: ShardIndex | None
    """Of the shard, if it is there already."""
    known: Mapping[tuple[str, int, int], Known]
    """Images that were prepared before, by their originals' names, sizes and times of change."""
    fresh: tuple[Original, ...]
    """Those that are to be prepared."""


def placed(scanned: Scan) -> list[Original]:
    """Return the images of a set in an order that is drawn once and for all: by digests of their names."""
    originals = []
    for label, folder in enumerate(scanned.classes):
        for file in folder.files:
            name = f"{folder.name}/{file.name}"
            place = hashlib.sha256(name.encode()).digest()[:PLACE_BYTES]
            originals.append(Original(place, label, name, file.size, file.modified))
    return sorted(originals)


def plan_shards(
    originals: Sequence[Original], count: int, set_name: str, folder: Path, classes: tuple[str, ...], recipe: Recipe
) -> Iterator[ShardPlan]:
    """Yield how each shard of a set comes about; one that would be empty there is none of.

    Args:
        originals: in the order of their places.
        count: how many shards there are, a power of two.
        set_name: begins the names of the shards.
        folder: of the shards; those that lie there are looked into.
        classes: names, in the order of the labels.
        recipe: what becomes of an image.
    """
    earlier = [path for path in sorted(folder.glob(f"*{SUFFIX}")) if share_of(path.name)]
    for number, group in groupby(originals, key=lambda original: _number(original.place, count)):
        members, file = tuple(group), folder / shard_name(set_name, number, count)
        indexes = _overlapping(number, count, earlier, recipe)
        found = indexes.get(file)
        if found and found.classes == classes and found.originals() == [each[2:] for each in members]:
            yield ShardPlan(file, members, found, {}, ())
            continue
        known = {
            original: Known(path, offset, length, index.problems.get(original[0], ""))
            for path, index in indexes.items()
            for original, offset, length in zip(index.originals(), index.offsets, index.lengths, strict=True)
        }
        yield ShardPlan(file, members, None, known, tuple(each for each in members if each[2:] not in known))


def _number(place: bytes, count: int) -> int:
    """Return in which of so many shards an image is: each has an equal part of all digests."""
    return int.from_bytes(place) * count >> 8 * PLACE_BYTES


def _overlapping(number: int, count: int, earlier: Sequence[Path], recipe: Recipe) -> dict[Path, ShardIndex]:
    """Return the indexes of earlier shards of the same recipe that may hold images of a shard."""
    found = {}
    for path in earlier:
        other, others = share_of(path.name) or (0, 1)
        if other * count < (number + 1) * others and number * others < (other + 1) * count:
            try:
                index = ShardIndex.read(path)
            except DataError:
                continue
            if index.recipe == recipe:
                found[path] = index
    return found
