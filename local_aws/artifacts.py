"""What a job's hosts leave behind, as the archives that go to S3."""

from __future__ import annotations

import filecmp
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from local_aws.opt_ml import OptMl

# Stored, not deflated: weights hardly get smaller, deflating 20 MB of them costs 0.4 s, and the archive goes no
# further than this machine's memory.
_GZIP_LEVEL = 0


@dataclass(frozen=True)
class Artifact:
    """A directory of every host, which become one archive.

    Of files with the same path on several hosts the last host's counts, as in the SageMaker Python SDK's local
    mode.

    Attributes:
        name: the archive's.
        hosts: for each host, what lies in its directory: path in the archive to path on this machine.
    """

    name: str
    hosts: Sequence[Mapping[Path, Path]]

    @classmethod
    def of_job(cls, hosts: Sequence[OptMl]) -> tuple[Artifact, Artifact]:
        """The two of a job: the model and the other output.

        Raises:
            OSError: a directory cannot be read.
        """
        model = cls("model.tar.gz", [opt_ml.content(opt_ml.model) for opt_ml in hosts])
        return model, cls("output.tar.gz", [opt_ml.content(opt_ml.output_data) for opt_ml in hosts])

    @property
    def content(self) -> Mapping[Path, Path]:
        """What goes into the archive: path in it to path on this machine."""
        paths = {relative: path for host in self.hosts for relative, path in host.items()}

        def lies_in_directories(relative: Path) -> bool:
            return not any(_is_file(paths[parent]) for parent in relative.parents[:-1])

        return {relative: path for relative, path in paths.items() if lies_in_directories(relative)}

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it but directories."""
        return not any(_is_file(path) for path in self.content.values())

    @property
    def clashes(self) -> Sequence[Path]:
        """The paths in the archive at which a host's file gave way to another host's different one."""
        content = self.content

        def is_lost(relative: Path, path: Path) -> bool:
            last = content.get(relative)
            return _is_file(path) and last != path and (last is None or not _is_same(path, last))

        return sorted({relative for host in self.hosts for relative, path in host.items() if is_lost(relative, path)})

    def pack(self, archive: Path) -> None:
        """Writes the archive, a gzipped tar without the owners' names.

        Raises:
            OSError: a file cannot be read, or the archive not be written.
        """
        content = self.content
        with tarfile.open(archive, "w:gz", compresslevel=_GZIP_LEVEL) as tar:
            for relative in sorted(content):
                tar.add(content[relative], arcname=str(relative), recursive=False, filter=_anonymous)


def _is_file(path: Path) -> bool:
    return path.is_symlink() or not path.is_dir()


def _is_same(one: Path, other: Path) -> bool:
    if one.is_symlink() or other.is_symlink():
        return one.is_symlink() and other.is_symlink() and one.readlink() == other.readlink()
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
