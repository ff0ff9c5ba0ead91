"""Writes the sets of a split as arrays, one .npz for each, for whoever wants to train elsewhere.

Each holds `images` (uint8, shape (images, height, width, channels), the model's input size), `labels` (int32, positions
in `classes`), `classes` and `names`: what `--ingest` reads, and `numpy.load` too.
"""

import os
import shutil
import zipfile
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageOps

from container.dataset.folders import exclusive, replacement
from container.dataset.index import BadFile, scan
from container.dataset.prepared import split_digest
from container.dataset.processes import in_batches
from container.dataset.progress import Progress
from container.dataset.record import SETS
from container.dataset.shrink import DECODED_SIZE, plain, upright
from container.dataset.text import printable
from container.errors import DataError
from container.modeling.container_settings import Image

BATCH = 16
COPIED_AT_ONCE = 1 << 20


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
        DataError: there is no split, the target holds something else, or a file cannot be read or written.
    """
    split_digest(sets)
    target = Path(os.path.realpath(target))
    with exclusive(target, lambda: progress.start("Waiting for another run to end")):
        if target.exists() and not {path.name for path in target.iterdir()} <= {_file_name(name) for name in SETS}:
            raise DataError(f"{target} holds something else than arrays of sets: move it away")
        with replacement(target) as new:
            try:
                written = [_write(sets / name, new / _file_name(name), image, progress, processes) for name in SETS]
            except BrokenProcessPool:
                raise DataError(
                    "a process that decoded images died: if memory is short, lower preparation.processes"
                ) from None
    return tuple(ArraySet(target / file.name, images, left_out) for file, images, left_out in written)


def fitted_files(files: Sequence[str], image: Image) -> list[Fitted]:
    """Return the pixels of files in the input size."""
    return [_fitted(Path(file), image) for file in files]


def _write(
    source: Path, file: Path, image: Image, progress: Progress, processes: int
) -> tuple[Path, int, tuple[BadFile, ...]]:
    scanned = scan(source, progress.advance)
    names = [f"{folder.name}/{found.name}" for folder in scanned.classes for found in folder.files]
    labels = np.repeat(np.arange(len(scanned.classes)), [len(folder.files) for folder in scanned.classes])
    progress.start(f"Decoding the {source.name} images", len(names))
    kept, left_out = np.ones(len(names), bool), []
    beside = file.with_suffix(".pixels")
    with beside.open("wb") as pixels:
        work = in_batches(partial(fitted_files, image=image), (f"{source}/{name}" for name in names), BATCH, processes)
        for position, fitted in enumerate(work):
            pixels.write(fitted.pixels)
            if fitted.problem:
                kept[position] = False
                left_out.append(BadFile(printable(names[position]), fitted.problem))
            progress.advance()
    shape = (int(kept.sum()), image.height, image.width, image.channels)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as opened:
        _add_pixels(opened, beside, shape)
        _add(opened, "labels", labels[kept].astype(np.int32))
        _add(opened, "classes", np.array([folder.name for folder in scanned.classes], np.str_))
        _add(opened, "names", np.array([name for name, is_kept in zip(names, kept, strict=True) if is_kept], np.str_))
    beside.unlink()
    return file, shape[0], tuple(left_out)


def _add_pixels(opened: zipfile.ZipFile, pixels: Path, shape: tuple[int, ...]) -> None:
    with opened.open("images.npy", "w", force_zip64=True) as member, pixels.open("rb") as source:
        head = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, head)
        shutil.copyfileobj(source, member, COPIED_AT_ONCE)


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
