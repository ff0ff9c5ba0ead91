"""What was left out of images that lie in several folders or on several hosts: how much, and the first bad files."""

from collections.abc import Iterable
from itertools import chain, islice
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from container.dataset.index import BadFile, LeftOut
from container.dataset.text import printable

MOST_NAMED = 1000


class LeftOutCounts(BaseModel):
    """What was left out, counted as by `LeftOut`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden: int = Field(0, ge=0)
    other_files: int = Field(0, ge=0)
    repeated_folders: int = Field(0, ge=0)
    bad_files: int = Field(0, ge=0)
    named: tuple[BadFile, ...] = ()
    """The first of the bad files."""

    @classmethod
    def of(cls, left_out: LeftOut, folder: str = "", most: int = MOST_NAMED) -> Self:
        """Return what was left out of a folder, with the names of so many bad files at most."""
        return cls(
            hidden=left_out.hidden,
            other_files=left_out.other_files,
            repeated_folders=left_out.repeated_folders,
            bad_files=len(left_out.bad_files),
            named=tuple(BadFile(printable(folder + file.path), file.reason) for file in left_out.bad_files[:most]),
        )

    @classmethod
    def together(cls, counts: Iterable[Self], most: int = MOST_NAMED) -> Self:
        """Return all of these as one, with the names of so many bad files at most."""
        parts = tuple(counts)
        return cls(
            hidden=sum(part.hidden for part in parts),
            other_files=sum(part.other_files for part in parts),
            repeated_folders=sum(part.repeated_folders for part in parts),
            bad_files=sum(part.bad_files for part in parts),
            named=tuple(islice(chain.from_iterable(part.named for part in parts), most)),
        )
