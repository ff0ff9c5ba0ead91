"""Which images of a source go into which set, and under which names."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from container.dataset.assign import draw, draw_stably
from container.dataset.groups import Grouping
from container.dataset.image_files import ImageFile
from container.dataset.index import ClassFolder
from container.dataset.record import SETS, ClassCounts, Refill, Split
from container.dataset.source import GivenSet, ImageSource
from container.errors import DataError
from container.modeling.settings import Data


@dataclass(frozen=True, slots=True)
class Share:
    """The images of a class folder that go into one set, sorted by name."""

    set: str
    name: str
    """Of the class."""
    folder: str
    """Where the files lie, from the folder of images."""
    prefix: str
    """What is put before their names in the set; empty but where two sets' images meet in one."""
    files: tuple[ImageFile, ...]

    def target(self, file: ImageFile) -> str:
        """Return the path that a file gets in the folder of the sets."""
        return f"{self.set}/{self.name}/{self.prefix}{file.name}"

    def source(self, file: ImageFile) -> str:
        """Return the path of a file from the folder of images."""
        return f"{self.folder}/{file.name}" if self.folder else file.name


@dataclass(frozen=True, slots=True)
class Placement:
    """Where all images go."""

    shares: tuple[Share, ...]
    refill: Refill | None
    """What moved from one given set into others; None: nothing."""

    def counts(self) -> tuple[ClassCounts, ...]:
        """Return how many images of each class each set has, by the classes' names."""
        found: dict[str, Counter[str]] = {}
        for share in self.shares:
            found.setdefault(share.name, Counter())[share.set] += len(share.files)
        return tuple(ClassCounts(name=name, **{part: found[name][part] for part in SETS}) for name in sorted(found))


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an earlier split with the same settings left, for `data.stable` to keep."""

    split: Split
    paths: Collection[str]
    """In the folder of the sets."""


def place_images(source: ImageSource, data: Data, grouping: Grouping, earlier: Earlier | None) -> Placement:
    """Decide which set each image goes into.

    Args:
        source: the images.
        data: the fractions, the seed, and how to draw.
        grouping: the images that stay together. Sets that exist keep their images, whatever these are alike to.
        earlier: with `data.stable`: what is to be kept; None: nothing.

    Raises:
        DataError: a set has no images, a class none to train with, or a set to refill from is missing.
    """
    if source.is_split:
        placement = _taken_over(source, data, grouping, earlier)
    else:
        parts = {
            "training": data.training_fraction,
            "validation": data.validation_fraction,
            "evaluation": data.evaluation_fraction,
        }
        given = source.sets[0]
        placement = Placement(tuple(_drawn(source, given, parts, data, grouping, earlier)), None)
    _check(placement, source, grouping)
    return placement


def _drawn(
    source: ImageSource,
    given: GivenSet,
    parts: Mapping[str, float],
    data: Data,
    grouping: Grouping,
    earlier: Earlier | None,
) -> list[Share]:
    """Divide what lies in one folder of classes among sets."""
    start = _start(source, given)
    positions = range(start, start + sum(len(folder.files) for folder in given.classes))
    inside = [[position - start for position in group if position in positions] for group in grouping.groups]
    groups = [group for group in inside if len(group) > 1]
    if not data.stable:
        places = draw(given.classes, tuple(parts.values()), data.seed, groups)
    else:
        keys = {position - start: key for position, key in grouping.keys.items() if position in positions}
        known = _known(given, tuple(parts), earlier.paths) if earlier else {}
        places = draw_stably(given.classes, tuple(parts.values()), data.seed, groups, keys, known)
    shares = []
    position = 0
    for folder in given.classes:
        own = places[position : position + len(folder.files)]
        position += len(folder.files)
        for part, name in enumerate(parts):
            files = tuple(file for file, place in zip(folder.files, own, strict=True) if place == part)
            shares.append(Share(name, folder.name, folder.folder, _prefix(given, name), files))
    return shares


def _prefix(given: GivenSet, name: str) -> str:
    """Return what keeps the names of a given set's images apart from those of the set that they come to."""
    return f"{given.folder}/" if given.name not in ("", name) else ""


def _known(given: GivenSet, parts: Sequence[str], earlier: Collection[str]) -> dict[int, int]:
    """Return in which part each image lay before, by position."""
    found = {}
    position = 0
    for folder in given.classes:
        for file in folder.files:
            for part, name in enumerate(parts):
                if f"{name}/{folder.name}/{_prefix(given, name)}{file.name}" in earlier:
                    found[position] = part
            position += 1
    return found


def _start(source: ImageSource, given: GivenSet) -> int:
    """Return the position of a given set's first image."""
    before = source.sets[: source.sets.index(given)]
    return sum(len(folder.files) for each in before for folder in each.classes)


def _taken_over(source: ImageSource, data: Data, grouping: Grouping, earlier: Earlier | None) -> Placement:
    """Keep the sets that exist; draw what is missing, or too small, from another."""
    sets = {given.name: given for given in source.sets}
    short = _short(sets, data, earlier.split if earlier else None)
    origins = {name: data.refill_from if name == "validation" else "training" for name in short}
    shares: list[Share] = []
    for given in source.sets:
        moved = {name: data.refill_fraction for name, origin in origins.items() if origin == given.name}
        parts = {given.name: 1 - sum(moved.values())} | moved
        shares += _drawn(source, given, parts, data, grouping, earlier) if moved else map(_kept(given), given.classes)
    for name, origin in origins.items():
        if origin not in sets:
            raise DataError(f"{source.directory} has too few {name} images, and no {origin} set to take them from")
    refill = Refill(sets=tuple(short), fraction=data.refill_fraction, validation_from=data.refill_from)
    return Placement(tuple(shares), refill if short else None)


def _kept(given: GivenSet) -> Callable[[ClassFolder], Share]:
    return lambda folder: Share(given.name, folder.name, folder.folder, "", folder.files)


def _short(sets: Mapping[str, GivenSet], data: Data, earlier: Split | None) -> list[str]:
    """Return the sets that are to be filled from another: those that were before, as the images of these stay there."""
    images = {name: sum(len(folder.files) for folder in given.classes) for name, given in sets.items()}
    least = {"validation": data.refill_below * sum(images.values()), "evaluation": 0.0}
    if earlier and earlier.given_sets:
        filled = earlier.refill.sets if earlier.refill else ()
        return [name for name in SETS[1:] if name in filled or not images.get(name)]
    return [name for name in SETS[1:] if images.get(name, 0) <= least[name]]


def _check(placement: Placement, source: ImageSource, grouping: Grouping) -> None:
    counts = placement.counts()
    tied = f"; {grouping.largest}" if grouping.largest else ""
    for name in SETS:
        if not any(dict(row.by_set())[name] for row in counts):
            raise DataError(
                f"the {name} set of {source.directory} would have no images: add images"
                + (f", or let fewer of them be tied together{tied}" if tied else "")
            )
    for row in counts:
        if not row.training:
            raise DataError(
                f"the class {row.name!r} would have no image to train with: "
                + (
                    "give the training set a folder of this class, or rename the class's folder as there"
                    if source.is_split
                    else f"add images, or check data.stable{tied}"
                )
            )
