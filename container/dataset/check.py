"""Looks at every image of a folder and tells what is wrong: `data_handler.py --check`. Changes none of them."""

import itertools
import os
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from container.dataset.comparing import compare_images
from container.dataset.findings import RULES, Finding, Findings
from container.dataset.folders import exclusive, overlap
from container.dataset.image_files import HEAD_BYTES, IMAGE_EXTENSIONS, NOT_UNICODE, ImageFile, is_image
from container.dataset.index import ClassFolder
from container.dataset.inspection import (
    class_findings,
    file_of,
    look_findings,
    name_findings,
    reason_rule,
    trouble_of,
)
from container.dataset.labels import IMAGE_COLUMN
from container.dataset.looks import Look, look_at_files
from container.dataset.processes import in_batches
from container.dataset.progress import Progress
from container.dataset.remembered import Memory, memory
from container.dataset.source import ImageSource, read_source
from container.errors import DataError
from container.modeling.settings import Data

TABLE = "findings.csv"
# Images that a process gets at once, and after how many what was found is written down.
BATCH, KEPT_EVERY = 16, 512


@dataclass(frozen=True)
class CheckOutcome:
    """What `check_images` found."""

    source: ImageSource
    folder: Path
    """Holds the table, and what is remembered."""
    decoded: int
    """Images that were decoded now; the others were known."""
    counts: Counter[str]
    """Of the findings, by their rules' keys."""
    shown: dict[str, list[Finding]]
    """The first findings of each rule."""

    @property
    def images(self) -> int:
        """Files that were looked into: those with an image's extension, or an image's first bytes."""
        return sum(len(folder.files) for folder in self.source.folders)

    @property
    def problems(self) -> int:
        """Findings of the serious kind."""
        return sum(count for key, count in self.counts.items() if RULES[key].level == "problem")


def check_images(data: Data, project: Path, progress: Progress) -> CheckOutcome:
    """Decode every image of `data.directory`; write what is wrong into the folder `data.check_path`.

    Both are relative to the project's folder. What was decoded before, and has not changed, is not decoded again.

    Raises:
        DataError: there are no images, or the folder cannot be written.
    """
    directory, folder = project / data.directory, Path(os.path.realpath(project / data.check_path))
    _check_place(directory, folder)
    progress.start("Looking for images")
    source = read_source(directory, data.class_column, progress.advance, looks_inside=False, is_lenient=True)
    with exclusive(folder, lambda: progress.start("Waiting for another run to end")):
        folder.mkdir(exist_ok=True)
        incomplete = folder / f".{TABLE}.incomplete"
        with memory(folder) as known:
            decoded = _decode(source, data, known, progress)
            with incomplete.open("w", encoding="utf-8", newline="") as file:
                findings = Findings(file)
                _tell(source, data, known, findings, progress)
        incomplete.replace(folder / TABLE)
    return CheckOutcome(source, folder, decoded, findings.counts, findings.shown)


def _check_place(directory: Path, folder: Path) -> None:
    images = Path(os.path.realpath(directory))
    if overlap(images, folder):
        raise DataError(
            f"the images ({images}) and what is found of them ({folder}) would lie one in the other: set "
            "data.check_directory"
        )


def _decode(source: ImageSource, data: Data, known: Memory, progress: Progress) -> int:
    """Decode what is not known; return how many images that were."""
    new = [
        position
        for position, (path, file) in enumerate(source.images())
        if not known.is_known(path, file, data.most_pixels)
    ]
    progress.start("Decoding images", len(new))
    done = 0
    files = source.images_at(new)
    try:
        looks = in_batches(
            partial(look_at_files, most_pixels=data.most_pixels),
            (f"{source.directory}/{path}" for path, _ in source.images_at(new)),
            BATCH,
        )
        for (path, file), look in zip(files, looks, strict=True):
            known.remember(path, file, look)
            done += 1
            if done % KEPT_EVERY == 0:
                known.keep()
            progress.advance()
    except BrokenProcessPool:
        path, _ = next(source.images_at(new[done:]))
        raise DataError(
            f"a process died while it decoded {path!r} or an image soon after: move that one away, or free memory; the "
            "next run goes on from here"
        ) from None
    except MemoryError:
        raise DataError(
            "there is not enough memory to decode an image: free some, or lower data.most_pixels; the next run goes on "
            "from here"
        ) from None
    finally:
        known.keep()
    return done


def _tell(source: ImageSource, data: Data, known: Memory, findings: Findings, progress: Progress) -> None:
    """Write all findings, and remember which images are alike."""
    progress.start("Writing what was found")
    for finding in itertools.chain(_left_out(source), _of_single_images(source, data, known)):
        findings.add(finding)
    progress.start("Comparing images")
    images = _Images(source)
    alike = compare_images(source, known, len(images), progress)
    for group in alike.same:
        findings.add_group(*_described(images, group, "same", "the same pixels as"))
    for group in alike.near:
        findings.add_group(*_described(images, group, "near", "nearly the same as"))
    known.conclude(
        source.images(),
        ([images.file(position) for position in group] for group in alike.same),
        # The first ones may be gone, or be no images to a split, when it asks.
        ([images.file(position) for position in group] for group in alike.whole_near()),
    )


def _of_single_images(source: ImageSource, data: Data, known: Memory) -> Iterator[Finding]:
    """Yield what is wrong with images for themselves, with the classes as a split takes them, and with labels.csv."""
    left = set()
    for path, class_name, file in file_of(source.folders):
        look = known.look(path, file)
        assert look
        if not _is_taken(f"{source.directory}/{path}", look):
            left.add(path)
        yield from look_findings(path, class_name, look, data)
        yield from name_findings(path, class_name, has_pixels=not trouble_of(look, data))
    yield from class_findings(_counts(source, left), source.is_split)
    yield from _label_findings(source, left)


def _is_taken(path: str, look: Look) -> bool:
    """Tell whether a split would take a file for an image, by its extension and its first bytes alone."""
    if not path.lower().endswith(IMAGE_EXTENSIONS):
        return False
    if look.trouble in ("", "too_many_pixels"):
        return True
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return is_image(file.read(HEAD_BYTES))
    except OSError:
        return False


def _counts(source: ImageSource, left: Container[str]) -> dict[str, Counter[str]]:
    """Return how many images each class has in each set, but for those that a split leaves out."""
    counts: dict[str, Counter[str]] = {}
    for given in source.sets:
        for folder in given.classes:
            count = sum(folder.path(file) not in left for file in folder.files)
            counts.setdefault(folder.name, Counter())[given.name] += count
    return counts


def _label_findings(source: ImageSource, left: Container[str]) -> Iterator[Finding]:
    """Yield what is wrong with the rows of labels.csv, to a split that leaves some images out."""
    labels = source.labels
    if labels is None:
        return
    try:
        rows = labels.match([path for path, _ in source.images() if path not in left])
    except DataError as error:
        yield Finding("wrong_labels", labels.file.name, "", str(error).removeprefix(f"{labels.file}, "))
        return
    position = labels.columns.index(IMAGE_COLUMN)
    for row in rows.unmatched:
        yield Finding("unmatched_row", row.cells[position], "", f"line {row.line} of {labels.file.name}")


class _Images:
    """The images of a source, by position."""

    def __init__(self, source: ImageSource) -> None:
        self.sets = [given.name for given in source.sets for _ in given.classes]
        self.folders: tuple[ClassFolder, ...] = source.folders
        self.starts = np.cumsum([0, *(len(folder.files) for folder in self.folders)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def place(self, position: int) -> tuple[int, int]:
        """Return an image's folder and its position there."""
        folder = int(np.searchsorted(self.starts, position, side="right")) - 1
        return folder, position - int(self.starts[folder])

    def file(self, position: int) -> tuple[str, ImageFile]:
        """Return an image's path, and the image."""
        folder, place = self.place(position)
        file = self.folders[folder].files[place]
        return self.folders[folder].path(file), file


def _described(images: _Images, group: Sequence[int], kind: str, words: str) -> tuple[str, list[tuple[str, str, str]]]:
    """Return the rule that a group of images breaks, and of each its path, its class and what it is like."""
    folders = [images.place(position)[0] for position in group]
    classes = [images.folders[folder].name for folder in folders]
    rule = "same_image" if kind == "same" else "near_image"
    prefix = "" if kind == "same" else "near_"
    if len(set(classes)) > 1:
        rule = f"{prefix}two_classes"
    elif len({images.sets[folder] for folder in folders}) > 1:
        rule = f"{prefix}two_sets"
    paths = [images.file(position)[0] for position in group]
    # The first one is told of by the second.
    others = [paths[1], *[paths[0]] * (len(paths) - 1)]
    return rule, [(path, name, f"{words} {other}") for path, name, other in zip(paths, classes, others, strict=True)]


def _left_out(source: ImageSource) -> Iterator[Finding]:
    """Yield what lies in the folder and is no image that could be looked into."""
    classes = {folder.folder: folder.name for folder in source.folders}

    def class_of(path: str) -> str:
        # Of sets that exist, a class folder lies in the folder of its set.
        return classes.get("/".join(path.split("/")[: 1 + source.is_split]), "")

    for bad in source.left_out.bad_files:
        yield Finding(reason_rule(bad.reason), bad.path, class_of(bad.path), bad.reason)
        if bad.reason != NOT_UNICODE:
            yield from name_findings(bad.path, class_of(bad.path))
    for path in source.repeated_folders:
        yield Finding(
            "repeated_folder", path, class_of(path), "a link to a folder that was seen already, or to one above"
        )
    if source.unlabeled:
        assert source.labels
        yield Finding(
            "unlabeled", source.labels.file.name, "", f"{len(source.unlabeled):,} images have no row, and are left out"
        )
    for folder in source.without_classes:
        yield Finding("unlabeled", folder, "", "it has a set's name, but no class folders, and is left out")
