"""The files of the split that go into the data bucket: the sets as they are, or the shards that stand for them."""

import os
from collections.abc import Iterator
from pathlib import Path

from container.dataset.outdated import outdated_split
from container.dataset.prepared import PREPARED_SETS, current_files
from container.dataset.recipe import Recipe
from container.dataset.record import CHECKSUMS, RECORD, SETS, Split
from container.errors import DataError
from container.modeling.settings import Settings
from manager.checksums import LocalFile, unreadable
from manager.console import Terminal

# S3's limits: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html and .../upload-objects.html
MOST_KEY_BYTES = 1024
MOST_BYTES = 5 << 30
MB = 1e6


def local_files(settings: Settings, project_root: Path) -> dict[str, LocalFile]:
    """Return the files of the three sets, and the record of the split, by their keys in the data bucket.

    Where there is a folder of prepared sets, its shards stand for the folders of these.

    Raises:
        DataError: the images were not split yet, were prepared otherwise than the settings say, or lie where they
            cannot be read or cannot have a key.
    """
    directory, prepared_directory = project_root / settings.data.sets_path, project_root / settings.data.prepared_path
    Split.read(directory)
    prepared = current_files(directory, prepared_directory, Recipe.of(settings))
    keys = [
        key
        for channel in SETS
        if not (prepared and channel in PREPARED_SETS) and (directory / channel).is_dir()
        for key in _keys(directory, channel)
    ]
    files = [LocalFile.of(prepared_directory, key) for key in prepared]
    files += [LocalFile.of(directory, key) for key in (*keys, RECORD)]
    return {file.key: _checked(file) for file in files}


def warn_if_outdated(settings: Settings, project_root: Path, terminal: Terminal) -> None:
    """Say so where the images are no longer those that were split.

    Raises:
        DataError: the images were not split yet.
    """
    data = settings.data
    if split := outdated_split(data, project_root):
        again = " ".join(("python data_handler.py", *split.dropped_options(data.stable, data.group_by)))
        terminal.warn(
            f"{data.directory} has changed since it was split into {data.sets_path}: run {again} to split it again"
        )


def checksums_file(settings: Settings, project_root: Path) -> Path:
    """Return where the checksums of the sets are remembered."""
    return project_root / settings.data.sets_path / CHECKSUMS


def _keys(directory: Path, inside: str) -> Iterator[str]:
    """Yield the files of a folder by their paths in `directory`, in order; hidden ones are none of ours."""
    try:
        with os.scandir(directory / inside) as found:
            entries = sorted(
                (entry.name, entry.is_dir(follow_symlinks=False), entry.is_file())
                for entry in found
                if not entry.name.startswith(".")
            )
    except OSError as error:
        raise unreadable(directory / inside, error) from None
    for name, is_folder, is_file in entries:
        if is_folder:
            yield from _keys(directory, f"{inside}/{name}")
        elif is_file:
            yield f"{inside}/{name}"


def _checked(file: LocalFile) -> LocalFile:
    try:
        length = len(file.key.encode())
    except UnicodeEncodeError:
        raise DataError(f"{os.fsencode(file.path)!r} is no name in UTF-8, and S3 takes no other: rename it") from None
    if length > MOST_KEY_BYTES:
        raise DataError(
            f"{file.path} has {length:,} bytes in its path within the sets, and S3 takes {MOST_KEY_BYTES:,}: rename it"
        )
    if file.size > MOST_BYTES:
        raise DataError(f"{file.path} has {file.size / MB:,.0f} MB, and S3 takes 5 GB at once: make it smaller")
    return file
