"""Writes a folder of images anew without what a check found: `data_handler.py --check --fix`.

Images that need no change are linked or copied. What is in the way of a clear answer is left out: damaged files, all
but one of the same images, and all of those that lie under several classes. Near duplicates stay, since a split keeps
them together.
"""

import csv
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from container.dataset.duplicates import same_images
from container.dataset.filling import link_or_copy
from container.dataset.folders import exclusive, replacement
from container.dataset.inspection import EXTENSIONS, file_of
from container.dataset.looks import DIGEST_BYTES, FORMATS, PICTURE_BYTES, Look, plain_image
from container.dataset.processes import in_batches
from container.dataset.progress import Progress
from container.dataset.remembered import Memory, memory
from container.dataset.source import ImageSource, read_source
from container.dataset.text import printable
from container.errors import DataError
from container.modeling.settings import Data

TABLE = "fixes.csv"
# Lies in the new folder, hidden, and tells what it was made from.
MARK = ".fixed.json"
# Of photos that are encoded anew: https://pillow.readthedocs.io/en/stable/handbook/image-file-formats.html#jpeg-saving.
JPEG_QUALITY = 95
BATCH = 8


@dataclass(frozen=True)
class Fixes:
    """What `fix_images` did."""

    kept: int
    """Images as they were."""
    counts: Counter[str]
    """Of what was done to the others."""
    left_out: tuple[str, ...]
    """The first images that were left out since they lie under several classes."""
    unchanged: bool
    """Whether the folder was there already."""


@dataclass(frozen=True, slots=True)
class Fix:
    """What is to become of an image."""

    path: str
    target: str
    """Its path in the new folder; empty: it is left out."""
    what: str
    """Empty: it stays as it is."""
    is_encoded: bool = False
    """Whether its pixels are written anew."""


def fix_images(data: Data, project: Path, target: Path, progress: Progress) -> Fixes:
    """Write the images of `data.directory`, which were checked, into a new folder.

    Raises:
        DataError: the folder holds something else, cannot be written, or the images were not checked.
    """
    directory, new_folder = project / data.directory, Path(os.path.realpath(target))
    images = Path(os.path.realpath(directory))
    if images == new_folder or images in new_folder.parents or new_folder in images.parents:
        raise DataError(f"the images ({images}) and what is written ({new_folder}) would lie one in the other")
    progress.start("Looking for images")
    source = read_source(directory, data.class_column, progress.advance, looks_inside=False, is_lenient=True)
    fingerprint = source.fingerprint()
    with exclusive(new_folder):
        unchanged = _is_done(new_folder, fingerprint)
        folder = project / data.check_path
        with memory(folder) as known:
            fixes = _decide(source, data, known)
        if not unchanged:
            with replacement(new_folder) as new:
                _write(source, fixes, new, progress)
                (new / MARK).write_text(json.dumps({"fingerprint": fingerprint}), encoding="utf-8")
        _write_table(folder / TABLE, fixes)
    counts = Counter(fix.what for fix in fixes)
    conflicts = tuple(fix.path for fix in fixes if fix.what == "left out: it lies under several classes")
    return Fixes(counts.pop("", 0), counts, conflicts, unchanged)


def _is_done(folder: Path, fingerprint: str) -> bool:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        if json.loads((folder / MARK).read_text(encoding="utf-8"))["fingerprint"] == fingerprint:
            return True
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise DataError(f"{folder} exists, and was not made from these images: remove it, or name another folder for --fix")


def _decide(source: ImageSource, data: Data, known: Memory) -> list[Fix]:
    """Return what becomes of each image, in the order of the source."""
    repeated = _repeated(source, known)
    taken: set[str] = set()
    fixes = []
    for position, (path, _, file) in enumerate(file_of(source.folders)):
        look = known.look(path, file)
        if look is None:
            raise DataError(f"{path!r} is new or has changed since it was checked: run --check --fix again")
        reason = repeated.get(position, "")
        if look.trouble or look.width * look.height > data.most_pixels:
            reason = f"left out: {look.trouble or 'too_many_pixels'}"
        fixes.append(Fix(path, "", reason) if reason else _fixed(path, look, taken))
    return fixes


def _repeated(source: ImageSource, known: Memory) -> dict[int, str]:
    """Return why images that are the same as others are left out, by position."""
    classes = [folder.name for folder in source.folders for _ in folder.files]
    digests, pictures = (np.zeros((len(classes), width), np.uint8) for width in (DIGEST_BYTES, PICTURE_BYTES))
    known.fill(source.images(), digests, pictures)
    with_pixels = np.flatnonzero(digests.any(axis=1))
    found: dict[int, str] = {}
    for group in same_images(digests[with_pixels]):
        members = [int(with_pixels[place]) for place in group]
        if len({classes[member] for member in members}) > 1:
            found |= dict.fromkeys(members, "left out: it lies under several classes")
        else:
            found |= dict.fromkeys(members[1:], "left out: the same image is there already")
    return found


def _fixed(path: str, look: Look, taken: set[str]) -> Fix:
    changes = [
        what
        for what, is_so in (
            ("first frame", look.is_animated),
            ("RGB", look.mode == "CMYK"),
            ("8 bits", look.bits > 8),
            ("upright", look.orientation != 1),
        )
        if is_so
    ]
    wanted = PurePosixPath(path)
    # A photo stays one; what else is encoded anew loses nothing as PNG.
    suffixes = EXTENSIONS[look.format] if not changes or look.format == "JPEG" else EXTENSIONS["PNG"]
    stem, suffix = str(wanted.with_suffix("")), wanted.suffix
    if suffix.lower() not in suffixes:
        suffix = suffixes[0]
        changes.append(f"extension {suffix}")
    target, number = stem + suffix, 0
    while target.casefold() in taken:
        number += 1
        target = f"{stem}-{number}{suffix}"
    taken.add(target.casefold())
    is_encoded = bool(changes) and not (len(changes) == 1 and changes[0].startswith("extension"))
    return Fix(path, target, ", ".join(changes), is_encoded)


def _write(source: ImageSource, fixes: Sequence[Fix], new: Path, progress: Progress) -> None:
    progress.start("Writing images", len(fixes))
    made: set[str] = set()
    encoded: list[tuple[str, str]] = []
    for fix, (path, file) in zip(fixes, source.images(), strict=True):
        if fix.target:
            target = f"{new}/{fix.target}"
            if (folder := target.rpartition("/")[0]) not in made:
                Path(folder).mkdir(parents=True, exist_ok=True)
                made.add(folder)
            if fix.is_encoded:
                encoded.append((f"{source.directory}/{path}", target))
                continue
            link_or_copy(file, f"{source.directory}/{path}", target)
        progress.advance()
    for _ in in_batches(encode_anew, encoded, BATCH):
        progress.advance()
    if source.labels:
        targets = {fix.path: fix.target for fix in fixes}
        rows = source.labels.match(targets).by_image
        source.labels.write(new, {targets[path]: row for path, row in rows.items() if targets[path]})


def encode_anew(files: Sequence[tuple[str, str]]) -> list[None]:
    """Write images upright, with one frame, in 8 bits of RGB, or RGBA where they are transparent.

    Args:
        files: where each lies, and where it goes, with the extension of JPEG or PNG.
    """
    for path, target in files:
        with Image.open(path, formats=FORMATS) as image:
            orientation = image.getexif().get(0x0112, 1)
            pixels = plain_image(image, orientation)
        pixels.info = {}
        pixels.save(target, quality=JPEG_QUALITY)
    return [None] * len(files)


def _write_table(file: Path, fixes: Iterable[Fix]) -> None:
    incomplete = file.with_name(f".{file.name}.incomplete")
    with incomplete.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(("path", "what", "target"))
        writer.writerows((printable(fix.path), fix.what, printable(fix.target)) for fix in fixes if fix.what)
    incomplete.replace(file)
