"""Images as arrays in NumPy's files: read one by one, however many there are, and written so.

What is read is an array of shape (images, height, width, channels), or without channels, beside one of labels: names of
classes, their positions, or one-hot rows. In an .npz the arrays go by their usual names; a training and a test set, as
Keras's own data sets have them, become folders `train` and `test`.
"""

import io
import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from container.dataset.archives import Member
from container.dataset.source import is_class_name
from container.dataset.taking import Limits
from container.errors import DataError

SUFFIXES = (".npy", ".npz")
# The names that arrays go by, in pairs of images and labels, by the folder of the set; lower case.
PAIRS = (
    ("", ("images", "labels")),
    ("", ("x", "y")),
    ("", ("data", "target")),
    ("", ("data", "labels")),
    ("", ("arr_0", "arr_1")),
    ("train", ("x_train", "y_train")),
    ("valid", ("x_valid", "y_valid")),
    ("valid", ("x_val", "y_val")),
    ("test", ("x_test", "y_test")),
    ("train", ("train_images", "train_labels")),
    ("valid", ("val_images", "val_labels")),
    ("test", ("test_images", "test_labels")),
)
CLASS_NAMES = ("classes", "class_names", "label_names", "target_names")
# No array of labels or names is larger.
MOST_LABEL_BYTES = 1 << 30


class _Head(NamedTuple):
    """What stands before the values of an array."""

    shape: tuple[int, ...]
    is_fortran: bool
    type: np.dtype[Any]


class _Set(NamedTuple):
    """A set of images, not read yet."""

    folder: str
    images: str
    classes: tuple[str, ...]
    labels: NDArray[np.int64]


class ArrayFile:
    """The images in an .npz, or in an .npy with a second file of labels."""

    def __init__(self, file: Path, limits: Limits, labels: Path | None = None) -> None:
        """Look at the arrays; of the images nothing but the shape is read yet.

        Raises:
            DataError: a file is no such array, arrays do not fit together, or there are more or larger images than the
                limits allow.
        """
        self._file, self._limits, self._labels = file, limits, labels
        with _explained(file):
            self._sets = [self._set_of_files()] if file.suffix.lower() == ".npy" else list(self._sets_of_npz())

    @property
    def images(self) -> int:
        """Images in all sets."""
        return sum(len(found.labels) for found in self._sets)

    def members(self) -> Iterator[Member]:
        """Yield the images as PNG files in class folders.

        Raises:
            DataError: values are no pixels; the first such image is named.
        """
        for found in self._sets:
            digits = len(str(max(len(found.labels) - 1, 0)))
            with _explained(self._file):
                scale = self._scale(found.images)
                for number, pixels in enumerate(self._rows(found.images)):
                    folder = f"{found.folder}/" if found.folder else ""
                    name = f"{folder}{found.classes[found.labels[number]]}/{number:0{digits}}.png"
                    yield Member(name, 1.0, "", partial(_png, pixels, scale))

    def _set_of_files(self) -> _Set:
        if self._labels is None:
            raise DataError(f"{self._file} holds images without labels: add --labels FILE, an .npy of as many")
        with _explained(self._labels):
            if self._labels.stat().st_size > MOST_LABEL_BYTES:
                raise DataError(f"{self._labels} is too large for labels")
            labels = _array(self._labels.read_bytes())
        return self._set("", "", labels, None)

    def _sets_of_npz(self) -> Iterator[_Set]:
        with zipfile.ZipFile(self._file) as opened:
            keys = {Path(name).stem.lower(): name for name in opened.namelist()}
            names = next((self._read(opened, keys[key]) for key in CLASS_NAMES if key in keys), None)
            pairs = [
                (folder, keys[first], keys[second]) for folder, (first, second) in PAIRS if {first, second} <= {*keys}
            ]
            if not pairs:
                found = ", ".join(map(repr, keys)) or "nothing"
                raise DataError(
                    f"{self._file} holds {found}: name the arrays images and labels, or x_train, y_train, x_test and "
                    "y_test"
                )
            for folder, images, labels in pairs:
                yield self._set(folder, images, self._read(opened, labels), names)

    def _read(self, opened: zipfile.ZipFile, name: str) -> NDArray[Any]:
        if opened.getinfo(name).file_size > MOST_LABEL_BYTES:
            raise DataError(f"{self._file}: {name} is too large for labels")
        return _array(opened.read(name))

    def _set(self, folder: str, images: str, labels: NDArray[Any], names: NDArray[Any] | None) -> _Set:
        with self._opened(images) as file:
            shape = _head(file).shape
        if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3, 4)) or min(shape[1:]) < 1:
            raise DataError(
                f"{self._file}: the images have the shape {shape}; it must be (images, height, width), or (images, "
                "height, width, channels) with 1, 3 or 4 channels"
            )
        if shape[0] > self._limits.files:
            raise DataError(
                f"{self._file}: there are {shape[0]:,} images, and ingestion.max_files allows {self._limits.files:,}: "
                "raise it, if you trust the source"
            )
        # Python's own integers have no end that a header could lead beyond.
        if (pixels := math.prod(shape[1:3])) > self._limits.pixels:
            raise DataError(
                f"{self._file}: an image has {pixels:,} pixels, and data.most_pixels allows {self._limits.pixels:,}: "
                "raise it, if you trust the source"
            )
        positions, classes = _as_classes(labels, names, self._file)
        if len(positions) != shape[0]:
            raise DataError(f"{self._file}: there are {shape[0]} images and {len(positions)} labels")
        return _Set(folder, images, classes, positions)

    @contextmanager
    def _opened(self, name: str) -> Iterator[IO[bytes]]:
        if not name:
            with self._file.open("rb") as file:
                yield file
            return
        with zipfile.ZipFile(self._file) as opened, opened.open(name) as member:
            yield member

    def _rows(self, name: str) -> Iterator[NDArray[Any]]:
        """Yield image by image."""
        with self._opened(name) as file:
            head = _head(file)
            if head.is_fortran:
                raise DataError(
                    f"{self._file}: the images are stored in Fortran's order: save np.ascontiguousarray(them)"
                )
            length = math.prod(head.shape[1:]) * head.type.itemsize
            for _ in range(head.shape[0]):
                content = file.read(length)
                if len(content) < length:
                    raise DataError(f"{self._file} ends before its last image: get it again")
                yield np.frombuffer(content, head.type).reshape(head.shape[1:])

    def _scale(self, name: str) -> float:
        """Return what values are multiplied by to be from 0 to 255."""
        with self._opened(name) as file:
            kind = _head(file).type.kind
        if kind == "b":
            return 255
        if kind not in "iuf":
            raise DataError(f"{self._file}: the images must be numbers from 0 to 255, or from 0 to 1")
        highest = 0.0
        for number, pixels in enumerate(self._rows(name)):
            low, high = float(pixels.min()), float(pixels.max())
            if not (low >= 0 and high <= 255):
                raise DataError(
                    f"{self._file}: image {number} has values from {low:g} to {high:g}: bring them to 0 to 255, or to "
                    "0 to 1"
                )
            highest = max(highest, high)
        return 255 if kind == "f" and highest <= 1 else 1


def _as_classes(
    labels: NDArray[Any], names: NDArray[Any] | None, file: Path
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the position of each image's class, and the classes' names."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    elif labels.ndim == 2:
        if not (np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all()):
            raise DataError(f"{file}: each row of the labels must have one 1, and else 0")
        labels = labels.argmax(axis=1)
    if labels.ndim != 1 or labels.dtype.kind not in "iufUSb":
        raise DataError(f"{file}: the labels must be one name, or one number, for each image")
    if labels.dtype.kind == "f" and not (labels == labels.round()).all():
        raise DataError(f"{file}: the labels must be whole numbers")
    if labels.dtype.kind in "US":
        found, positions = np.unique(labels.astype(str), return_inverse=True)
        return positions.astype(np.int64), _checked(found.tolist(), file)
    numbers = labels.astype(np.int64)
    if names is None:
        found, positions = np.unique(numbers, return_inverse=True)
        return positions.astype(np.int64), _checked([str(number) for number in found], file)
    if names.ndim != 1 or (len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(names)):
        raise DataError(
            f"{file}: the labels must be from 0 to {names.size - 1}, since there are {names.size} class names"
        )
    return numbers, _checked(names.astype(str).tolist(), file)


def _checked(names: Sequence[str], file: Path) -> tuple[str, ...]:
    for name in names:
        if not is_class_name(name):
            raise DataError(f"{file}: the class {name!r} cannot be a folder's name: rename it")
    return tuple(names)


def _array(content: bytes) -> NDArray[Any]:
    """Return the array that a file holds.

    Raises:
        ValueError: it holds none, or another number of values than it says.
    """
    file = io.BytesIO(content)
    head = _head(file)
    # NumPy takes memory for all values that are promised.
    if math.prod(head.shape) * head.type.itemsize != len(content) - file.tell():
        raise ValueError(f"it does not hold the values of its shape {head.shape}")
    file.seek(0)
    return np.load(file, allow_pickle=False)


def _head(file: IO[bytes]) -> _Head:
    """Read what stands before the values of an array.

    Raises:
        ValueError: it is none.
    """
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"version {version} of NumPy's format is unknown")
    head = _Head(*readers[version](file))
    if head.type.hasobject:
        raise ValueError("it holds Python objects, which may do anything when they are read: save numbers")
    return head


def _png(pixels: NDArray[Any], scale: float) -> IO[bytes]:
    from PIL import Image

    values = np.rint(pixels.astype(np.float64) * scale).astype(np.uint8) if pixels.dtype != np.uint8 else pixels
    content = io.BytesIO()
    Image.fromarray(values[:, :, 0] if values.ndim == 3 and values.shape[2] == 1 else values).save(content, "PNG")
    content.seek(0)
    return content


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{file} cannot be read as an array: {' '.join(str(error).split())}") from None
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from None
