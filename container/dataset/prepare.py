"""Prepares the training and validation sets of a split: small images, many in one file.

Which images are in which shard depends on their names and the number of shards alone, and that is a power of two: a set
that grows keeps its images where they are. An image whose original and recipe are the same is taken over from the
shards of an earlier run, and a shard with the same images is left as it is. A run that dies leaves whole shards, which
the next one takes over; until it is done there is no index.json, and the set is not taken for prepared.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import tee
from pathlib import Path

from container.dataset.folders import exclusive, is_of_system
from container.dataset.index import BadFile, LeftOut, scan
from container.dataset.labels import LABELS_FILE
from container.dataset.prepared import AGAIN, INDEX, PREPARED_SETS, TRAINING, ClassImages, SetIndex, split_digest
from container.dataset.processes import in_batches
from container.dataset.progress import Progress
from container.dataset.recipe import Recipe
from container.dataset.shard_plans import ShardPlan, placed, plan_shards
from container.dataset.shards import BEING_WRITTEN, Original, Shard, ShardWriter, share_of
from container.dataset.shrink import Shrunk, shrink_files
from container.dataset.text import printable
from container.errors import DataError

# Lies in the folder of the prepared sets from the first moment on: what is there is ours to replace.
MARK = ".prepared-sets"
# Of so many images the prepared size is measured, to tell how many shards there will be.
MEASURED = 256
# Images that a process is given at once.
BATCH = 8


@dataclass(frozen=True)
class Layout:
    """How many shards there are."""

    shard_bytes: int
    """The most that a shard is meant to have."""
    least_training_shards: int = 1
    """For hosts that each get a share of them."""


@dataclass(frozen=True)
class PreparedSet:
    """What `prepare_sets` found or made of a set."""

    name: str
    index: SetIndex
    original_bytes: int
    shrunk: int
    """Images that were prepared now; the others were taken over."""
    unchanged: bool
    """Whether all was as it should be already, so that nothing was touched."""
    left_out: LeftOut
    """What lies in the set besides its images."""


def prepare_sets(
    sets: Path, target: Path, recipe: Recipe, layout: Layout, progress: Progress, processes: int = 0
) -> tuple[PreparedSet, ...]:
    """Prepare the sets of a split as shards.

    Args:
        sets: the folder of the split; it is only read.
        target: the folder of the prepared sets: missing, empty, or an earlier run's.
        recipe: what becomes of an image.
        layout: how many shards there are.
        progress: is told how far the work is.
        processes: that work side by side; 0: one for each core.

    Raises:
        DataError: there is no split, the target is not ours to replace, or a file cannot be read or written.
    """
    split_digest(sets)
    target = Path(os.path.realpath(target))
    with exclusive(target, lambda: progress.start("Waiting for another run to end")):
        _claim(target)
        try:
            return tuple(
                _SetPreparation(name, sets, target / name, recipe, layout, progress, processes).run()
                for name in PREPARED_SETS
            )
        except BrokenProcessPool:
            raise DataError(
                "a process that shrank images died: if memory is short, lower preparation.processes; the next run goes "
                "on from here"
            ) from None


def _claim(target: Path) -> None:
    if target.exists() and not (target / MARK).exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(
            f"{target} exists and was not made by this program: move it away, or set data.sets_directory, whose name "
            "with -prepared added it has"
        )
    target.mkdir(exist_ok=True)
    if not (target / MARK).exists():
        (target / MARK).touch()
    for folder in (target / name for name in PREPARED_SETS if (target / name).exists()):
        if foreign := sorted(str(path) for path in folder.iterdir() if not (_is_own(path) or is_of_system(path.name))):
            more = f", as {len(foreign) - 1} more," if len(foreign) > 1 else ""
            raise DataError(f"{foreign[0]!r}{more} was not made by this program: move it away")


def _is_own(path: Path) -> bool:
    """Tell by its name whether something in the folder of a prepared set was written here, as a whole or not."""
    name = path.name.removeprefix(".").removesuffix(BEING_WRITTEN)
    return (name in (INDEX, LABELS_FILE) or share_of(name) is not None) and not path.is_dir()


class _SetPreparation:
    """Prepares one set."""

    def __init__(
        self,
        name: str,
        sets: Path,
        target: Path,
        recipe: Recipe,
        layout: Layout,
        progress: Progress,
        processes: int,
    ) -> None:
        self._name, self._source, self._target = name, sets / name, target
        self._recipe, self._layout, self._progress, self._processes = recipe, layout, progress, processes
        self._split = split_digest(sets)
        self._shrunk = 0
        # Prepared already, to measure them; by their originals as `ShardPlan.known`.
        self._measured: dict[tuple[str, int, int], Shrunk] = {}

    def run(self) -> PreparedSet:
        """Prepare the set, as far as it is not."""
        self._progress.start(f"Looking at the {self._name} images")
        scanned = scan(self._source, self._progress.advance)
        self._classes = tuple(folder.name for folder in scanned.classes)
        originals = placed(scanned)
        original_bytes = sum(original.size for original in originals)
        labels = self._labels()
        fingerprint = self._fingerprint(originals, labels)
        earlier = SetIndex.read(self._target) if self._target.is_dir() else None
        if earlier and earlier.fingerprint == fingerprint and self._is_whole(earlier):
            if earlier.split != self._split:
                earlier = earlier.model_copy(update={"split": self._split})
                earlier.write(self._target)
            return PreparedSet(self._name, earlier, original_bytes, 0, unchanged=True, left_out=scanned.left_out)
        index = self._write(originals, labels, fingerprint)
        return PreparedSet(self._name, index, original_bytes, self._shrunk, unchanged=False, left_out=scanned.left_out)

    def _write(self, originals: Sequence[Original], labels: bytes | None, fingerprint: str) -> SetIndex:
        self._target.mkdir(exist_ok=True)
        # From here on the shards are no whole set.
        (self._target / INDEX).unlink(missing_ok=True)
        count = self._count_shards(originals)
        self._progress.start(f"Preparing the {self._name} images", len(originals))
        shards, problems = [], list[BadFile]()
        plans = partial(plan_shards, originals, count, self._name, self._target, self._classes, self._recipe)
        # The shrinking is ahead of the writing, by any number of plans where few images are to be shrunk: each makes
        # its own. A shard that was written meanwhile is present to the other, with nothing to shrink.
        fresh = self._shrink(
            original for plan in plans() for original in plan.fresh if original[2:] not in self._measured
        )
        for plan in plans():
            shard, shard_problems = self._make_shard(plan, fresh)
            shards.append(shard)
            problems += [BadFile(printable(name), reason) for name, reason in shard_problems.items()]
        if labels is not None:
            (self._target / LABELS_FILE).write_bytes(labels)
        index = SetIndex(
            recipe=self._recipe,
            split=self._split,
            fingerprint=fingerprint,
            classes=self._class_images(originals),
            shards=tuple(shards),
            has_labels=labels is not None,
            problems=tuple(problems),
        )
        self._remove_others({*index.files()})
        index.write(self._target)
        return index

    def _make_shard(self, plan: ShardPlan, fresh: Iterator[tuple[Original, Shrunk]]) -> tuple[Shard, Mapping[str, str]]:
        """Return a shard, after writing it if it is not there, and what could not be decoded of it."""
        if plan.present:
            for _ in plan.members:
                self._progress.advance()
            return Shard.of_file(plan.file, len(plan.members)), plan.present.problems
        writer, problems = ShardWriter(plan.file, self._recipe, self._classes), {}
        try:
            for original in plan.members:
                known = plan.known.get(original[2:])
                if known:
                    shrunk = Shrunk(known.content(), known.problem)
                else:
                    shrunk = self._measured.get(original[2:]) or _of(original, fresh)
                writer.add(original, shrunk.content, shrunk.problem)
                if shrunk.problem:
                    problems[original.name] = shrunk.problem
                self._progress.advance()
        except BaseException:
            writer.abandon()
            raise
        self._shrunk += len(plan.fresh)
        return writer.close(), problems

    def _shrink(self, originals: Iterable[Original]) -> Iterator[tuple[Original, Shrunk]]:
        # One is ahead of the other by no more than the batches that are under way.
        to_shrink, given = tee(originals)
        files = (f"{self._source}/{original.name}" for original in to_shrink)
        shrunk = in_batches(partial(shrink_files, recipe=self._recipe), files, BATCH, self._processes)
        return zip(given, shrunk, strict=True)

    def _count_shards(self, originals: Sequence[Original]) -> int:
        """Return how many shards keep to the size that is wanted: a power of two."""
        total = sum(original.size for original in originals)
        if total > self._layout.shard_bytes:
            # They stand in the order of their digests, so that the first ones are drawn at random.
            chosen = originals[:MEASURED]
            self._progress.start(f"Measuring prepared {self._name} images", len(chosen))
            for original, shrunk in self._shrink(chosen):
                self._measured[original[2:]] = shrunk
                self._progress.advance()
            measured = sum(len(shrunk.content) for shrunk in self._measured.values())
            total = measured * len(originals) // len(chosen)
        least = self._layout.least_training_shards if self._name == TRAINING else 1
        count = 1
        while count * self._layout.shard_bytes < total or count < least:
            count *= 2
        return count

    def _labels(self) -> bytes | None:
        file = self._source / LABELS_FILE
        return file.read_bytes() if file.is_file() else None

    def _fingerprint(self, originals: Sequence[Original], labels: bytes | None) -> str:
        layout = f"{self._layout.shard_bytes} {self._layout.least_training_shards}"
        digest = hashlib.sha256(f"{self._recipe.model_dump_json()} {layout} {self._classes}\0".encode())
        for original in originals:
            digest.update(f"{original.name}\0{original.size}\0{original.modified}\0".encode())
        digest.update(repr(labels).encode())
        return digest.hexdigest()

    def _class_images(self, originals: Sequence[Original]) -> tuple[ClassImages, ...]:
        counts = [0] * len(self._classes)
        for original in originals:
            counts[original.label] += 1
        return tuple(ClassImages(name=name, images=count) for name, count in zip(self._classes, counts, strict=True))

    def _is_whole(self, index: SetIndex) -> bool:
        sizes = {shard.name: shard.bytes for shard in index.shards}
        paths = [self._target / name for name in index.files()]
        return all(path.is_file() and sizes.get(path.name) in (None, path.stat().st_size) for path in paths)

    def _remove_others(self, kept: set[str]) -> None:
        for path in list(self._target.iterdir()):
            if path.name not in kept and _is_own(path):
                path.unlink()


def _of(original: Original, fresh: Iterator[tuple[Original, Shrunk]]) -> Shrunk:
    """Return what became of an image, which is the next one."""
    given, shrunk = next(fresh, (None, None))
    if shrunk is None or given != original:
        raise DataError(f"an earlier shard could be read at one time, and not at another: {AGAIN}")
    return shrunk
