"""What the folder of images holds, in whichever of three ways: class folders, a table of classes, or sets of them.

A table is a labels.csv whose column `label`, or another that is named, tells the class of each image; the images lie
beside it or in any folders. Sets are folders such as `train` and `test` with class folders in them.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from container.dataset.existing_sets import find_sets, holds_images, subfolders
from container.dataset.image_files import UNREADABLE, ImageFile
from container.dataset.index import BadFile, ClassFolder, LeftOut, NoClassesError, Scan, reading, scan, scan_unsorted
from container.dataset.labels import LABELS_FILE, Labels, Row
from container.dataset.record import SETS
from container.errors import DataError, hint

CLASS_COLUMN = "label"
MOST_NAME_BYTES = 255


@dataclass(frozen=True, slots=True)
class GivenSet:
    """A set that lies in the folder of images."""

    name: str
    """One of SETS; empty: the images are not split yet."""
    folder: str
    """Empty: the folder of images itself."""
    classes: tuple[ClassFolder, ...]


@dataclass(frozen=True, slots=True)
class ImageSource:
    """What the folder of images holds."""

    directory: Path
    sets: tuple[GivenSet, ...]
    """In the order of SETS; or one without a name."""
    labels: Labels | None
    left_out: LeftOut
    repeated_folders: tuple[str, ...]
    """Paths of the links to folders that were visited already."""
    unlabeled: tuple[str, ...] = ()
    """Paths of the images of which a table of classes has no row; they are left out."""
    without_classes: tuple[str, ...] = ()
    """Folders with a set's name that hold no class folders; they are left out."""

    @property
    def is_split(self) -> bool:
        """Whether the images lie in sets already."""
        return bool(self.sets[0].name)

    @property
    def folders(self) -> tuple[ClassFolder, ...]:
        """The class folders of all sets."""
        return tuple(folder for given in self.sets for folder in given.classes)

    def images(self) -> Iterator[tuple[str, ImageFile]]:
        """Yield the path of each image from the directory, and the image, in the order of `folders`."""
        for folder in self.folders:
            for file in folder.files:
                yield folder.path(file), file

    def images_at(self, positions: Sequence[int]) -> Iterator[tuple[str, ImageFile]]:
        """Yield what `images` yields at these positions, which rise."""
        wanted = iter(positions)
        following = next(wanted, None)
        for position, image in enumerate(self.images()):
            if position == following:
                yield image
                following = next(wanted, None)

    def fingerprint(self) -> str:
        """Return a SHA-256 of the images' paths, sizes and times of change, and of labels.csv."""
        digest = hashlib.sha256()
        for path, file in self.images():
            digest.update(f"{path}\0{file.size}\0{file.modified}\0".encode())
        if self.labels:
            digest.update(repr(self.labels.columns).encode())
            for row in self.labels.rows:
                digest.update(repr(row).encode())
        return digest.hexdigest()


def read_source(
    directory: Path,
    class_column: str = "",
    on_file: Callable[[], None] = lambda: None,
    looks_inside: bool = True,
    is_lenient: bool = False,
    traces: bool = False,
) -> ImageSource:
    """Find the images of a directory, and their classes.

    Args:
        directory: the folder of images.
        class_column: the column of labels.csv that tells each image's class. Empty: `label`, if there is one and there
            are no class folders; else the folders tell.
        on_file: called for each file.
        looks_inside: read the first bytes of each file; else its name decides.
        is_lenient: name what cannot be read among the bad files, and go on; take files for images that begin as one,
            whatever their extension.
        traces: read some bytes of each file's middle too.

    Raises:
        DataError: there are no images, or what tells their classes is missing or contradicts itself.
    """
    with reading(directory):
        labels = Labels.read(directory)
        if class_column and labels is None:
            raise DataError(f"data.class_column={class_column}: {directory} holds no {LABELS_FILE} with such a column")
        if labels and (class_column or _is_table(directory, labels)):
            scanned = scan_unsorted(directory, on_file, looks_inside, is_lenient, traces)
            return _from_table(directory, labels, class_column or CLASS_COLUMN, scanned)
        if found := find_sets(directory, is_lenient):
            return _from_sets(
                directory,
                found,
                labels,
                lambda folder: scan(directory / folder, on_file, looks_inside, is_lenient, traces),
                is_lenient,
            )
        if labels:
            _check_folders(directory, labels)
    try:
        scanned = scan(directory, on_file, looks_inside, is_lenient, traces)
    except NoClassesError as error:
        table = f"a {LABELS_FILE} beside them that tells each one's class would do as well (docs/data.md)"
        if labels:
            columns = ", ".join(map(repr, labels.columns))
            table = f"name the column of {LABELS_FILE} ({columns}) that tells each one's class in data.class_column"
        raise DataError(f"{error}; {table}") from None
    return _source(directory, (GivenSet("", "", scanned.classes),), labels, scanned)


def _source(directory: Path, sets: tuple[GivenSet, ...], labels: Labels | None, scanned: Scan) -> ImageSource:
    return ImageSource(directory, sets, labels, scanned.left_out, scanned.repeated_folders)


def _is_table(directory: Path, labels: Labels) -> bool:
    """Tell whether the table is what tells the classes: a single folder, as `images`, would be a single class."""
    if CLASS_COLUMN not in labels.columns:
        return False
    folders = subfolders(directory)
    return len(folders) <= 1 and any(map(holds_images, (directory, *(directory / name for name in folders))))


def _check_folders(directory: Path, labels: Labels) -> None:
    """Raise where a table has labels that are no class folders: which of both tells the classes cannot be known."""
    folders = set(subfolders(directory))
    if CLASS_COLUMN not in labels.columns or not folders:
        return
    position = labels.columns.index(CLASS_COLUMN)
    for row in labels.rows:
        if (name := row.cells[position].strip()) and name not in folders:
            raise labels.wrong(
                row,
                f"the {CLASS_COLUMN} {name!r} is the name of no folder beside it: set data.class_column={CLASS_COLUMN} "
                "if the table tells the classes, or rename its column if the folders do",
            )


def _from_table(directory: Path, labels: Labels, column: str, scanned: Scan) -> ImageSource:
    if column not in labels.columns:
        others = f": its columns are {', '.join(map(repr, labels.columns))}"
        raise DataError(f"{labels.file} has no column {column!r}{hint(column, labels.columns, others)}")
    position = labels.columns.index(column)
    files = {file.name: file for file in scanned.classes[0].files}
    rows = labels.match(files)
    classes: dict[str, list[ImageFile]] = {}
    for path, row in rows.by_image.items():
        classes.setdefault(_class_name(labels, row, row.cells[position]), []).append(files[path])
    if not classes:
        raise DataError(f"{labels.file} names no image that lies in {directory}")
    given = GivenSet(
        "", "", tuple(ClassFolder(name, tuple(sorted(found)), "") for name, found in sorted(classes.items()))
    )
    return ImageSource(
        directory,
        (given,),
        labels,
        scanned.left_out,
        scanned.repeated_folders,
        tuple(path for path in files if path not in rows.by_image),
    )


def is_class_name(name: str) -> bool:
    """Tell whether a class of this name can have a folder."""
    return 0 < len(name.encode()) <= MOST_NAME_BYTES and not (name.startswith(".") or "/" in name or "\0" in name)


def _class_name(labels: Labels, row: Row, cell: str) -> str:
    """Return the class that a cell tells, which becomes the name of a folder."""
    name = cell.strip()
    if not is_class_name(name):
        rule = f"a class becomes a folder: give it a name of 1 to {MOST_NAME_BYTES} bytes, without / and no . in front"
        raise labels.wrong(row, f"{cell!r} is no name for a class; {rule}")
    return name


def _from_sets(
    directory: Path,
    found: dict[str, str],
    labels: Labels | None,
    scan_set: Callable[[str], Scan],
    is_lenient: bool,
) -> ImageSource:
    has_classes, unreadable = _class_folders(directory, found, is_lenient)
    without_classes = tuple(found[name] for name, has_any in has_classes.items() if not has_any)
    scans = {name: scan_set(found[name]) for name in SETS if has_classes.get(name)}
    sets = tuple(
        GivenSet(
            name,
            found[name],
            tuple(ClassFolder(part.name, part.files, f"{found[name]}/{part.folder}") for part in scanned.classes),
        )
        for name, scanned in scans.items()
    )
    left_out = LeftOut(
        sum(scanned.left_out.hidden for scanned in scans.values()),
        sum(scanned.left_out.other_files for scanned in scans.values()),
        sum(scanned.left_out.repeated_folders for scanned in scans.values()),
        (
            *unreadable,
            *(
                BadFile(f"{found[name]}/{file.path}", file.reason)
                for name, scanned in scans.items()
                for file in scanned.left_out.bad_files
            ),
        ),
    )
    repeated = tuple(f"{found[name]}/{path}" for name, scanned in scans.items() for path in scanned.repeated_folders)
    return ImageSource(directory, sets, labels, left_out, repeated, without_classes=without_classes)


def _class_folders(
    directory: Path, found: dict[str, str], is_lenient: bool
) -> tuple[dict[str, bool], tuple[BadFile, ...]]:
    """Return of each set whether it holds class folders, and the folders that cannot be read; not all may be such."""
    has_classes: dict[str, bool] = {}
    unreadable = []
    for name, folder in found.items():
        try:
            has_classes[name] = bool(subfolders(directory / folder))
        except OSError as error:
            if not is_lenient:
                raise
            unreadable.append(BadFile(folder, f"{UNREADABLE}: {error.strerror}"))
    if not any(has_classes.values()):
        raise DataError(f"{directory / unreadable[0].path}: {unreadable[0].reason}")
    return has_classes, tuple(unreadable)
