"""Finds sets that somebody has split already: folders such as `train`, `Valid` or `test_images` with class folders."""

import errno
import os
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from container.dataset.image_files import IMAGE_EXTENSIONS
from container.dataset.text import printable
from container.errors import DataError

SPELLINGS: Mapping[str, frozenset[str]] = {
    "training": frozenset({"train", "training", "trn", "learn"}),
    "validation": frozenset({"val", "valid", "validation", "validate", "validating", "dev", "development"}),
    "evaluation": frozenset({"test", "testing", "tst", "eval", "evaluation", "evaluate", "holdout"}),
}
# What may stand behind such a word: train_images, test-set, ValidationData.
ENDINGS = ("images", "image", "dataset", "data", "set", "split")


def set_of(folder: str) -> str | None:
    """Return which set a folder's name means, in any usual spelling; None: none."""
    word = re.sub(r"[\W\d_]+", "", unicodedata.normalize("NFKC", folder)).casefold()
    for ending in ENDINGS:
        if word.endswith(ending) and word != ending:
            word = word.removesuffix(ending)
            break
    return next((name for name, words in SPELLINGS.items() if word in words), None)


def find_sets(directory: Path, is_lenient: bool = False) -> dict[str, str]:
    """Return the folder of each set that lies in a directory, by the set's name; empty: it holds no sets.

    Sets are taken for such if there is one to train with, and its folder holds class folders. A class that is called
    `train` among others, such as `bus`, holds images.

    Args:
        directory: the folder of images.
        is_lenient: a folder to train with that cannot be read is taken for whatever the other folders are.

    Raises:
        DataError: two folders mean the same set, or other folders lie beside the sets.
        OSError: a folder cannot be read.
    """
    folders = subfolders(directory)
    named = {folder: set_of(folder) for folder in folders}
    training = [folder for folder, name in named.items() if name == "training"]
    contents = [_contents(directory / folder, is_lenient) for folder in training]
    if not any(has_folders for has_folders, _ in contents):
        return {}
    if strange := [folder for folder, name in named.items() if name is None]:
        is_class = ""
        if len(strange) + len(training) == len(folders):
            if any(has_images for _, has_images in contents):
                return {}
            is_class = f"; if {printable(training[0])!r} is a class, rename its folder"
        raise DataError(
            f"{directory} holds sets ({', '.join(map(repr, sorted(set(folders) - set(strange))))}), and also "
            f"{printable(strange[0])!r}, which is none: move it elsewhere{is_class}"
        )
    found: dict[str, str] = {}
    for folder, name in named.items():
        if name in found:
            raise DataError(f"{directory} has two {name} sets, {found[name]!r} and {folder!r}: move one elsewhere")
        found[str(name)] = folder
    return found


def subfolders(directory: Path) -> list[str]:
    """Return the names of the folders in a directory that are not hidden, sorted; none if there is no such directory.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith(".") and _is_folder(entry))
    except (FileNotFoundError, NotADirectoryError):
        return []


def holds_images(directory: Path) -> bool:
    """Tell whether images lie in a directory itself, by their names.

    Raises:
        OSError: it cannot be read.
    """
    with os.scandir(directory) as entries:
        return any(entry.name.lower().endswith(IMAGE_EXTENSIONS) for entry in entries)


def _contents(folder: Path, is_lenient: bool) -> tuple[bool, bool]:
    """Return whether a folder holds folders, and whether images; one that cannot be read may hold both."""
    try:
        return bool(subfolders(folder)), holds_images(folder)
    except OSError:
        if not is_lenient:
            raise
        return True, True


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        # Of a link that loops it is known. Another may lead to a folder on a disk that does not answer now.
        return error.errno != errno.ELOOP
