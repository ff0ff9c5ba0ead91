"""/opt/ml under a movable base: what the program of a training or processing job finds there, and what it leaves.

Layout and file formats are SageMaker's, as its developer guide ("How Amazon SageMaker Provides Training Information",
"Build Your Own Processing Container") and sagemaker-training have them.
"""

from __future__ import annotations

import json
import os
from codecs import getincrementaldecoder
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_BEGINNING_BYTES = 8192

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
        _write_json(self.config / f"{name}.json", content)

    def failure_text(self) -> str:
        """The beginning of output/failure, 1024 characters or more; empty where there is no such file."""
        return _beginning(self.base, self.failure).decode(errors="replace").strip()

    def content(self, directory: Path) -> Mapping[Path, Path]:
        """All that lies below a directory of this /opt/ml, by its path relative to that directory.

        Raises:
            OSError: a directory cannot be read.
        """
        if not (directory.is_dir() and _is_own(self.base, directory)):
            return {}
        walk = os.walk(directory, onerror=_raise)
        found = (Path(parent, name) for parent, names, files in walk for name in (*names, *files))
        return {path.relative_to(directory): path for path in found}


@dataclass(frozen=True)
class ProcessingOptMl:
    """The paths below `base`, the directory that the container of a processing job sees as /opt/ml."""

    base: Path

    @property
    def config(self) -> Path:
        return self.base / "config"

    @property
    def message(self) -> Path:
        return self.base / "output" / "message"

    def create(self) -> None:
        """Makes the empty directories that each job has."""
        for directory in (self.config, self.base / "processing", self.message.parent):
            directory.mkdir(parents=True)

    def write_config(self, name: str, content: Mapping[str, object]) -> None:
        """Writes config/NAME.json."""
        _write_json(self.config / f"{name}.json", content)

    def message_text(self) -> str:
        """The beginning of output/message, 1024 characters or more; empty where there is no such file.

        Raises:
            UnicodeDecodeError: it is not UTF-8.
        """
        # The last character may be cut.
        return getincrementaldecoder("utf-8")().decode(_beginning(self.base, self.message))


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


def _write_json(file: Path, content: Mapping[str, object]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n")


def _beginning(base: Path, file: Path) -> bytes:
    if not _is_own(base, file):
        return b""
    try:
        # A pipe of that name would otherwise keep this waiting for somebody to write.
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb") as opened:
            return opened.read(_BEGINNING_BYTES)
    except OSError:
        return b""


def _is_own(base: Path, path: Path) -> bool:
    # A program in a container may have made it a link, and what that names outside the container is not the
    # program's.
    return path.resolve() == base.resolve() / path.relative_to(base)


def _raise(error: OSError) -> None:
    raise error
