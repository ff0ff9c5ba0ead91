"""Decides which image goes into which set. Pure: no file is touched."""

import hashlib
import math
from dataclasses import dataclass

from container.dataset.index import ClassFolder, ImageFile
from container.dataset.record import ClassCounts, Fractions


@dataclass(frozen=True, slots=True)
class ClassSets:
    """The images of one class by set, sorted by name within each."""

    name: str
    training: tuple[ImageFile, ...]
    validation: tuple[ImageFile, ...]
    evaluation: tuple[ImageFile, ...]

    def by_set(self) -> tuple[tuple[str, tuple[ImageFile, ...]], ...]:
        """Return each set's name and images."""
        return ("training", self.training), ("validation", self.validation), ("evaluation", self.evaluation)

    def counts(self) -> ClassCounts:
        """Return how many images each set has."""
        return ClassCounts(
            name=self.name,
            training=len(self.training),
            validation=len(self.validation),
            evaluation=len(self.evaluation),
        )


def assign(folder: ClassFolder, fractions: Fractions, seed: int) -> ClassSets:
    """Return which of a class's images, at least 3, go into which set.

    An image's place in the draw depends on the seed, its class and its name alone: not on the order in which files are
    listed, the version of Python or the machine.
    """
    key = hashlib.sha256(f"{seed}/{folder.name}/".encode())

    def place(file: ImageFile) -> bytes:
        digest = key.copy()
        digest.update(file.name.encode())
        return digest.digest()

    drawn = sorted(folder.files, key=place)
    training, validation, _ = shares(len(drawn), fractions)
    return ClassSets(
        folder.name,
        training=tuple(sorted(drawn[:training])),
        validation=tuple(sorted(drawn[training : training + validation])),
        evaluation=tuple(sorted(drawn[training + validation :])),
    )


def shares(count: int, fractions: Fractions) -> tuple[int, int, int]:
    """Return how many of at least 3 images each set gets: by largest remainder, but each set at least one."""
    given = (fractions.training, fractions.validation, fractions.evaluation)
    # Rounded, because 0.1 * 30 is a little more than 3 in binary fractions.
    exact = [round(count * fraction / math.fsum(given), 6) for fraction in given]
    whole = [math.floor(share) for share in exact]
    by_remainder = sorted(range(len(given)), key=lambda index: whole[index] - exact[index])
    for index in by_remainder[: count - sum(whole)]:
        whole[index] += 1
    for index, share in enumerate(whole):
        if share == 0:
            whole[whole.index(max(whole))] -= 1
            whole[index] = 1
    return whole[0], whole[1], whole[2]
