"""/opt/ml under a movable base: what a training program finds there, and what it leaves.

Layout and file formats are SageMaker's, as its developer guide ("How Amazon SageMaker Provides Training
Information") and sagemaker-training have them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_FAILURE_BYTES = 8192

_INSTANCE_TYPE = "local"


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

    def channel(self, name: str) -> Path:
        return self.base / "input" / "data" / name

    def create(self) -> None:
        """Makes the empty directories that each job has."""
        for directory in (self.config, self.base / "input" / "data", self.model, self.output_data):
            directory.mkdir(parents=True)

    def write_config(self, name: str, content: Mapping[str, object]) -> None:
        """Writes input/config/NAME.json."""
        (self.config / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")

    def failure_text(self) -> str:
        """The beginning of output/failure, 1024 characters or more; empty where there is no such file."""
        if not self._is_own(self.failure):
            return ""
        try:
            # A pipe of that name would otherwise keep this waiting for somebody to write.
            with os.fdopen(os.open(self.failure, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
                return file.read(_FAILURE_BYTES).decode(errors="replace").strip()
        except OSError:
            return ""

    def content(self, directory: Path) -> Mapping[Path, Path]:
        """All that lies below a directory of this /opt/ml, by its path relative to that directory.

        Raises:
            OSError: a directory cannot be read.
        """
        if not (directory.is_dir() and self._is_own(directory)):
            return {}
        walk = os.walk(directory, onerror=_raise)
        found = (Path(parent, name) for parent, names, files in walk for name in (*names, *files))
        return {path.relative_to(directory): path for path in found}

    def _is_own(self, path: Path) -> bool:
        # A program in a container may have made it a link, and what that names outside the container is not the
        # program's.
        return path.resolve() == self.base.resolve() / path.relative_to(self.base)


def resource_config(host: str, hosts: Sequence[str], network_interface: str) -> Mapping[str, object]:
    """The content of input/config/resourceconfig.json of the host that is reached as `host`, one of all `hosts`.

    Its instance type is `local`, as in the SageMaker Python SDK's local mode: a program may ask it what
    hardware to expect, and this machine need not have what the requested type has.
    """
    group = "homogeneousCluster"
    return {
        "current_host": host,
        "current_instance_type": _INSTANCE_TYPE,
        "current_group_name": group,
        "hosts": list(hosts),
        "instance_groups": [{"instance_group_name": group, "instance_type": _INSTANCE_TYPE, "hosts": list(hosts)}],
        "network_interface_name": network_interface,
    }


def make_read_only(directory: Path) -> None:
    """Takes the write permission from a directory and all below it, as FastFile's file system has none."""
    for parent, _, files in os.walk(directory, topdown=False):
        for name in files:
            Path(parent, name).chmod(0o444)
        Path(parent).chmod(0o555)


def _raise(error: OSError) -> None:
    raise error
