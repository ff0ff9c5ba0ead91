"""Splits a folder of images into training, validation and evaluation sets, as a whole or not at all.

The sets are folders of hard links where the file system can, else of copies. A hard link is the original under a second
name: whoever edits a file of a set edits the original. Sub-folders of a class folder are kept. Where the folder of the
images holds a labels.csv, each set gets one with the rows of its own images.
"""

import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from container.dataset.alike import Alike, remembered_groups
from container.dataset.filling import fill
from container.dataset.folders import exclusive, is_of_system, overlap, replacement
from container.dataset.groups import Grouping, group_images
from container.dataset.index import LeftOut
from container.dataset.labels import LABELS_FILE, ImageRows
from container.dataset.placement import Earlier, Placement, place_images
from container.dataset.progress import Progress
from container.dataset.record import CHECKSUMS, RECORD, SETS, Fractions, Grouped, LabelCounts, Split
from container.dataset.source import ImageSource, read_source
from container.dataset.text import printable
from container.errors import DataError
from container.modeling.settings import Data

REMEDY = "move it away, or set data.sets_directory"


@dataclass(frozen=True)
class SplitOutcome:
    """What `split_images` found or made."""

    split: Split
    sets: Path
    """Folder of the three sets."""
    unchanged: bool
    """Whether the sets were what they should be already, so that nothing was touched."""
    source: ImageSource
    grouping: Grouping
    was_checked: bool
    """Whether a check has looked for images that are alike."""
    changed_since_check: int
    """Images that are new or changed since then, or that a check which died had not compared yet."""
    damaged: tuple[str, ...]
    """Paths of images that the check could not decode."""
    moved: int
    """Images that lay in another set before."""
    earlier: Split | None
    """What lay there before."""


def split_images(data: Data, project: Path, progress: Progress) -> SplitOutcome:
    """Split the images of `data.directory` into sets under `data.sets_path`, both relative to the project's folder.

    The same images, fractions and seed give the same sets on every machine; with `data.stable`, images of an earlier
    split stay where they are. An earlier split that differs is replaced; what is not an earlier split is left alone.
    When anything fails, the earlier split stays.

    Raises:
        DataError: there is nothing to split, a class is too small, labels.csv is wrong, or the sets' folder is not ours
            to replace.
    """
    # Resolved, so that sets behind a link are replaced where they lie, and not the link.
    directory, sets = project / data.directory, Path(os.path.realpath(project / data.sets_path))
    _check_place(directory, sets)
    progress.start("Looking at the images")
    source = read_source(directory, data.class_column, progress.advance, traces=True)
    _check_sizes(source)
    rows = source.labels.match([path for path, _ in source.images()]) if source.labels else None
    progress.start("Comparing the images")
    known = remembered_groups(project / data.check_path, source)
    grouping = group_images(source, data.group_by, known or Alike(), data.keep_near)
    with exclusive(sets, lambda: progress.start("Waiting for another run to end")):
        earlier = _earlier_split(sets)
        present = set(_files(sets)) if earlier else set()
        if earlier:
            _check_paths(sets, earlier, present, source)
        keeps = data.stable and earlier is not None and _is_drawn_alike(earlier, data, source)
        placement = place_images(source, data, grouping, Earlier(earlier, present) if earlier and keeps else None)
        wanted = _wanted_files(placement, rows)
        moved = _moved(present, wanted)
        split = _record(data, project, source, grouping, placement, rows, wanted)
        unchanged = earlier is not None and _is_same(earlier, split) and present == wanted
        # As much memory as the images take.
        del wanted
        if not unchanged:
            with replacement(sets) as new:
                progress.start("Filling the sets", split.total)
                linked = fill(new, directory, placement.shares, progress)
                if rows:
                    _write_labels(new, source, rows, placement)
                split = split.model_copy(update={"linked": linked, "copied": split.total - linked})
                split.write(new)
        elif earlier:
            split = earlier
    found = known or Alike()
    return SplitOutcome(
        split, sets, unchanged, source, grouping, known is not None, found.changed, found.damaged, moved, earlier
    )


def _check_place(directory: Path, sets: Path) -> None:
    images = Path(os.path.realpath(directory))
    if not images.exists():
        raise DataError(
            f"the directory {directory} does not exist: set data.directory to a folder with one sub-folder of images "
            "per class, or get sample images by `python data_handler.py --sample digits`"
        )
    if overlap(images, sets):
        raise DataError(
            f"the images ({images}) and their sets ({sets}) would lie one in the other: set data.sets_directory"
        )
    if (images / RECORD).is_file():
        raise DataError(f"{directory} is itself a split: set data.directory to the folder that it was made from")


def _check_sizes(source: ImageSource) -> None:
    if source.is_split:
        return
    small = [f"{folder.name!r} has {len(folder.files)}" for folder in source.folders if len(folder.files) < len(SETS)]
    if small:
        more = f" and {len(small) - 5} more are as small" if len(small) > 5 else ""
        raise DataError(
            f"each class needs at least {len(SETS)} images, one for each set, but in {source.directory} "
            f"{', '.join(small[:5])}{more}: add images, or remove the folder"
        )


def _record(
    data: Data,
    project: Path,
    source: ImageSource,
    grouping: Grouping,
    placement: Placement,
    rows: ImageRows | None,
    paths: Collection[str],
) -> Split:
    return Split(
        directory=_relative(source.directory, project),
        seed=data.seed,
        fractions=Fractions.of(data),
        fingerprint=source.fingerprint(),
        linked=0,
        copied=0,
        classes=placement.counts(),
        left_out=_printable(source.left_out),
        labels=rows and _label_counts(rows),
        stable=data.stable,
        group_by=data.group_by,
        grouped=Grouped(groups=len(grouping.groups), images=grouping.images),
        given_sets=tuple(given.name for given in source.sets if given.name),
        refill=placement.refill,
        refill_below=data.refill_below if source.is_split else None,
        without_classes=tuple(map(printable, source.without_classes)),
        unlabeled=len(source.unlabeled),
        paths=_digest(paths),
    )


def _is_drawn_alike(earlier: Split, data: Data, source: ImageSource) -> bool:
    """Tell whether an earlier split placed images as this one would."""
    refill = earlier.refill
    refills_alike = refill is None or (refill.fraction, refill.validation_from) == (
        data.refill_fraction,
        data.refill_from,
    )
    if source.is_split and earlier.refill_below not in (None, data.refill_below):
        return False
    return earlier.stable and refills_alike and (earlier.seed, earlier.fractions) == (data.seed, Fractions.of(data))


def _relative(directory: Path, project: Path) -> str:
    inside = directory.is_relative_to(project)
    return printable(directory.relative_to(project).as_posix() if inside else str(directory))


def _printable(left_out: LeftOut) -> LeftOut:
    bad_files = tuple(dataclasses.replace(file, path=printable(file.path)) for file in left_out.bad_files)
    return dataclasses.replace(left_out, bad_files=bad_files)


def _earlier_split(sets: Path) -> Split | None:
    """Return what was split into this folder before; None if it is missing or empty."""
    if not sets.exists() or (sets.is_dir() and not any(sets.iterdir())):
        return None
    if not (sets / RECORD).is_file():
        raise DataError(f"{sets} exists and was not made by this program (it has no {RECORD}): {REMEDY}")
    return Split.read(sets)


def _check_paths(sets: Path, earlier: Split, present: Collection[str], source: ImageSource) -> None:
    """Raise where a file in the sets is not the earlier split's own; files that are gone are no matter."""
    if _digest(present) == earlier.paths:
        return
    surplus = Counter("/".join(path.split("/")[:2]) for path in present)
    for counts in earlier.classes:
        for set_name, count in counts.by_set():
            surplus[f"{set_name}/{counts.name}"] -= count
    if earlier.labels:
        surplus.subtract(f"{set_name}/{LABELS_FILE}" for set_name in SETS)
    crowded = [place for place, count in surplus.items() if count > 0]
    # Something is gone, or older: then what is called like no image was not put there by a split.
    names = {f"{folder.name}/{file.name}" for folder in source.folders for file in folder.files}
    names |= {
        f"{folder.name}/{given.folder}/{file.name}"
        for given in source.sets
        if given.folder
        for folder in given.classes
        for file in folder.files
    }
    strange = [path for path in present if (name := path.partition("/")[2]) not in names and name != LABELS_FILE]
    if added := strange or crowded:
        raise DataError(f"{sets} has files that the split did not put there, in {min(added)!r}: {REMEDY}")


def _digest(paths: Collection[str]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(f"{path}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _is_same(earlier: Split, split: Split) -> bool:
    return earlier == split.model_copy(update={"linked": earlier.linked, "copied": earlier.copied})


def _wanted_files(placement: Placement, rows: ImageRows | None) -> set[str]:
    tables = {f"{set_name}/{LABELS_FILE}" for set_name in SETS} if rows else set()
    return tables | {share.target(file) for share in placement.shares for file in share.files}


def _moved(before: Set[str], after: Set[str]) -> int:
    """Return how many images lie in another set than before."""
    gone = {path.partition("/")[2] for path in before - after}
    return sum(name in gone for name in (path.partition("/")[2] for path in after - before) if name != LABELS_FILE)


def _files(sets: Path) -> Iterator[str]:
    """Yield the path of each file in the sets, but for the record, the upload's memory, and what systems leave."""
    pending = [""]
    while pending:
        folder = pending.pop()
        with os.scandir(f"{sets}/{folder}") as entries:
            for entry in entries:
                path = folder + entry.name
                if entry.is_dir(follow_symlinks=False):
                    pending.append(f"{path}/")
                elif path != RECORD and not path.startswith(CHECKSUMS) and not is_of_system(entry.name):
                    yield path


def _write_labels(new: Path, source: ImageSource, rows: ImageRows, placement: Placement) -> None:
    """Give each set the rows of its images, in the order of the table."""
    labels = source.labels
    assert labels
    places = {share.source(file): (share, file) for share in placement.shares for file in share.files}
    for set_name in SETS:
        placed = ((*places[path], row) for path, row in rows.by_image.items())
        labels.write(
            new / set_name,
            ((share.target(file).partition("/")[2], row) for share, file, row in placed if share.set == set_name),
        )


def _label_counts(rows: ImageRows) -> LabelCounts:
    return LabelCounts(labeled=len(rows.by_image), unmatched_lines=tuple(row.line for row in rows.unmatched))
