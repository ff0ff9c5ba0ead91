"""Writes the sets of a split as arrays, one .npz for each, for whoever wants to train elsewhere.

Each holds `images` (uint8, shape (images, height, width, channels), the model's input size), `labels` (int32, positions
in `classes`), `classes` (those of the training set, in each) and `names` (UTF-8 in bytes: Unicode would take four times
the room): what `--ingest` reads, and `numpy.load` too.
"""

import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import compress, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageOps

from container.dataset.folders import exclusive, replacement
from container.dataset.index import BadFile, Scan, scan
from container.dataset.prepared import TRAINING, split_digest
from container.dataset.processes import in_batches
from container.dataset.progress import Progress
from container.dataset.record import SETS
from container.dataset.shrink import DECODED_SIZE, plain, upright
from container.dataset.text import printable
from container.errors import DataError
from container.modeling.container_settings import Image

BATCH = 16
COPIED_AT_ONCE = 1 << 20
NAMES_AT_ONCE = 4096


@dataclass(frozen=True)
class ArraySet:
    """A set that was written."""

    file: Path
    images: int
    left_out: tuple[BadFile, ...]
    """Images that cannot be decoded."""


class Fitted(NamedTuple):
    """An image in the input size."""

    pixels: bytes
    problem: str
    """Why there are none; empty: there are."""


def write_arrays(
    sets: Path, target: Path, image: Image, progress: Progress, processes: int = 0
) -> tuple[ArraySet, ...]:
    """Write the sets of a split as arrays, all of them or none.

    Args:
        sets: the folder of the split.
        target: a folder that is missing or empty, or holds such arrays already.
        image: the size and the channels, and how images are brought to them.
        progress: is told how far it is.
        processes: that work side by side; 0: one for each core.

    Raises:
        DataError: there is no split, a set has a class that the training set lacks, the target holds something else, or
            a file cannot be read or written.
    """
    split_digest(sets)
    target = Path(os.path.realpath(target))
    with exclusive(target, lambda: progress.start("Waiting for another run to end")):
        if target.exists() and not {path.name for path in target.iterdir()} <= {_file_name(name) for name in SETS}:
            raise DataError(f"{target} holds something else than arrays of sets: move it away")
        with replacement(target) as new:
            try:
                written = list(_write_all(sets, new, image, progress, processes))
            except BrokenProcessPool:
                raise DataError(
                    "a process that decoded images died: if memory is short, lower preparation.processes"
                ) from None
    return tuple(ArraySet(target / file.name, images, left_out) for file, images, left_out in written)


def fitted_files(files: Sequence[str], image: Image) -> list[Fitted]:
    """Return the pixels of files in the input size."""
    return [_fitted(Path(file), image) for file in files]


def _write_all(
    sets: Path, new: Path, image: Image, progress: Progress, processes: int
) -> Iterator[tuple[Path, int, tuple[BadFile, ...]]]:
    classes: dict[str, int] = {}
    for name in SETS:
        progress.start(f"Looking at the {name} images")
        scanned = scan(sets / name, progress.advance)
        # A label means the same class in each set.
        classes = classes or {folder.name: label for label, folder in enumerate(scanned.classes)}
        for folder in scanned.classes:
            if folder.name not in classes:
                raise DataError(
                    f"{sets / name} has a class {folder.name!r}, and {sets / TRAINING} has not: add images of it, or "
                    "remove it, and split again"
                )
        yield _write(sets / name, scanned, classes, new / _file_name(name), image, progress, processes)


def _write(
    source: Path,
    scanned: Scan,
    classes: dict[str, int],
    file: Path,
    image: Image,
    progress: Progress,
    processes: int,
) -> tuple[Path, int, tuple[BadFile, ...]]:
    counts = [len(folder.files) for folder in scanned.classes]
    labels = np.repeat(np.array([classes[folder.name] for folder in scanned.classes], np.int32), counts)
    progress.start(f"Decoding the {source.name} images", len(labels))
    kept, left_out = np.ones(len(labels), bool), []
    beside = file.with_suffix(".pixels")
    with beside.open("wb") as pixels:
        files = (f"{source}/{name}" for name in _names(scanned))
        work = in_batches(partial(fitted_files, image=image), files, BATCH, processes)
        for position, (name, fitted) in enumerate(zip(_names(scanned), work, strict=True)):
            pixels.write(fitted.pixels)
            if fitted.problem:
                kept[position] = False
                left_out.append(BadFile(printable(name), fitted.problem))
            progress.advance()
    shape = (int(kept.sum()), image.height, image.width, image.channels)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as opened:
        _add_pixels(opened, beside, shape)
        _add(opened, "labels", labels[kept])
        _add(opened, "classes", np.array(list(classes), np.str_))
        longest = max((len(name.encode()) for name in _names(scanned)), default=1)
        _add_names(opened, compress(_names(scanned), kept), f"|S{longest}", shape[0])
    beside.unlink()
    return file, shape[0], tuple(left_out)


def _names(scanned: Scan) -> Iterator[str]:
    """Yield the paths of a set's images: they are made anew each time, since together they take much memory."""
    return (f"{folder.name}/{file.name}" for folder in scanned.classes for file in folder.files)


def _add_pixels(opened: zipfile.ZipFile, pixels: Path, shape: tuple[int, ...]) -> None:
    with opened.open("images.npy", "w", force_zip64=True) as member, pixels.open("rb") as source:
        np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": shape})
        shutil.copyfileobj(source, member, COPIED_AT_ONCE)


def _add_names(opened: zipfile.ZipFile, names: Iterable[str], kind: str, count: int) -> None:
    remaining = iter(names)
    with opened.open("names.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, {"descr": kind, "fortran_order": False, "shape": (count,)})
        while some := [name.encode() for name in islice(remaining, NAMES_AT_ONCE)]:
            member.write(np.array(some, kind).tobytes())


def _add(opened: zipfile.ZipFile, name: str, values: NDArray[Any]) -> None:
    with opened.open(f"{name}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array(member, values, allow_pickle=False)


def _fitted(file: Path, image: Image) -> Fitted:
    size = image.width, image.height
    try:
        with Picture.open(file) as picture:
            turn = upright(picture)
            side = DECODED_SIZE * max(size)
            picture.draft("L" if image.channels == 1 else "RGB", (side, side))
            whole = plain(picture, image.channels == 1)
        whole = whole.transpose(turn) if turn is not None else whole
        whole = whole.convert("L" if image.channels == 1 else "RGB")
        if image.resize == "crop":
            whole = ImageOps.fit(whole, size, Picture.Resampling.BILINEAR)
        elif image.resize == "pad":
            whole = ImageOps.pad(whole, size, Picture.Resampling.BILINEAR)
        else:
            whole = whole.resize(size, Picture.Resampling.BILINEAR)
        return Fitted(whole.tobytes(), "")
    # Pillow's readers raise whatever a damaged file leads them to.
    except Exception as error:
        return Fitted(b"", " ".join(str(error).split()) or type(error).__name__)


def _file_name(set_name: str) -> str:
    return f"{set_name}.npz"
