"""Decides which image goes into which set. Pure: no file is touched."""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence

from container.dataset.index import ClassFolder

# Bytes of a digest that make a fraction from 0 to 1: as many as such a number holds.
FRACTION_BYTES = 6


def draw(
    classes: Sequence[ClassFolder], parts: Sequence[float], seed: int, groups: Sequence[Sequence[int]] = ()
) -> bytearray:
    """Return the part that each image goes into, as a position in `parts`, in the order of the classes' files.

    An image's place in the draw depends on the seed, its class and its name alone: not on the order in which files are
    listed, the version of Python or the machine. Each class is divided by `shares`, as far as groups allow: the largest
    are placed first, each where its classes' parts are then nearest to their shares, and what is in no group fills up.
    Where no group has images of several classes, no part has more of a class than its share by more than one group.

    Args:
        classes: the images.
        parts: the fraction of each class that goes into each part; they add up to 1.
        seed: of the draw.
        groups: positions of images that go into the same part; each image is in one group at most.
    """
    return _Draw(classes, parts, seed).run(groups)


def draw_stably(
    classes: Sequence[ClassFolder],
    parts: Sequence[float],
    seed: int,
    groups: Sequence[Sequence[int]] = (),
    keys: Mapping[int, str] | None = None,
    earlier: Mapping[int, int] | None = None,
) -> bytearray:
    """Return the part that each image goes into; images that are added later move none.

    What decides is a hash of the seed and of the image's class and name, or of what ties its group: so the parts have
    about the wanted fractions. Where a group has members that were placed earlier, it goes where they are; if they are
    in several parts, into the first of these. Without `earlier` a group that is tied by anything but keys goes by the
    least of its names: a new image with a lesser one takes it along.

    Args:
        classes: see `draw`.
        parts: see `draw`.
        seed: see `draw`.
        groups: see `draw`.
        keys: what ties an image to others, by its position; it stands for the image's name.
        earlier: the part that images were placed in, by their positions.
    """
    names = [f"{folder.name}/{file.name}" for folder in classes for file in folder.files]
    keys, earlier = keys or {}, earlier or {}
    places = bytearray(len(names))
    for position, name in enumerate(names):
        found = earlier.get(position)
        places[position] = stable_part(keys.get(position, name), parts, seed) if found is None else found
    for group in groups:
        known = [earlier[position] for position in group if position in earlier]
        # The least one does not depend on how the others are called that are tied to it by an expression.
        key = min(keys.get(position, names[position]) for position in group)
        place = min(known) if known else stable_part(key, parts, seed)
        for position in group:
            places[position] = place
    return places


def stable_part(key: str, parts: Sequence[float], seed: int) -> int:
    """Return the part that a key falls into, which depends on nothing but the arguments."""
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()[:FRACTION_BYTES]
    fraction = int.from_bytes(digest) / 256**FRACTION_BYTES * math.fsum(parts)
    upper = 0.0
    for part, share in enumerate(parts):
        upper += share
        if fraction < upper:
            return part
    return len(parts) - 1


def shares(count: int, parts: Sequence[float]) -> list[int]:
    """Return how many of `count` images each part gets: by largest remainder, but each at least one if they suffice."""
    # Rounded, because 0.1 * 30 is a little more than 3 in binary fractions.
    exact = [round(count * fraction / math.fsum(parts), 6) for fraction in parts]
    whole = [math.floor(share) for share in exact]
    by_remainder = sorted(range(len(parts)), key=lambda index: whole[index] - exact[index])
    for index in by_remainder[: count - sum(whole)]:
        whole[index] += 1
    if count >= len(parts):
        for index, share in enumerate(whole):
            if share == 0:
                whole[whole.index(max(whole))] -= 1
                whole[index] = 1
    return whole


class _Draw:
    """A draw under way."""

    def __init__(self, classes: Sequence[ClassFolder], parts: Sequence[float], seed: int) -> None:
        self.classes, self.seed = classes, seed
        self.wanted = [shares(len(folder.files), parts) for folder in classes]
        self.placed = [[0] * len(parts) for _ in classes]
        self.class_of = [label for label, folder in enumerate(classes) for _ in folder.files]
        self.places = bytearray(len(self.class_of))

    def run(self, groups: Sequence[Sequence[int]]) -> bytearray:
        """Place the groups, then the other images."""
        digests = self._digests()
        ordered = sorted(groups, key=lambda group: (-len(group), min(digests[position] for position in group)))
        counts = [Counter(self.class_of[position] for position in group) for group in ordered]
        for group, count in zip(ordered, counts, strict=True):
            self._place(group, count, min(range(len(self.wanted[0])), key=lambda part: self._cost(count, part)))
        grouped = {position for group in groups for position in group}
        start = 0
        for label, folder in enumerate(self.classes):
            positions = [place for place in range(start, start + len(folder.files)) if place not in grouped]
            self._fill_up(label, sorted(positions, key=digests.__getitem__))
            start += len(folder.files)
        self._leave_no_part_empty(ordered, counts)
        return self.places

    def _digests(self) -> list[bytes]:
        found = []
        for folder in self.classes:
            key = hashlib.sha256(f"{self.seed}/{folder.name}/".encode())
            for file in folder.files:
                digest = key.copy()
                digest.update(file.name.encode())
                found.append(digest.digest())
        return found

    def _cost(self, count: Counter[int], part: int) -> float:
        """Return by how much a group moves a part from what its classes should have there, as a sum of squares."""
        cost = 0.0
        for label, images in count.items():
            off = self.placed[label][part] - self.wanted[label][part]
            cost += ((off + images) ** 2 - off**2) / len(self.classes[label].files)
        return cost

    def _place(self, group: Sequence[int], count: Counter[int], part: int, taken_from: int | None = None) -> None:
        for position in group:
            self.places[position] = part
        for label, images in count.items():
            self.placed[label][part] += images
            if taken_from is not None:
                self.placed[label][taken_from] -= images

    def _fill_up(self, label: int, positions: Sequence[int]) -> None:
        """Place images of a class that are in no group, in the order of the draw."""
        placed = self.placed[label]
        free = [max(wanted - found, 0) for wanted, found in zip(self.wanted[label], placed, strict=True)]
        for _ in range(sum(free) - len(positions)):
            # Where groups took more than their share, what has most gives way.
            free[
                max((part for part in range(len(free)) if free[part]), key=lambda part: placed[part] + free[part])
            ] -= 1
        start = 0
        for part, images in enumerate(free):
            for position in positions[start : start + images]:
                self.places[position] = part
            placed[part] += images
            start += images

    def _leave_no_part_empty(self, groups: Sequence[Sequence[int]], counts: Sequence[Counter[int]]) -> None:
        """Move the smallest groups that can be spared into parts that have nothing of a class."""
        by_class: dict[int, list[int]] = {}
        for number in reversed(range(len(groups))):
            for label in counts[number]:
                by_class.setdefault(label, []).append(number)
        for label, placed in enumerate(self.placed):
            for part in range(len(placed)):
                if not placed[part]:
                    self._bring_one(part, [(groups[number], counts[number]) for number in by_class.get(label, ())])

    def _bring_one(self, part: int, groups: Sequence[tuple[Sequence[int], Counter[int]]]) -> None:
        for group, count in groups:
            home = self.places[group[0]]
            if all(self.placed[other][home] > images for other, images in count.items()):
                self._place(group, count, part, taken_from=home)
                return
