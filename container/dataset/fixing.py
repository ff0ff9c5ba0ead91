"""Writes a folder of images anew without what a check found: `data_handler.py --check --fix`.

Images that need no change are linked or copied. What is in the way of a clear answer is left out, and named: damaged
files, all but the first of the same images, and all of those that lie under several classes. Near duplicates stay,
since a split keeps them together.
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
from container.dataset.findings import RULES
from container.dataset.folders import exclusive, is_of_system, overlap, replacement
from container.dataset.image_files import IMAGE_EXTENSIONS
from container.dataset.index import FIXED
from container.dataset.inspection import EXTENSIONS, file_of, look_findings, reason_rule, trouble_of
from container.dataset.labels import LABELS_FILE
from container.dataset.looks import FORMATS, Look, plain_image
from container.dataset.pixels import orientation_of
from container.dataset.processes import in_batches
from container.dataset.progress import Progress
from container.dataset.remembered import Memory, memory
from container.dataset.source import MOST_NAME_BYTES, ImageSource, read_source
from container.dataset.text import printable
from container.errors import DataError
from container.modeling.settings import Data

TABLE = "fixes.csv"
# Of photos that are encoded anew: https://pillow.readthedocs.io/en/stable/handbook/image-file-formats.html#jpeg-saving.
JPEG_QUALITY = 95
# What is no such thing behind a dot, as the number in `patient.001`, stays in the name.
REPLACED_EXTENSIONS = (*IMAGE_EXTENSIONS, ".jfif", ".jpe")
BATCH = 8
REMEDY = "remove it, or name another folder for --fix"
LEFT_OUT = "left out: "
REPEATED = f"{LEFT_OUT}the same image as another one, which stays"
IN_TWO_CLASSES = f"{LEFT_OUT}{RULES['two_classes'].title}"


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
    """In words, for the table; empty: it stays as it is."""
    is_encoded: bool = False
    """Whether its pixels are written anew."""
    counted_as: str = ""
    """What is counted with it; empty: what has the same words."""


def fix_images(data: Data, project: Path, target: Path, progress: Progress) -> Fixes:
    """Write the images of `data.directory`, which were checked, into a new folder.

    Raises:
        DataError: the folder holds something else, cannot be written, or the images were not checked.
    """
    new_folder = _place(data, project, target)
    source, mark = _read(data, project, progress)
    with exclusive(new_folder, lambda: progress.start("Waiting for another run to end")):
        folder = project / data.check_path
        with memory(folder) as known:
            fixes = _decide(source, data, known)
        unchanged = _is_done(new_folder, mark, source, fixes)
        if not unchanged:
            with replacement(new_folder) as new:
                _write(source, fixes, new, progress)
                (new / FIXED).write_text(json.dumps(asdict(mark)), encoding="utf-8")
        fixes += _never_looked_into(source)
        _write_table(folder / TABLE, fixes)
    counts = Counter(fix.counted_as or fix.what for fix in fixes)
    conflicts = tuple(fix.path for fix in fixes if fix.counted_as == IN_TWO_CLASSES)
    return Fixes(counts.pop("", 0), counts, conflicts, unchanged)


def check_target(data: Data, project: Path, target: Path, progress: Progress) -> None:
    """Look whether `fix_images` may write into a folder, so that this need not be found out after a long check.

    Raises:
        DataError: the folder holds something else, or there are no images.
    """
    folder = _place(data, project, target)
    if _is_free(folder):
        return
    if not (folder / FIXED).is_file():
        raise _not_ours(folder)
    _check_mark(folder, _read(data, project, progress)[1])


def _place(data: Data, project: Path, target: Path) -> Path:
    """Return where the new folder is to lie."""
    images, folder = Path(os.path.realpath(project / data.directory)), Path(os.path.realpath(target))
    if overlap(images, folder):
        raise DataError(f"the images ({images}) and what is written ({folder}) would lie one in the other")
    return folder


def _read(data: Data, project: Path, progress: Progress) -> tuple[ImageSource, Mark]:
    progress.start("Looking for images")
    directory = project / data.directory
    source = read_source(directory, data.class_column, progress.advance, looks_inside=False, is_lenient=True)
    return source, Mark(source.fingerprint(), data.class_column, data.most_pixels)


def _is_free(folder: Path) -> bool:
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


def _check_mark(folder: Path, mark: Mark) -> None:
    try:
        is_ours = json.loads((folder / FIXED).read_text(encoding="utf-8")) == asdict(mark)
    except (OSError, ValueError):
        is_ours = False
    if not is_ours:
        raise _not_ours(folder)


def _not_ours(folder: Path) -> DataError:
    return DataError(f"{folder} exists, and was not made from these images with these settings: {REMEDY}")


def _is_done(folder: Path, mark: Mark, source: ImageSource, fixes: Iterable[Fix]) -> bool:
    """Tell whether the folder holds what is to be written; raise if it holds anything else."""
    if _is_free(folder):
        return False
    _check_mark(folder, mark)
    wanted = {fix.target for fix in fixes if fix.target} | ({LABELS_FILE} if source.labels else set())
    present = set(_files(folder))
    if wanted <= present:
        return True
    if added := sorted(present - wanted):
        raise DataError(
            f"{folder} has lost images, and holds others, such as {added[0]!r}, that are not its own: {REMEDY}"
        )
    return False


def _files(directory: Path) -> Iterator[str]:
    """Yield the paths of all files in a folder, but for the mark and what systems leave."""
    for folder, _, names in os.walk(directory):
        prefix = os.path.relpath(folder, directory)
        paths = (os.path.normpath(f"{prefix}/{name}") for name in names if not is_of_system(name))
        yield from (path for path in paths if path != FIXED)


def _decide(source: ImageSource, data: Data, known: Memory) -> list[Fix]:
    """Return what becomes of each image, in the order of the source."""
    repeated = _repeated(source, known)
    taken: set[str] = set()
    fixes = []
    for position, (path, class_name, file) in enumerate(file_of(source.folders)):
        look = known.look(path, file)
        if look is None:
            raise DataError(f"{path!r} is new or has changed since it was checked: run --check --fix again")
        if trouble_of(look, data):
            found = next(look_findings(path, class_name, look, data))
            fixes.append(_left_out(path, found.rule, found.detail))
        else:
            fixes.append(repeated.get(position) or _fixed(path, look, taken))
    return fixes


def _left_out(path: str, rule: str, why: str) -> Fix:
    return Fix(path, "", f"{LEFT_OUT}{why}", counted_as=f"{LEFT_OUT}{RULES[rule].title}")


def _never_looked_into(source: ImageSource) -> list[Fix]:
    """Return what tells of the files that are no images of a class, or cannot be read."""
    left_out = [_left_out(bad.path, reason_rule(bad.reason), bad.reason) for bad in source.left_out.bad_files]
    left_out += [_left_out(path, "unlabeled", f"it has no row in {LABELS_FILE}") for path in source.unlabeled]
    why = f"{LEFT_OUT}it has a set's name, but no class folders"
    return left_out + [Fix(folder, "", why) for folder in source.without_classes]


def _repeated(source: ImageSource, known: Memory) -> dict[int, Fix]:
    """Return what becomes of images that are left out since they are the same as others, by position."""
    classes = [folder.name for folder in source.folders for _ in folder.files]
    same = known.alike(source).same
    repeated = {path for group in same for path in group}
    places = {path: position for position, (path, _) in enumerate(source.images()) if path in repeated}
    found: dict[int, Fix] = {}
    for group in same:
        first, *others = sorted(group, key=places.__getitem__)
        names = {path: classes[places[path]] for path in group}
        stranger = next((path for path in others if names[path] != names[first]), None)
        for path in [first, *others] if stranger else others:
            if stranger:
                other = stranger if names[path] == names[first] else first
                why, counted_as = f"the same pixels as {other}, which is of another class", IN_TWO_CLASSES
            else:
                why, counted_as = f"the same pixels as {first}, which stays", REPEATED
            found[places[path]] = Fix(path, "", f"{LEFT_OUT}{why}", counted_as=counted_as)
    return found


def _fixed(path: str, look: Look, taken: set[str]) -> Fix:
    changes = [
        what
        for what, is_so in (
            ("first frame", look.is_animated),
            ("made RGB", look.mode == "CMYK"),
            ("8 bits", look.bits > 8),
            ("upright", look.orientation != 1),
        )
        if is_so
    ]
    is_encoded = bool(changes)
    wanted = PurePosixPath(path)
    # A photo stays one; what else is encoded anew loses nothing as PNG.
    suffixes = EXTENSIONS[look.format] if not changes or look.format == "JPEG" else EXTENSIONS["PNG"]
    name, suffix = wanted.name, wanted.suffix
    if suffix.strip().lower() in REPLACED_EXTENSIONS:
        name = name.removesuffix(suffix)
    if suffix.lower() not in suffixes:
        suffix = suffixes[0]
        changes.append(f"extension {suffix}")
    target, number = _target(wanted.parent, name, suffix), 0
    while target.casefold() in taken:
        number += 1
        target = _target(wanted.parent, name, f"-{number}{suffix}")
    if target != str(wanted.parent / (name + suffix)):
        changes.append("renamed")
    taken.add(target.casefold())
    return Fix(path, target, ", ".join(changes), is_encoded)


def _target(folder: PurePosixPath, name: str, ending: str) -> str:
    """Return the path of a file, whose name is cut where it would be too long with its ending."""
    short = name.encode()[: MOST_NAME_BYTES - len(ending)].decode(errors="ignore")
    return str(folder / (short + ending))


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
        for fix in sorted(fixes, key=lambda fix: fix.path):
            if fix.what:
                writer.writerow((printable(fix.path), printable(fix.what), printable(fix.target)))
    incomplete.replace(file)
