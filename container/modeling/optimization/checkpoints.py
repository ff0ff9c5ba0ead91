"""What an interrupted training job goes on from: files in /opt/ml/checkpoints, which SageMaker copies to S3 and back.

A checkpoint is one file, so that a copy of it is whole or damaged but never of two moments: a ZIP archive of NumPy
arrays (numpy.load reads it) with a checksum for each.
"""

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from container.errors import ProjectError
from container.modeling.optimization.history import History
from container.modeling.settings import Checkpoints
from container.report.facts import Finding

logger = logging.getLogger(__name__)

# One name: what is left of an interrupted writing is overwritten, be it that SageMaker copied it.
INCOMPLETE_FILE = ".incomplete.npz"
NAME = re.compile(r"checkpoint-(\d+)-epoch-\d+-step-\d+\.npz")
STATE, COUNT = "state", "count"
KINDS = ("model", "steps", "best")
NEW_JOB = "launch a new job, without --resume"


class ForeignCheckpointError(ProjectError):
    """A checkpoint belongs to another training."""


class State(BaseModel):
    """Where training stands, beside the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    phase: int
    """From 1."""
    step: int
    """Steps of the running epoch that lie behind."""
    seconds: float
    """What they took."""
    epoch_images: int
    """Images in an epoch: with another number, or other images in a step or another seed, the steps would be others."""
    step_images: int
    """Images in a step, on all devices."""
    seed: int
    fixed_settings: dict[str, str]
    """Settings that cannot change while training goes on, by name."""
    classes: tuple[str, ...]
    """In the order of the model's outputs."""
    history: History
    """The epochs so far, and how long the last improvement is ago."""
    findings: tuple[Finding, ...] = ()
    """What looked wrong in them."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """All that training needs to go on."""

    state: State
    arrays: Mapping[str, Sequence[NDArray[Any]]]
    """The values of the variables of each kind: the `model`'s, the training `steps`', the `best` epoch's model's."""

    @classmethod
    def read(cls, file: Path | BinaryIO) -> Self:
        """Read a checkpoint's file. One that is damaged raises whatever the damage looks like."""
        # numpy compares each array with its checksum as it is read.
        with np.load(file, allow_pickle=False) as archive:
            state = State.model_validate_json(str(archive[STATE]))
            kinds = [name.partition("/")[0] for name in archive.files if name.endswith(f"/{COUNT}")]
            arrays = {
                kind: [archive[f"{kind}/{position}"] for position in range(int(archive[f"{kind}/{COUNT}"]))]
                for kind in kinds
            }
        if set(arrays) != set(KINDS) or bool(arrays["best"]) != (state.history.best is not None):
            raise ValueError("some of its arrays are missing")
        return cls(state, arrays)


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
        content = {STATE: np.array(checkpoint.state.model_dump_json())}
        for kind, values in checkpoint.arrays.items():
            content[f"{kind}/{COUNT}"] = np.array(len(values))
            content |= {f"{kind}/{position}": _storable(value) for position, value in enumerate(values)}
        incomplete = self.directory / INCOMPLETE_FILE
        try:
            with incomplete.open("wb") as file:
                np.savez(file, allow_pickle=False, **content)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            incomplete.unlink(missing_ok=True)
            raise
        # The number rises whatever was trained: what was written last is the newest.
        files = self._files()
        number = 1 + (_number(files[0]) if files else 0)
        epochs, step = len(checkpoint.state.history.epochs), checkpoint.state.step
        incomplete.rename(self.directory / f"checkpoint-{number:08d}-epoch-{epochs:05d}-step-{step:08d}.npz")
        for old in self._files()[self._keep :]:
            old.unlink(missing_ok=True)

    def newest(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole; None: there is none. One that is damaged is passed over."""
        return next((checkpoint for _, checkpoint in self._whole()), None)

    def newest_content(self) -> bytes:
        """Return the bytes of the file of `newest`; empty: there is none."""
        return next((file.read_bytes() for file, _ in self._whole()), b"")

    def _whole(self) -> Iterator[tuple[Path, Checkpoint]]:
        for file in self._files():
            try:
                checkpoint = Checkpoint.read(file)
            # A damaged archive raises whatever the damage looks like: BadZipFile, NotImplementedError, ValueError ...
            except Exception as error:
                reason = " ".join(str(error).split())
                logger.warning("the checkpoint %s is damaged and passed over: %s", file.name, reason)
            else:
                yield file, checkpoint

    def _files(self) -> list[Path]:
        """Return the checkpoints, the newest first."""
        if not self.directory.is_dir():
            return []
        found = [file for file in self.directory.iterdir() if NAME.fullmatch(file.name)]
        return sorted(found, key=_number, reverse=True)


def _number(file: Path) -> int:
    match = NAME.fullmatch(file.name)
    assert match is not None
    return int(match[1])


def _storable(value: NDArray[Any]) -> NDArray[Any]:
    """Return an array in a type that NumPy itself knows: bfloat16 is none, and float32 holds it exactly."""
    return value.astype(np.float32) if value.dtype.kind == "V" else value
