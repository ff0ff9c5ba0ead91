"""What index.json beside the shards of a set says: which images they hold, and what they were made from."""

import hashlib
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from container.dataset.index import BadFile
from container.dataset.labels import LABELS_FILE
from container.dataset.recipe import Recipe
from container.dataset.record import RECORD
from container.dataset.shards import Shard
from container.errors import DataError

INDEX = "index.json"
TRAINING, VALIDATION = "training", "validation"
# Of the evaluation set a job is given the originals: they are what the model will meet.
PREPARED_SETS = (TRAINING, VALIDATION)
AGAIN = "run python data_handler.py --prepare"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClassImages(_Record):
    """How many images of a class a set holds."""

    name: str
    images: int


class SetIndex(_Record):
    """A set that was prepared."""

    version: Literal[1] = 1
    recipe: Recipe
    split: str
    """SHA-256 of the split.json of the sets that it was made from."""
    fingerprint: str
    """SHA-256 of all that the shards depend on: settings, names of the images, their sizes and times of change."""
    classes: tuple[ClassImages, ...]
    """In the order of the labels."""
    shards: tuple[Shard, ...]
    has_labels: bool
    """Whether a labels.csv lies beside the shards."""
    problems: tuple[BadFile, ...]
    """Images that could not be decoded, and are in the shards as they were."""

    @property
    def images(self) -> int:
        """Images in all shards."""
        return sum(shard.images for shard in self.shards)

    @property
    def bytes(self) -> int:
        """Bytes of all shards."""
        return sum(shard.bytes for shard in self.shards)

    def files(self) -> tuple[str, ...]:
        """Return the names of the set's files, this index last."""
        return (*(shard.name for shard in self.shards), *([LABELS_FILE] if self.has_labels else []), INDEX)

    @classmethod
    def read(cls, directory: Path) -> Self | None:
        """Return the index of a set of shards; None: there is none.

        Raises:
            DataError: it cannot be read.
        """
        file = directory / INDEX
        try:
            return cls.model_validate_json(file.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error.strerror or error}") from None
        except ValidationError as error:
            first = error.errors()[0]
            what = ": ".join(filter(None, [".".join(map(str, first["loc"])), first["msg"]]))
            raise DataError(f"{file} cannot be understood ({what}): remove {directory}, and {AGAIN}") from None

    def write(self, directory: Path) -> None:
        """Write the index beside the shards, as a whole or not at all."""
        beside = directory / f".{INDEX}.being-written"
        beside.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        beside.rename(directory / INDEX)


def split_digest(sets: Path) -> str:
    """Return SHA-256 of the record of a split.

    Raises:
        DataError: there is none.
    """
    try:
        return hashlib.sha256((sets / RECORD).read_bytes()).hexdigest()
    except OSError:
        raise DataError(f"{sets} holds no split ({RECORD} is missing): run python data_handler.py") from None


def current_files(sets: Path, prepared: Path, recipe: Recipe) -> dict[str, Path]:
    """Return the files of the prepared sets by their paths inside these; nothing where no set was prepared.

    Args:
        sets: the folder of the split.
        prepared: the folder of the prepared sets, which may be missing.
        recipe: how the settings want images to be prepared.

    Raises:
        DataError: they were made from another split or by another recipe, or not to the end.
    """
    files: dict[str, Path] = {}
    if not prepared.exists():
        return files
    remedy = f"{AGAIN}, or remove {prepared} to train on the images as they are"
    split = split_digest(sets)
    for name in PREPARED_SETS:
        index = SetIndex.read(prepared / name)
        if index is None:
            raise DataError(f"{prepared / name} is not prepared to the end ({INDEX} is missing): {remedy}")
        if index.split != split:
            raise DataError(f"{prepared} was prepared from another split than that in {sets}: {remedy}")
        if index.recipe != recipe:
            raise DataError(f"{prepared} was prepared by other settings of the image or the preparation: {remedy}")
        for file in index.files():
            path = prepared / name / file
            if not path.is_file():
                raise DataError(f"{path} is missing: {remedy}")
            files[f"{name}/{file}"] = path
    return files
