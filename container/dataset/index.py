"""Finds the images of a folder with one sub-folder per class, and tells what else lies there.

An image is a file whose extension and whose first bytes are an image's; they need not be of the same kind, since
decoders go by the bytes. What lies in sub-folders of a class folder belongs to the class. Links to files and folders
are followed, but no folder is visited twice for a class, so links that loop come to an end. Nothing is decoded here.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from container.dataset.labels import LABELS_FILE
from container.errors import DataError

# What tf.io.decode_image decodes, and Pillow too.
IMAGE_EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
EMPTY = "it is empty"
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM")


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
    """Files and folders whose names begin with a dot."""
    other_files: int
    """Files without an image's extension, or outside the class folders; labels.csv is none of them."""
    repeated_folders: int
    """Links to folders that were visited already."""
    bad_files: tuple[BadFile, ...]


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """The labeled images of a folder: class by class, by name within each."""

    directory: Path
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    left_out: LeftOut


class ImageFile(NamedTuple):
    """An image as the file system knows it. A tuple, because there are many."""

    name: str
    """Path inside the class folder, with `/` between its parts."""
    size: int
    """Bytes."""
    modified: int
    """Nanoseconds since the epoch."""
    is_link: bool
    """Whether the name is a symbolic link to the file."""


@dataclass(frozen=True, slots=True, order=True)
class ClassFolder:
    """The images of one class, sorted by name."""

    name: str
    files: tuple[ImageFile, ...]


@dataclass(frozen=True, slots=True)
class Scan:
    """The class folders of a folder, sorted by name, and what else lies there."""

    classes: tuple[ClassFolder, ...]
    left_out: LeftOut


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


def scan(directory: Path, on_file: Callable[[], None] = lambda: None, looks_inside: bool = True) -> Scan:
    """Return the class folders of a directory with their images, which may be none; `on_file` is called for each file.

    Raises:
        DataError: the directory is missing, has no class folders, or cannot be read.
    """
    if not directory.is_dir():
        problem = "is a file" if directory.exists() else "does not exist"
        raise DataError(f"{directory} {problem}; it should be a folder with one sub-folder of images per class")
    scanner = _Scanner(directory, on_file, looks_inside)
    try:
        classes = [ClassFolder(name, tuple(sorted(scanner.images(path)))) for name, path in scanner.classes()]
    except OSError as error:
        raise DataError(f"{error.filename or str(directory)!r} cannot be read: {error.strerror}") from None
    if not classes:
        raise DataError(f"{directory} has no class folders; it should hold one sub-folder of images per class")
    return Scan(tuple(sorted(classes)), scanner.left_out())


class _Scanner:
    """Walks one folder; counts on the way what it leaves out."""

    def __init__(self, directory: Path, on_file: Callable[[], None], looks_inside: bool) -> None:
        self.looks_inside = looks_inside
        self.directory = directory
        self.on_file = on_file
        real = directory.resolve()
        # A link to the directory itself, or to one above it, would bring all classes into one.
        self.around = {_identity(str(folder)) for folder in (real, *real.parents)}
        self.hidden = self.other_files = self.repeated_folders = 0
        self.bad_files: list[tuple[str, str]] = []

    def classes(self) -> Iterator[tuple[str, str]]:
        """Yield name and path of each class folder."""
        for entry in self._entries(str(self.directory)):
            if not _is_folder(entry):
                self.other_files += entry.name != LABELS_FILE
            elif _identity(entry.path) in self.around:
                self.repeated_folders += 1
            elif not _is_unicode(entry.name):
                raise DataError(f"the name of the class folder {os.fsencode(entry.name)!r} is not UTF-8: rename it")
            else:
                yield entry.name, entry.path

    def images(self, class_folder: str) -> Iterator[ImageFile]:
        """Yield the images under a class folder, in no order that means anything."""
        visited = {*self.around, _identity(class_folder)}
        pending = [(class_folder, "")]
        while pending:
            folder, prefix = pending.pop()
            for entry in self._entries(folder):
                if not _is_folder(entry):
                    self.on_file()
                    yield from self._look(entry, prefix + entry.name)
                elif (identity := _identity(entry.path)) in visited:
                    self.repeated_folders += 1
                else:
                    visited.add(identity)
                    pending.append((entry.path, f"{prefix}{entry.name}/"))

    def left_out(self) -> LeftOut:
        """Return what was left out so far."""
        prefix = f"{self.directory}{os.sep}"
        bad_files = tuple(BadFile(path.removeprefix(prefix), reason) for path, reason in sorted(self.bad_files))
        return LeftOut(self.hidden, self.other_files, self.repeated_folders, bad_files)

    def _look(self, entry: os.DirEntry[str], name: str) -> Iterator[ImageFile]:
        if not entry.name.lower().endswith(IMAGE_EXTENSIONS):
            self.other_files += 1
            return
        found = _image(entry, name, self.looks_inside)
        if isinstance(found, str):
            self.bad_files.append((entry.path, found))
        else:
            yield found

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        """The entries that are not hidden, by name, links last: a folder is found by its own name before any other."""
        with os.scandir(folder) as entries:
            found = list(entries)
        shown = [entry for entry in found if not entry.name.startswith(".")]
        self.hidden += len(found) - len(shown)
        return sorted(shown, key=lambda entry: (entry.is_symlink(), entry.name))


def _identity(folder: str) -> tuple[int, int]:
    found = os.stat(folder)  # noqa: PTH116
    return found.st_dev, found.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads nowhere
        return False


def _image(entry: os.DirEntry[str], name: str, looks_inside: bool) -> ImageFile | str:
    """Return the image, or why it is none."""
    if not _is_unicode(name):
        return "its name is not UTF-8, as a name in S3 must be"
    try:
        if not entry.is_file():
            return "it is a link to nowhere" if entry.is_symlink() else "it is no regular file"
        if not looks_inside:
            known = entry.stat()
            return ImageFile(name, known.st_size, known.st_mtime_ns, entry.is_symlink()) if known.st_size else EMPTY
        descriptor = os.open(entry.path, os.O_RDONLY)
        try:
            head = os.read(descriptor, 16)
            found = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    if not head:
        return EMPTY
    if not (head.startswith(SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")):
        return "its first bytes are no known image's"
    return ImageFile(name, found.st_size, found.st_mtime_ns, entry.is_symlink())


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
