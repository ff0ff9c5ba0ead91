"""What an interrupted training job goes on from: files in /opt/ml/checkpoints, which SageMaker copies to S3 and back.

A checkpoint is one file, so that a copy of it is whole or damaged but never of two moments: a ZIP archive of NumPy
arrays (numpy.load reads it) with a checksum for each.
"""

import logging
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from container.modeling.optimization.history import History
from container.modeling.settings import Checkpoints

logger = logging.getLogger(__name__)

# One name: what is left of an interrupted writing is overwritten, be it that SageMaker copied it.
INCOMPLETE_FILE = ".incomplete.npz"
NAME = re.compile(r"epoch-(\d+)-step-(\d+)\.npz")
STATE = "state"


class State(BaseModel):
    """Where training stands, beside the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    phase: int
    """From 1."""
    step: int
    """Steps of the running epoch that lie behind."""
    seconds: float
    """What they took."""
    epoch_images: int
    """Images in an epoch: with another number, or another batch size or seed, the steps would be others."""
    batch_size: int
    seed: int
    classes: tuple[str, ...]
    """In the order of the model's outputs."""
    history: History
    """The epochs so far, and how long the last improvement is ago."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """All that training needs to go on."""

    state: State
    arrays: Mapping[str, Sequence[NDArray[Any]]]
    """The values of the variables of each kind: the `model`'s, the training `steps`', the `best` epoch's model's."""


class CheckpointFolder:
    """The newest checkpoints of a job."""

    def __init__(self, directory: Path, settings: Checkpoints) -> None:
        self.directory = directory
        self._keep = settings.keep

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint beside the others, then give it its name, and remove the oldest beyond `checkpoints.keep`.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        arrays = {
            f"{kind}/{position}": value
            for kind, values in checkpoint.arrays.items()
            for position, value in enumerate(values)
        }
        incomplete = self.directory / INCOMPLETE_FILE
        with incomplete.open("wb") as file:
            np.savez(file, allow_pickle=False, **{STATE: np.array(checkpoint.state.model_dump_json())}, **arrays)
            file.flush()
            os.fsync(file.fileno())
        incomplete.rename(
            self.directory / f"epoch-{len(checkpoint.state.history.epochs):05d}-step-{checkpoint.state.step:08d}.npz"
        )
        for old in self._files()[self._keep :]:
            old.unlink(missing_ok=True)

    def newest(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole; None: there is none. One that is damaged is passed over."""
        for file in self._files():
            try:
                return _read(file)
            except (OSError, EOFError, KeyError, ValueError, ValidationError, zipfile.BadZipFile) as error:
                reason = " ".join(str(error).split())
                logger.warning("the checkpoint %s is damaged and passed over: %s", file.name, reason)
        return None

    def _files(self) -> list[Path]:
        """Return the checkpoints, the newest first."""
        if not self.directory.is_dir():
            return []
        found = [(match, file) for file in self.directory.iterdir() if (match := NAME.fullmatch(file.name))]
        found.sort(key=lambda pair: (int(pair[0][1]), int(pair[0][2])), reverse=True)
        return [file for _, file in found]


def _read(file: Path) -> Checkpoint:
    arrays: dict[str, list[NDArray[Any]]] = {}
    # numpy compares each array with its checksum as it is read.
    with np.load(file, allow_pickle=False) as archive:
        state = State.model_validate_json(str(archive[STATE]))
        for name in archive.files:
            if name != STATE:
                # In the order of their writing.
                arrays.setdefault(name.partition("/")[0], []).append(archive[name])
    return Checkpoint(state, arrays)
