"""What split.json beside the sets says: which images were split how."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from container.dataset.index import LeftOut
from container.errors import DataError

if TYPE_CHECKING:
    from container.modeling.data_settings import Data

SETS = ("training", "validation", "evaluation")
RECORD = "split.json"
# Beside it: what the upload remembers of the files. SQLite adds more to the name for a moment.
CHECKSUMS = ".checksums.sqlite"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Fractions(_Record):
    """The share of each class that goes into each set; they add up to 1."""

    training: float
    validation: float
    evaluation: float

    @classmethod
    def of(cls, data: "Data") -> Self:
        """Return those of the settings."""
        return cls(
            training=data.training_fraction, validation=data.validation_fraction, evaluation=data.evaluation_fraction
        )


class ClassCounts(_Record):
    """How many images of a class each set holds."""

    name: str
    training: int
    validation: int
    evaluation: int

    @property
    def total(self) -> int:
        """Images of this class in all sets."""
        return self.training + self.validation + self.evaluation

    def by_set(self) -> tuple[tuple[str, int], ...]:
        """Return each set's name and count."""
        return ("training", self.training), ("validation", self.validation), ("evaluation", self.evaluation)


class LabelCounts(_Record):
    """What a labels.csv beside the class folders tells of the images."""

    labeled: int
    """Images that have a row."""
    unmatched_lines: tuple[int, ...]
    """Lines whose rows name no image; no set has them."""


class Refill(_Record):
    """What moved between sets that lay in the folder of images already."""

    sets: tuple[str, ...]
    """Those that were missing or too small."""
    fraction: float
    """The share of another set's images that each was given."""
    validation_from: str
    """The set that gave to the validation set; the training set gives to the evaluation set."""


class Grouped(_Record):
    """Images that stay in one set together."""

    groups: int
    images: int
    """In all these groups."""


class Split(_Record):
    """A split that was carried out."""

    version: Literal[1] = 1
    directory: str
    """Folder of the originals: relative to the project where it lies inside, else absolute."""
    seed: int
    fractions: Fractions
    fingerprint: str
    """SHA-256 of the images' names, sizes and times of change, and of labels.csv: it tells whether anything is new,
    without reading all of every image. The same images copied elsewhere may have another."""
    linked: int
    """Images in the sets that are hard links to the originals."""
    copied: int
    """Images in the sets that are copies, since the file system could not link them."""
    classes: tuple[ClassCounts, ...]
    """In the order of the class folders' names, by code point."""
    left_out: LeftOut
    """What lies in `directory` besides its images; unprintable characters of file names are escaped."""

    labels: LabelCounts | None = None
    """What was split of labels.csv; None: there was none."""
    stable: bool = False
    """Whether images were assigned by a hash, so that a folder that grows keeps those where they are that it has."""
    group_by: str = ""
    """The expression that ties images together by their paths; empty: none did."""
    grouped: Grouped = Grouped(groups=0, images=0)
    """Images that are the same, alike or tied together by the expression."""
    given_sets: tuple[str, ...] = ()
    """Sets that lay in the folder of images already; empty: none did."""
    refill: Refill | None = None
    """What moved between those; None: nothing."""
    refill_below: float | None = None
    """The share of all images up to which the validation set was taken for too small; None: there were no sets."""
    without_classes: tuple[str, ...] = ()
    """Folders with a set's name that were left out, since they hold no class folders."""
    unlabeled: int = 0
    """Images that were left out, since the table that tells the classes has no row for them."""
    paths: str = ""
    """SHA-256 of the sorted paths of all files in the sets: by it the next split tells what is not its own to replace.
    Empty: of an older version, which did not write it."""

    @property
    def total(self) -> int:
        """Images in all sets."""
        return sum(counts.total for counts in self.classes)

    def dropped_options(self, stable: bool, group_by: str) -> tuple[str, ...]:
        """Return the options of this split, as one types them, that another one with these settings is made without."""
        options = ["--stable"] if self.stable and not stable else []
        options += [f"--group_by {shlex.quote(self.group_by)}"] if self.group_by and not group_by else []
        return tuple(options)

    @classmethod
    def read(cls, sets: Path) -> Self:
        """Return the record of the split in a folder of sets.

        Raises:
            DataError: there is none, or it cannot be read.
        """
        path = sets / RECORD
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise DataError(f"{sets} holds no split ({RECORD} is missing): run python data_handler.py") from None
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from None
        except ValidationError as error:
            first = error.errors()[0]
            what = ": ".join(filter(None, [".".join(map(str, first["loc"])), first["msg"]]))
            raise DataError(f"{path} cannot be understood ({what}): remove {sets} and split again") from None

    def write(self, sets: Path) -> None:
        """Write the record into a folder of sets."""
        (sets / RECORD).write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
