"""Finds the images of a folder with one sub-folder per class, and tells what else lies there.

An image is a file whose extension and whose first bytes are an image's; they need not be of the same kind, since
decoders go by the bytes. What lies in sub-folders of a class folder belongs to the class. Links to files and folders
are followed, but no folder is visited twice for a class, so links that loop come to an end. Nothing is decoded here.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from container.dataset.image_files import (
    IMAGE_EXTENSIONS,
    NOT_UNICODE,
    UNREADABLE,
    ImageFile,
    is_unicode,
    look_at_entry,
)
from container.dataset.labels import LABELS_FILE
from container.errors import DataError

# What `data_handler.py` itself leaves in a folder of images: what was ingested into it, and what it was mended from.
INGESTED, FIXED = ".ingested.json", ".fixed.json"


class NoClassesError(DataError):
    """A folder has no class folders."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One labeled image."""

    path: Path
    label: int
    """Position of its class among the folder's classes."""


@dataclass(frozen=True, slots=True)
class BadFile:
    """A file that has an image's extension but cannot be used."""

    path: str
    """Relative to the indexed folder."""
    reason: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What lies in an image folder besides its images."""

    hidden: int
    """Files and folders whose names begin with a dot, but for our own."""
    other_files: int
    """Files without an image's extension, or outside the class folders; labels.csv is none of them."""
    repeated_folders: int
    """Links to folders that were visited already."""
    bad_files: tuple[BadFile, ...]


NOTHING_LEFT_OUT = LeftOut(0, 0, 0, ())


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """The labeled images of a folder: class by class, by name within each."""

    directory: Path
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    left_out: LeftOut


@dataclass(frozen=True, slots=True, order=True)
class ClassFolder:
    """The images of one class that lie in one folder, sorted by name."""

    name: str
    files: tuple[ImageFile, ...]
    folder: str
    """Where the files' names begin, from the directory that holds all images; empty: there itself."""

    def path(self, file: ImageFile) -> str:
        """Return the path of one of its images from the directory that holds all images."""
        return f"{self.folder}/{file.name}" if self.folder else file.name


@dataclass(frozen=True, slots=True)
class Scan:
    """The class folders of a folder, sorted by name, and what else lies there."""

    classes: tuple[ClassFolder, ...]
    left_out: LeftOut
    repeated_folders: tuple[str, ...] = ()
    """Paths of the links to folders that were visited already."""


def index_images(directory: Path, classes: tuple[str, ...] | None = None, looks_inside: bool = True) -> ImageFolder:
    """Return the labeled images of a folder with one sub-folder per class.

    The classes are the sub-folders' names, sorted by code point, or those given, in their order; then a class may
    have no sub-folder. The result does not depend on the order in which the file system lists files. Unless the
    function `looks_inside` the files, every file with an image's extension is taken for one.

    Raises:
        DataError: the directory is missing, has no class folders, no image, or a folder that is not among the classes.
    """
    scanned = scan(directory, looks_inside=looks_inside)
    names = tuple(folder.name for folder in scanned.classes)
    if classes is None:
        classes = names
    for name in names:
        if name not in classes:
            raise DataError(f"{directory} has a folder {name!r}, but the classes are {', '.join(map(repr, classes))}")
    samples = tuple(
        Sample(directory / folder.name / file.name, label)
        for label, folder in sorted((classes.index(folder.name), folder) for folder in scanned.classes)
        for file in folder.files
    )
    if not samples:
        raise DataError(f"no class folder in {directory} holds an image ({', '.join(IMAGE_EXTENSIONS)})")
    return ImageFolder(directory, classes, samples, scanned.left_out)


def scan(
    directory: Path,
    on_file: Callable[[], None] = lambda: None,
    looks_inside: bool = True,
    is_lenient: bool = False,
    traces: bool = False,
) -> Scan:
    """Return the class folders of a directory with their images, which may be none.

    Args:
        directory: holds a sub-folder per class.
        on_file: called for each file.
        looks_inside: read the first bytes of each file; else its name decides.
        is_lenient: name a folder that cannot be read, or whose name is not UTF-8, among the bad files, and go on; take
            files for images that begin as one, whatever their extension.
        traces: read some bytes of each file's middle too.

    Raises:
        DataError: the directory is missing, has no class folders, or cannot be read.
    """
    with _explained(directory):
        scanner = _Scanner(directory, on_file, looks_inside, is_lenient, traces)
        classes = [ClassFolder(name, tuple(sorted(scanner.images(path))), name) for name, path in scanner.classes()]
    if not classes:
        raise NoClassesError(f"{directory} has no class folders; it should hold one sub-folder of images per class")
    return scanner.scan(classes)


def scan_unsorted(
    directory: Path,
    on_file: Callable[[], None] = lambda: None,
    looks_inside: bool = True,
    is_lenient: bool = False,
    traces: bool = False,
) -> Scan:
    """Return all images under a directory as one class without a name; see `scan` for the rest."""
    with _explained(directory):
        scanner = _Scanner(directory, on_file, looks_inside, is_lenient, traces)
        files = tuple(sorted(scanner.images(str(directory))))
    scanner.other_files -= (directory / LABELS_FILE).is_file()
    return scanner.scan([ClassFolder("", files, "")])


def find_images(directory: Path) -> tuple[tuple[str, ...], LeftOut]:
    """Return the names, inside a folder, of the images anywhere below it, of classes or not; and what else is there.

    Raises:
        DataError: the folder cannot be read.
    """
    scanner = _Scanner(directory, lambda: None, looks_inside=True)
    with reading(directory):
        return tuple(sorted(image.name for image in scanner.images(str(directory)))), scanner.left_out()


@contextlib.contextmanager
def reading(directory: Path) -> Iterator[None]:
    """Make a DataError, which names what cannot be read, of any OSError in the block."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{str(error.filename or directory)!r} cannot be read: {error.strerror}") from None


@contextlib.contextmanager
def _explained(directory: Path) -> Iterator[None]:
    if not directory.is_dir():
        problem = "is a file" if directory.exists() else "does not exist"
        raise DataError(f"{directory} {problem}; it should be a folder with one sub-folder of images per class")
    with reading(directory):
        yield


class _Scanner:
    """Walks one folder; counts on the way what it leaves out."""

    def __init__(
        self,
        directory: Path,
        on_file: Callable[[], None],
        looks_inside: bool,
        is_lenient: bool = False,
        traces: bool = False,
    ) -> None:
        self.looks_inside, self.is_lenient, self.traces = looks_inside, is_lenient, traces
        self.directory = directory
        self.on_file = on_file
        real = directory.resolve()
        # A link to the directory itself, or to one above it, would bring all classes into one.
        self.around = {_identity(str(folder)) for folder in (real, *real.parents)}
        self.hidden = self.other_files = 0
        self.bad_files: list[tuple[str, str]] = []
        self.repeated: list[str] = []

    def classes(self) -> Iterator[tuple[str, str]]:
        """Yield name and path of each class folder."""
        for entry in self._entries(str(self.directory)):
            if not _is_folder(entry):
                self.other_files += entry.name != LABELS_FILE
            elif _identity(entry.path) in self.around:
                self.repeated.append(entry.path)
            elif not is_unicode(entry.name):
                if self.is_lenient:
                    self.bad_files.append((entry.path, NOT_UNICODE))
                    continue
                raise DataError(f"the name of the class folder {os.fsencode(entry.name)!r} is not UTF-8: rename it")
            else:
                yield entry.name, entry.path

    def images(self, class_folder: str) -> Iterator[ImageFile]:
        """Yield the images under a class folder, in no order that means anything."""
        visited = {*self.around, _identity(class_folder)}
        pending = [(class_folder, "")]
        while pending:
            folder, prefix = pending.pop()
            if not (entries := self._entries(folder)):
                continue
            # The system finds a file sooner from here than from the root.
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                for entry in entries:
                    if not _is_folder(entry):
                        self.on_file()
                        if image := self._look(entry, prefix + entry.name, descriptor):
                            yield image
                    elif (identity := _identity(entry.path)) in visited:
                        self.repeated.append(entry.path)
                    else:
                        visited.add(identity)
                        pending.append((entry.path, f"{prefix}{entry.name}/"))
            finally:
                os.close(descriptor)

    def left_out(self) -> LeftOut:
        """Return what was left out so far."""
        bad_files = tuple(BadFile(self._inside(path), reason) for path, reason in sorted(self.bad_files))
        return LeftOut(self.hidden, self.other_files, len(self.repeated), bad_files)

    def scan(self, classes: list[ClassFolder]) -> Scan:
        """Return these classes, and what was left out so far."""
        return Scan(tuple(sorted(classes)), self.left_out(), tuple(sorted(map(self._inside, self.repeated))))

    def _inside(self, path: str) -> str:
        return path.removeprefix(f"{self.directory}{os.sep}")

    def _look(self, entry: os.DirEntry[str], name: str, folder: int) -> ImageFile | None:
        """Return the image of this entry; count or name what is none."""
        has_extension = entry.name.lower().endswith(IMAGE_EXTENSIONS)
        if not has_extension and not self.is_lenient:
            self.other_files += 1
            return None
        found = look_at_entry(entry, name, folder, self.looks_inside or not has_extension, self.traces)
        if isinstance(found, ImageFile):
            return found
        if has_extension:
            self.bad_files.append((entry.path, found))
        else:
            self.other_files += 1
        return None

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        """The entries that are not hidden, by name, links last: a folder is found by its own name before any other."""
        try:
            with os.scandir(folder) as entries:
                found = list(entries)
        except OSError as error:
            if not self.is_lenient or folder == str(self.directory):
                raise
            self.bad_files.append((folder, f"{UNREADABLE}: {error.strerror}"))
            return []
        shown = [entry for entry in found if not entry.name.startswith(".")]
        own = sum(entry.name in (INGESTED, FIXED) for entry in found) if folder == str(self.directory) else 0
        self.hidden += len(found) - len(shown) - own
        return sorted(shown, key=lambda entry: (entry.is_symlink(), entry.name))


def _identity(folder: str) -> tuple[int, int]:
    found = os.stat(folder)  # noqa: PTH116
    return found.st_dev, found.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads nowhere
        return False
