"""The images of a set that was prepared: which there are, and where in its shards each lies."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from container.dataset.prepared import INDEX, SetIndex
from container.dataset.recipe import Recipe
from container.dataset.shards import SUFFIX, ShardIndex
from container.errors import DataError

READ_AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class ShardedFolder:
    """The labeled images in a folder's shards, in an order that the folder of the originals would have."""

    directory: Path
    classes: tuple[str, ...]
    recipe: Recipe
    names: tuple[str, ...]
    """Each image's path inside the folder of the originals."""
    labels: NDArray[np.int32]
    """Position of each image's class, shape (images,)."""
    files: tuple[Path, ...]
    """The shards."""
    file_of: NDArray[np.int32]
    """Position of each image's shard, shape (images,)."""
    offsets: NDArray[np.int64]
    """Where in it the encoded image begins, shape (images,)."""
    lengths: NDArray[np.int64]
    """Its bytes, shape (images,)."""
    listed: int
    """Images that index.json lists; 0 where it is on another host."""

    def __len__(self) -> int:
        return len(self.names)

    def content(self, position: int) -> bytes:
        """Return the encoded image at a position.

        Raises:
            OSError: the shard cannot be read, or is shorter than it was.
        """
        return read_range(self.files[self.file_of[position]], int(self.offsets[position]), int(self.lengths[position]))


def holds_shards(directory: Path) -> bool:
    """Tell whether a folder holds shards, or a part of a set of them, rather than class folders."""
    return any(path.suffix == SUFFIX or path.name == INDEX for path in directory.iterdir())


def index_shards(
    directory: Path, classes: tuple[str, ...] | None = None, *, is_share: bool = False, as_stored: bool = False
) -> ShardedFolder:
    """Return the images in a folder's shards.

    Args:
        directory: the folder.
        classes: those that labels are to count in; None: the set's own.
        is_share: whether the folder holds some of the set's shards only.
        as_stored: whether the images come in the order in which they lie in the shards, and not class by class, by
            name within each.

    Raises:
        DataError: a shard is missing or damaged, shards do not belong together, there are class folders beside them, or
            a class that is not among those given.
    """
    remedy = "upload the prepared images again by --init_s3_buckets --prune"
    for path in directory.iterdir():
        if path.is_dir() and not path.name.startswith("."):
            raise DataError(f"{directory} holds shards and also a folder {path.name!r}: {remedy}")
    index, files = SetIndex.read(directory), tuple(sorted(directory.glob(f"*{SUFFIX}")))
    if not is_share:
        _check_complete(directory, index, files, remedy)
    if not files:
        raise DataError(
            f"{directory} holds no shard: there are fewer than hosts; prepare the images again with this "
            "training_job.instance_count and data_distribution, and upload them"
        )
    # Where they are fetched, each takes the time of some requests.
    with ThreadPoolExecutor(READ_AT_ONCE) as threads:
        indexes = list(threads.map(ShardIndex.read, files))
    for file, shard in zip(files, indexes, strict=True):
        if (shard.recipe, shard.classes) != (indexes[0].recipe, indexes[0].classes):
            raise DataError(f"{file} and {files[0].name} are of different preparations: {remedy}")
    own = indexes[0].classes
    if classes is not None and (unknown := [name for name in own if name not in classes]):
        raise DataError(f"{directory} has a class {unknown[0]!r}, but the classes are {', '.join(map(repr, classes))}")
    return _put_together(directory, files, indexes, classes or own, as_stored, index.images if index else 0)


def read_range(file: Path, offset: int, length: int) -> bytes:
    """Return a part of a file.

    Raises:
        OSError: it cannot be read, or ends before.
    """
    with file.open("rb", buffering=0) as opened:
        opened.seek(offset)
        content = b""
        while len(content) < length:
            part = opened.read(length - len(content))
            if not part:
                raise OSError(f"{file} ends before the image at {offset}")
            content = content + part if content else part
    return content


def _check_complete(directory: Path, index: SetIndex | None, files: tuple[Path, ...], remedy: str) -> None:
    if index is None:
        raise DataError(f"{directory} holds shards without their {INDEX}: {remedy}")
    listed, found = {shard.name for shard in index.shards}, {file.name for file in files}
    if missing := sorted(listed - found):
        raise DataError(f"{directory} lacks the shard {missing[0]} that its {INDEX} lists: {remedy}")
    if more := sorted(found - listed):
        raise DataError(f"{directory} holds the shard {more[0]}, which its {INDEX} does not list: {remedy}")


def _put_together(
    directory: Path,
    files: tuple[Path, ...],
    indexes: list[ShardIndex],
    classes: tuple[str, ...],
    as_stored: bool,
    listed: int,
) -> ShardedFolder:
    positions = np.array([classes.index(name) for name in indexes[0].classes], np.int32)
    labels = positions[np.concatenate([np.array(shard.labels, np.int32) for shard in indexes])]
    names = [name for shard in indexes for name in shard.names]
    order = list(range(len(names)))
    if not as_stored:
        order.sort(key=lambda position: (labels[position], names[position]))
    return ShardedFolder(
        directory=directory,
        classes=classes,
        recipe=indexes[0].recipe,
        names=tuple(names[position] for position in order),
        labels=labels[order],
        files=files,
        file_of=np.repeat(np.arange(len(files), dtype=np.int32), [len(shard.names) for shard in indexes])[order],
        offsets=np.concatenate([np.array(shard.offsets, np.int64) for shard in indexes])[order],
        lengths=np.concatenate([np.array(shard.lengths, np.int64) for shard in indexes])[order],
        listed=listed,
    )
