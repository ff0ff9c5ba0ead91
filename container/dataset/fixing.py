"""Writes a folder of images anew without what a check found: `data_handler.py --check --fix`.

Images that need no change are linked or copied. What is in the way of a clear answer is left out, and named: damaged
files, all but one of the same images, and all of those that lie under several classes. Near duplicates stay, since a
split keeps them together.
"""

import csv
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from container.dataset.filling import link_or_copy
from container.dataset.folders import exclusive, replacement
from container.dataset.inspection import EXTENSIONS, file_of, reason_rule, trouble_of
from container.dataset.labels import LABELS_FILE
from container.dataset.looks import FORMATS, Look, plain_image
from container.dataset.pixels import orientation_of
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
class Mark:
    """What a folder was made from, as its mark tells."""

    fingerprint: str
    """Of the images."""
    class_column: str
    most_pixels: int


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
    mark = Mark(source.fingerprint(), data.class_column, data.most_pixels)
    with exclusive(new_folder, lambda: progress.start("Waiting for another run to end")):
        folder = project / data.check_path
        with memory(folder) as known:
            fixes = _decide(source, data, known)
        unchanged = _is_done(new_folder, mark, source, fixes)
        if not unchanged:
            with replacement(new_folder) as new:
                _write(source, fixes, new, progress)
                (new / MARK).write_text(json.dumps(asdict(mark)), encoding="utf-8")
        fixes += _never_looked_into(source)
        _write_table(folder / TABLE, fixes)
    counts = Counter(fix.what for fix in fixes)
    conflicts = tuple(fix.path for fix in fixes if fix.what == "left out: it lies under several classes")
    return Fixes(counts.pop("", 0), counts, conflicts, unchanged)


def _is_done(folder: Path, mark: Mark, source: ImageSource, fixes: Iterable[Fix]) -> bool:
    """Tell whether the folder holds what is to be written; raise if it holds anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    remedy = "remove it, or name another folder for --fix"
    try:
        is_ours = json.loads((folder / MARK).read_text(encoding="utf-8")) == asdict(mark)
    except (OSError, ValueError):
        is_ours = False
    if not is_ours:
        raise DataError(f"{folder} exists, and was not made from these images with these settings: {remedy}")
    wanted = {fix.target for fix in fixes if fix.target} | ({LABELS_FILE} if source.labels else set())
    present = set(_files(folder))
    if wanted <= present:
        return True
    if added := sorted(present - wanted):
        raise DataError(
            f"{folder} has lost images, and holds others, such as {added[0]!r}, that are not its own: {remedy}"
        )
    return False


def _files(directory: Path) -> Iterator[str]:
    """Yield the paths of all files in a folder that are not hidden."""
    for folder, _, names in os.walk(directory):
        prefix = os.path.relpath(folder, directory)
        yield from (os.path.normpath(f"{prefix}/{name}") for name in names if not name.startswith("."))


def _decide(source: ImageSource, data: Data, known: Memory) -> list[Fix]:
    """Return what becomes of each image, in the order of the source."""
    repeated = _repeated(source, known)
    taken: set[str] = set()
    fixes = []
    for position, (path, _, file) in enumerate(file_of(source.folders)):
        look = known.look(path, file)
        if look is None:
            raise DataError(f"{path!r} is new or has changed since it was checked: run --check --fix again")
        trouble = trouble_of(look, data)
        reason = f"left out: {trouble}" if trouble else repeated.get(position, "")
        fixes.append(Fix(path, "", reason) if reason else _fixed(path, look, taken))
    return fixes


def _never_looked_into(source: ImageSource) -> list[Fix]:
    """Return what tells of the files that are no images of a class, or cannot be read."""
    left_out = [(bad.path, reason_rule(bad.reason)) for bad in source.left_out.bad_files]
    left_out += [(path, "it has no row in labels.csv") for path in source.unlabeled]
    left_out += [(folder, "it has a set's name, but no class folders") for folder in source.without_classes]
    return [Fix(path, "", f"left out: {why}") for path, why in left_out]


def _repeated(source: ImageSource, known: Memory) -> dict[int, str]:
    """Return why images that are the same as others are left out, by position."""
    classes = [folder.name for folder in source.folders for _ in folder.files]
    same = known.alike(source).same
    repeated = {path for group in same for path in group}
    places = {path: position for position, (path, _) in enumerate(source.images()) if path in repeated}
    found: dict[int, str] = {}
    for group in same:
        members = sorted(places[path] for path in group)
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
    is_encoded = bool(changes)
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
    if number:
        changes.append("renamed")
    taken.add(target.casefold())
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
    try:
        for _ in in_batches(encode_anew, encoded, BATCH):
            progress.advance()
    except (BrokenProcessPool, MemoryError):
        raise DataError(
            "a process died while it wrote images anew: free memory, or lower data.most_pixels, and run --check --fix "
            "again"
        ) from None
    if source.labels:
        targets = {fix.path: fix.target for fix in fixes}
        rows = source.labels.match(targets).by_image
        source.labels.write(new, ((targets[path], row) for path, row in rows.items() if targets[path]))


def encode_anew(files: Sequence[tuple[str, str]]) -> list[None]:
    """Write images upright, with one frame, in 8 bits of RGB, or RGBA where they are transparent.

    Args:
        files: where each lies, and where it goes, with the extension of JPEG or PNG.
    """
    for path, target in files:
        with Image.open(path, formats=FORMATS) as image:
            pixels = plain_image(image, orientation_of(image))
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
