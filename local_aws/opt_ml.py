"""/opt/ml under a movable base: what a training program finds there, and what it leaves.

Layout and file formats are SageMaker's, as its developer guide ("How Amazon SageMaker Provides Training
Information") and sagemaker-training have them.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Stored, not deflated: weights hardly get smaller, deflating 20 MB of them costs 0.4 s, and the archive goes no
# further than this machine's memory.
_GZIP_LEVEL = 0

_FAILURE_BYTES = 8192


@dataclass(frozen=True)
class OptMl:
    """The paths below `base`, the directory that a container sees as /opt/ml."""

    base: Path

    @property
    def config(self) -> Path:
        return self.base / "input" / "config"

    @property
    def model(self) -> Path:
        return self.base / "model"

    @property
    def output_data(self) -> Path:
        return self.base / "output" / "data"

    @property
    def failure(self) -> Path:
        return self.base / "output" / "failure"

    @property
    def checkpoints(self) -> Path:
        return self.base / "checkpoints"

    def channel(self, name: str) -> Path:
        return self.base / "input" / "data" / name

    def create(self, *, checkpoints: bool) -> None:
        """Makes the empty directories; that for checkpoints only where the job asks for it."""
        directories = [self.config, self.base / "input" / "data", self.model, self.output_data]
        for directory in [*directories, self.checkpoints] if checkpoints else directories:
            directory.mkdir(parents=True)

    def write_config(self, name: str, content: Mapping[str, object]) -> None:
        """Writes input/config/NAME.json."""
        (self.config / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")

    def failure_text(self) -> str:
        """The beginning of output/failure, 1024 characters or more; empty where there is no such file."""
        try:
            with self.failure.open("rb") as file:
                return file.read(_FAILURE_BYTES).decode(errors="replace").strip()
        except OSError:
            return ""


def resource_config(host: str, hosts: Sequence[str], instance_type: str) -> Mapping[str, object]:
    """The content of input/config/resourceconfig.json."""
    group = "homogeneousCluster"
    return {
        "current_host": host,
        "current_instance_type": instance_type,
        "current_group_name": group,
        "hosts": list(hosts),
        "instance_groups": [{"instance_group_name": group, "instance_type": instance_type, "hosts": list(hosts)}],
        "network_interface_name": "eth0",
    }


def is_empty(directory: Path) -> bool:
    """Whether there is no file below the directory, or no such directory."""
    return not any(files for _, _, files in os.walk(directory))


def make_read_only(directory: Path) -> None:
    """Takes the write permission from a directory and all below it, as FastFile's file system has none."""
    for parent, _, files in os.walk(directory, topdown=False):
        for name in files:
            Path(parent, name).chmod(0o444)
        Path(parent).chmod(0o555)


def pack(directory: Path, archive: Path) -> None:
    """Writes a gzipped tar archive with the directory's content at its root, without the owner's name."""
    with tarfile.open(archive, "w:gz", compresslevel=_GZIP_LEVEL) as tar:
        for child in sorted(directory.iterdir()):
            tar.add(child, arcname=child.name, filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
