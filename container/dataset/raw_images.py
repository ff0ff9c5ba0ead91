"""Splits images that lie in class folders on S3 by several hosts, none of which sees all of them.

The set of an image follows from its path alone (`assign.stable_part`), so that the hosts agree without knowing of each
other, and images that are added later move none. Copies and near duplicates are not looked for: that would take one
machine that sees all.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from container.dataset.assign import stable_part
from container.dataset.groups import matched_text
from container.dataset.index import NOTHING_LEFT_OUT, LeftOut, NoClassesError, scan
from container.dataset.record import SETS, Fractions
from container.errors import DataError

EVALUATION = "evaluation"
"""The set whose images are kept as they are."""


class RawSplit(BaseModel):
    """How images are divided among the sets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    """Where the class folders lie, as s3://BUCKET/FOLDER/."""
    fractions: Fractions
    seed: int
    group_by: str
    """Images in whose paths it finds the same text, by its first group, come into one set; empty: each by itself."""

    def set_of(self) -> Callable[[str], str]:
        """Return the function from an image's path, CLASS/NAME, to the name of its set."""
        parts = tuple(getattr(self.fractions, name) for name in SETS)
        search = re.compile(self.group_by).search if self.group_by else None

        def find(path: str) -> str:
            match = search(path) if search else None
            return SETS[stable_part(matched_text(match) if match else path, parts, self.seed)]

        return find


def divide(given: Path, split: RawSplit, classes: tuple[str, ...], sets: Path) -> LeftOut:
    """Link the images of which a host was given a share into the sets, which get folders of all classes.

    What is no image comes into none of the sets: the same files as by a split on one machine.

    Args:
        given: holds a sub-folder for each class of which this host was given images; it may be missing.
        split: which image goes where.
        classes: names of all class folders.
        sets: the folder of the sets, which is missing.

    Returns:
        What lies there besides the images.

    Raises:
        DataError: there is a class folder that is not among the classes, or a folder cannot be read.
        OSError: the sets cannot be written.
    """
    for name in SETS:
        for label in classes:
            (sets / name / label).mkdir(parents=True)
    if not given.is_dir():
        return NOTHING_LEFT_OUT
    try:
        scanned = scan(given)
    except NoClassesError:
        # Such as a share of a hidden folder's files.
        return NOTHING_LEFT_OUT
    set_of = split.set_of()
    for folder in scanned.classes:
        if folder.name not in classes:
            raise DataError(f"{split.source} has the class folder {folder.name!r}, which the order does not name")
        for file in folder.files:
            path = folder.path(file)
            target = sets / set_of(path) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(given / path)
    return scanned.left_out


def keep(links: Path, target: Path) -> int:
    """Copy the files that the links in a folder lead to; return how many these are.

    Raises:
        OSError: they cannot be read or written.
    """
    count = 0
    for link in links.rglob("*"):
        if link.is_file():
            file = target / link.relative_to(links)
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(link, file)
            count += 1
    return count
