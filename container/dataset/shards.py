"""Shards: files of records that hold a set's images, each with an index of its own images at its end.

To TensorFlow a shard is a TFRecord file of `tf.train.Example`, with the features `image/encoded`, `image/filename`,
`image/class/label` and `image/class/text`. The last record has one more, `shard/index`: as Parquet keeps its metadata
at a file's end, so that whoever has a shard, and nothing else of its set, can read any image of it at once.
"""

import hashlib
import os
import re
import struct
import zlib
from pathlib import Path
from typing import IO, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from container.dataset.recipe import Recipe
from container.dataset.tfrecord import CHECKSUM_BYTES, HEADER_BYTES, example, frame
from container.errors import DataError

SUFFIX = ".tfrecord"
BEING_WRITTEN = ".being-written"
# The last thing in the last record: how many bytes the index has, and what it is known by.
TAIL = struct.Struct("<Q8s")
MAGIC = b"shardidx"
INDEX_FEATURE = "shard/index"
# No index of some 200 MB of images is larger; a damaged file may claim anything.
MOST_INDEX_BYTES = 1 << 28


class Original(NamedTuple):
    """An image before it is prepared. A tuple, because there are many."""

    place: bytes
    """Where it stands in its set, among all others: a digest of its name."""
    label: int
    """Position of its class."""
    name: str
    """Path inside the set."""
    size: int
    """Bytes."""
    modified: int
    """Nanoseconds since the epoch."""


class ShardIndex(BaseModel):
    """Which images a shard holds, and where; all but the first two are as long as there are images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    recipe: Recipe
    classes: tuple[str, ...] = Field(min_length=1)
    """Of the whole set."""
    problems: dict[str, str] = {}
    """Why an image could not be decoded, by its name; it is there as it was."""
    names: tuple[str, ...] = Field(min_length=1)
    labels: tuple[int, ...]
    offsets: tuple[int, ...]
    """Where the encoded image begins in the file."""
    lengths: tuple[int, ...]
    """Bytes of the encoded image."""
    sizes: tuple[int, ...]
    """Bytes of the original."""
    modified: tuple[int, ...]
    """When the original was changed, in nanoseconds since the epoch."""

    @model_validator(mode="after")
    def _columns_fit_together(self) -> Self:
        columns = (self.labels, self.offsets, self.lengths, self.sizes, self.modified)
        if any(len(column) != len(self.names) for column in columns):
            raise ValueError("the columns differ in length")
        if not all(0 <= label < len(self.classes) for label in self.labels):
            raise ValueError("a label is that of no class")
        return self

    @classmethod
    def read(cls, shard: Path) -> Self:
        """Return the index at the end of a shard.

        Raises:
            DataError: it has none, or cannot be read.
        """
        remedy = "prepare the images again by python data_handler.py --prepare, and upload them"
        try:
            with shard.open("rb") as file:
                return cls.model_validate_json(zlib.decompress(_end_of(file)))
        except OSError as error:
            raise DataError(f"{shard} cannot be read: {error.strerror or error}") from None
        except (ValueError, zlib.error):
            raise DataError(f"{shard} has no index at its end: it is cut off, or made otherwise; {remedy}") from None

    def originals(self) -> list[tuple[str, int, int]]:
        """Return name, size and time of change of each image's original."""
        return list(zip(self.names, self.sizes, self.modified, strict=True))


class Shard(BaseModel):
    """A shard, as the index of its set knows it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[\w-]+\.tfrecord$")
    images: int
    bytes: int
    sha256: str

    @classmethod
    def of_file(cls, file: Path, images: int) -> Self:
        """Return what is known of a shard that was written earlier."""
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        return cls(name=file.name, images=images, bytes=file.stat().st_size, sha256=digest)


def shard_name(set_name: str, number: int, count: int) -> str:
    """Return the name of a file, as TensorFlow's own tools name theirs."""
    return f"{set_name}-{number:05}-of-{count:05}{SUFFIX}"


def share_of(name: str) -> tuple[int, int] | None:
    """Return which of how many shards a file is, by its name; None: it is none."""
    found = re.fullmatch(rf".*-(\d{{5,}})-of-(\d{{5,}}){re.escape(SUFFIX)}", name)
    return (int(found[1]), int(found[2])) if found else None


class ShardWriter:
    """Writes one shard, beside its place until it is whole."""

    def __init__(self, file: Path, recipe: Recipe, classes: tuple[str, ...]) -> None:
        self._file, self._recipe, self._classes = file, recipe, classes
        self._beside = file.with_name(f".{file.name}{BEING_WRITTEN}")
        self._opened: IO[bytes] = self._beside.open("wb")
        self._digest = hashlib.sha256()
        self._originals: list[Original] = []
        self._offsets: list[int] = []
        self._lengths: list[int] = []
        self._problems: dict[str, str] = {}
        # The last image waits for the index, which stands in its record.
        self._record = b""
        self._bytes = 0

    def add(self, original: Original, content: bytes, problem: str = "") -> None:
        """Add a prepared image, and why it cannot be decoded, if so."""
        if self._originals:
            self._write(self._record)
        self._record = example(
            (
                ("image/filename", original.name.encode()),
                ("image/class/label", original.label),
                ("image/class/text", self._classes[original.label].encode()),
                ("image/encoded", content),
            )
        )
        self._originals.append(original)
        self._offsets.append(self._bytes + HEADER_BYTES + len(self._record) - len(content))
        self._lengths.append(len(content))
        if problem:
            self._problems[original.name] = problem

    def close(self) -> Shard:
        """Write the index, and give the file its name; at least one image must have been added."""
        self._write(self._record + example(((INDEX_FEATURE, self._index()),)))
        self._opened.close()
        self._beside.rename(self._file)
        return Shard(
            name=self._file.name, images=len(self._originals), bytes=self._bytes, sha256=self._digest.hexdigest()
        )

    def abandon(self) -> None:
        """Remove what was written so far."""
        self._opened.close()
        self._beside.unlink()

    def _write(self, record: bytes) -> None:
        framed = frame(record)
        self._opened.write(framed)
        self._digest.update(framed)
        self._bytes += len(framed)

    def _index(self) -> bytes:
        _, labels, names, sizes, modified = zip(*self._originals, strict=True)
        index = ShardIndex(
            recipe=self._recipe,
            classes=self._classes,
            problems=self._problems,
            names=names,
            labels=labels,
            offsets=tuple(self._offsets),
            lengths=tuple(self._lengths),
            sizes=sizes,
            modified=modified,
        )
        packed = zlib.compress(index.model_dump_json().encode())
        return packed + TAIL.pack(len(packed), MAGIC)


def _end_of(file: IO[bytes]) -> bytes:
    """Return the packed index of a shard.

    Raises:
        ValueError: there is none.
    """
    end = file.seek(0, os.SEEK_END) - CHECKSUM_BYTES - TAIL.size
    if end < 0:
        raise ValueError
    file.seek(end)
    length, magic = TAIL.unpack(file.read(TAIL.size))
    if magic != MAGIC or length > min(end, MOST_INDEX_BYTES):
        raise ValueError
    file.seek(end - length)
    return file.read(length)
