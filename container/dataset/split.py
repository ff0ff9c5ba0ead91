"""Splits a folder of classes into training, validation and evaluation sets, as a whole or not at all.

The sets are folders of hard links where the file system can, else of copies. A hard link is the original under a second
name: whoever edits a file of a set edits the original. Sub-folders of a class folder are kept. Where the folder of the
classes holds a labels.csv, each set gets one with the rows of its own images.
"""

import dataclasses
import errno
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from container.dataset.assign import ClassSets, assign
from container.dataset.folders import exclusive, replacement
from container.dataset.index import ImageFile, LeftOut, Scan, scan
from container.dataset.labels import LABELS_FILE, ImageRows, Labels
from container.dataset.progress import Progress
from container.dataset.record import RECORD, SETS, Fractions, LabelCounts, Split
from container.dataset.text import printable
from container.errors import DataError
from container.modeling.settings import Data

# Why a file that can be read may yet not be linked: another file system, one without links, too many links, or a system
# that lets nobody link another user's file.
CANNOT_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP})


@dataclass(frozen=True)
class SplitOutcome:
    """What `split_images` found or made."""

    split: Split
    sets: Path
    """Folder of the three sets."""
    unchanged: bool
    """Whether the sets were what they should be already, so that nothing was touched."""


def split_images(data: Data, project: Path, progress: Progress) -> SplitOutcome:
    """Split the images of `data.directory` into sets under `data.sets_path`, both relative to the project's folder.

    The same images, fractions and seed give the same sets on every machine. An earlier split that differs is replaced;
    what is not an earlier split is left alone. When anything fails, the earlier split stays.

    Raises:
        DataError: there is nothing to split, a class is too small, labels.csv is wrong, or the sets' folder is not ours
            to replace.
    """
    # Resolved, so that sets behind a link are replaced where they lie, and not the link.
    directory, sets = project / data.directory, Path(os.path.realpath(project / data.sets_path))
    _check_place(directory, sets)
    progress.start("Looking at the images")
    scanned = scan(directory, progress.advance)
    _check_sizes(directory, scanned)
    labels = Labels.read(directory)
    rows = labels and labels.match(
        [f"{folder.name}/{file.name}" for folder in scanned.classes for file in folder.files]
    )
    fractions = Fractions(
        training=data.training_fraction, validation=data.validation_fraction, evaluation=data.evaluation_fraction
    )
    classes = [assign(folder, fractions, data.seed) for folder in scanned.classes]
    split = Split(
        directory=_relative(directory, project),
        seed=data.seed,
        fractions=fractions,
        fingerprint=_fingerprint(scanned, labels),
        linked=0,
        copied=0,
        classes=tuple(images.counts() for images in classes),
        left_out=_printable(scanned.left_out),
        labels=rows and _label_counts(rows),
    )
    with exclusive(sets, lambda: progress.start("Waiting for another run to end")):
        earlier = _earlier_split(sets)
        if earlier and _is_same(earlier, split) and set(_files(sets)) == _wanted_files(classes, labels):
            return SplitOutcome(earlier, sets, unchanged=True)
        with replacement(sets) as new:
            progress.start("Filling the sets", split.total)
            linked = _fill(new, directory, classes, progress)
            if labels and rows:
                _write_labels(new, labels, rows, classes)
            split = split.model_copy(update={"linked": linked, "copied": split.total - linked})
            split.write(new)
    return SplitOutcome(split, sets, unchanged=False)


def _check_place(directory: Path, sets: Path) -> None:
    images = Path(os.path.realpath(directory))
    if not images.exists():
        raise DataError(
            f"the directory {directory} does not exist: set data.directory to a folder with one sub-folder of images "
            "per class, or get sample images by `python data_handler.py --sample digits`"
        )
    if images == sets or images in sets.parents or sets in images.parents:
        raise DataError(
            f"the images ({images}) and their sets ({sets}) would lie one in the other: set data.sets_directory"
        )
    if (images / RECORD).is_file():
        raise DataError(f"{directory} is itself a split: set data.directory to the folder that it was made from")


def _check_sizes(directory: Path, scanned: Scan) -> None:
    small = [f"{folder.name!r} has {len(folder.files)}" for folder in scanned.classes if len(folder.files) < len(SETS)]
    if small:
        more = f" and {len(small) - 5} more are as small" if len(small) > 5 else ""
        raise DataError(
            f"each class needs at least {len(SETS)} images, one for each set, but in {directory} "
            f"{', '.join(small[:5])}{more}: add images, or remove the folder"
        )


def _relative(directory: Path, project: Path) -> str:
    inside = directory.is_relative_to(project)
    return printable(directory.relative_to(project).as_posix() if inside else str(directory))


def _fingerprint(scanned: Scan, labels: Labels | None) -> str:
    digest = hashlib.sha256()
    for folder in scanned.classes:
        for file in folder.files:
            digest.update(f"{folder.name}/{file.name}\0{file.size}\0{file.modified}\0".encode())
    if labels:
        digest.update(repr(labels.columns).encode())
        for row in labels.rows:
            digest.update(repr(row).encode())
    return digest.hexdigest()


def _printable(left_out: LeftOut) -> LeftOut:
    bad_files = tuple(dataclasses.replace(file, path=printable(file.path)) for file in left_out.bad_files)
    return dataclasses.replace(left_out, bad_files=bad_files)


def _earlier_split(sets: Path) -> Split | None:
    """Return what was split into this folder before; None if it is missing or empty."""
    if not sets.exists() or (sets.is_dir() and not any(sets.iterdir())):
        return None
    remedy = "move it away, or set data.sets_directory"
    if not (sets / RECORD).is_file():
        raise DataError(f"{sets} exists and was not made by this program (it has no {RECORD}): {remedy}")
    earlier = Split.read(sets)
    surplus = Counter("/".join(path.split("/")[:2]) for path in _files(sets))
    for counts in earlier.classes:
        for set_name, count in counts.by_set():
            surplus[f"{set_name}/{counts.name}"] -= count
    if earlier.labels:
        surplus.subtract(f"{set_name}/{LABELS_FILE}" for set_name in SETS)
    added = sorted(place for place, count in surplus.items() if count > 0)
    if added:
        raise DataError(f"{sets} has files that the split did not put there, in {added[0]!r}: {remedy}")
    return earlier


def _is_same(earlier: Split, split: Split) -> bool:
    return earlier == split.model_copy(update={"linked": earlier.linked, "copied": earlier.copied})


def _wanted_files(classes: Sequence[ClassSets], labels: Labels | None) -> set[str]:
    tables = {f"{set_name}/{LABELS_FILE}" for set_name in SETS} if labels else set()
    return tables | {
        f"{set_name}/{images.name}/{file.name}"
        for images in classes
        for set_name, files in images.by_set()
        for file in files
    }


def _files(sets: Path) -> Iterator[str]:
    """Yield the path of each file in the sets, but for hidden ones and the record."""
    pending = [""]
    while pending:
        folder = pending.pop()
        with os.scandir(f"{sets}/{folder}") as entries:
            for entry in entries:
                path = folder + entry.name
                if entry.is_dir(follow_symlinks=False):
                    pending.append(f"{path}/")
                elif path != RECORD and not entry.name.startswith("."):
                    yield path


def _fill(new: Path, directory: Path, classes: Sequence[ClassSets], progress: Progress) -> int:
    """Put every image into its set; return how many are linked, not copied."""
    linked = 0
    for images in classes:
        for set_name, files in images.by_set():
            source, target = f"{directory}/{images.name}/", f"{new}/{set_name}/{images.name}/"
            made: set[str] = set()
            for file in files:
                folder = target + file.name.rpartition("/")[0]
                if folder not in made:
                    Path(folder).mkdir(parents=True, exist_ok=True)
                    made.add(folder)
                linked += _link_or_copy(file, source + file.name, target + file.name)
                progress.advance()
    return linked


def _write_labels(new: Path, labels: Labels, rows: ImageRows, classes: Sequence[ClassSets]) -> None:
    """Give each set the rows of its images, in the order of the table."""
    set_of = {
        f"{images.name}/{file.name}": set_name
        for images in classes
        for set_name, files in images.by_set()
        for file in files
    }
    for set_name in SETS:
        labels.write(new / set_name, {path: row for path, row in rows.by_image.items() if set_of[path] == set_name})


def _label_counts(rows: ImageRows) -> LabelCounts:
    return LabelCounts(labeled=len(rows.by_image), unmatched_lines=tuple(row.line for row in rows.unmatched))


def _link_or_copy(file: ImageFile, source: str, target: str) -> bool:
    """Return whether the image could be linked."""
    try:
        # os.link would link to a symbolic link, not to its file.
        os.link(os.path.realpath(source) if file.is_link else source, target)
        return True
    except FileExistsError:
        raise DataError(_collision(source)) from None
    except FileNotFoundError:
        raise DataError(f"{source!r} vanished during the split: run it again") from None
    except OSError as error:
        if error.errno not in CANNOT_LINK:
            raise
    if Path(target).exists():
        raise DataError(_collision(source))
    shutil.copyfile(source, target)
    os.utime(target, ns=(file.modified, file.modified))
    return False


def _collision(source: str) -> str:
    return f"{source!r}: where the sets lie, its name is the same as another file's: rename it"
