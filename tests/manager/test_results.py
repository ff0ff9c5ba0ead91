"""Downloading results: resumed, verified, and unpacked without trusting what comes."""

import contextlib
import errno
import gzip
import io
import os
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from manager import results
from manager.archive import unpack
from manager.console import Terminal
from manager.errors import AwsError, JobError, ResultsError
from tests import aws as local_aws
from tests.aws import Server
from tests.manager.wire import Wire

FILES = {"metrics.json": b"{}", "checkpoint/variables/data": bytes(range(256)) * 2000}


@dataclass(frozen=True)
class Job:
    """A training job that ended, whose archive the tests replace."""

    name: str
    bucket: str
    s3: Any

    @property
    def key(self) -> str:
        return f"out/{self.name}/output/model.tar.gz"

    def put(self, archive: bytes, **how: Any) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=self.key, Body=archive, **how)


@pytest.fixture(scope="module")
def job(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """One job is enough for all tests."""
    aws = local_aws.Aws(server, tmp_path_factory.mktemp("job"))
    ended = aws.run('echo x > "$SAGEMAKER_BASE_DIR/model/file"')
    assert ended["TrainingJobStatus"] == "Completed", ended
    return Job(ended["TrainingJobName"], aws.bucket, aws.s3)


def archive_of(files: dict[str, bytes], *members: tarfile.TarInfo) -> bytes:
    """A tar.gz with these files, and these members without content."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz", compresslevel=0) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for member in members:
            tar.addfile(member)
    return content.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size
    return info


def leads_nowhere(path: Path) -> bool:
    """Whether a path is a link that comes back to itself; of such a one, os.path.realpath may say anything."""
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def files_in(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


class TestDownload:
    def test_what_was_archived_lies_in_the_folder_of_the_job(
        self, job: Job, wire: Wire, tmp_path: Path, terminal: Terminal
    ) -> None:
        job.put(archive_of(FILES))
        directory = results.download(wire.aws(), job.name, tmp_path, terminal)
        assert directory == tmp_path / job.name
        assert files_in(tmp_path) == {f"{job.name}/{name}": content for name, content in FILES.items()}

    def test_a_connection_that_breaks_is_made_again_where_it_was(
        self, job: Job, wire: Wire, tmp_path: Path, terminal: Terminal
    ) -> None:
        job.put(archive_of(FILES))
        wire.cuts += [200_000, 200_000]
        directory = results.download(wire.aws(), job.name, tmp_path, terminal)
        assert files_in(directory) == FILES
        starts = [int(text.removeprefix("bytes=").removesuffix("-")) for text in wire.ranges if text]
        assert len(starts) == 3
        assert starts == sorted(set(starts)), "nothing is fetched twice"

    def test_an_interrupted_download_goes_on_with_the_next_call(
        self, job: Job, wire: Wire, tmp_path: Path, terminal: Terminal
    ) -> None:
        job.put(archive_of(FILES))
        wire.cuts += [200_000, 0, 0, 0, 0]
        with pytest.raises(AwsError, match="could not download s3://"):
            results.download(wire.aws(), job.name, tmp_path, terminal)
        assert not (tmp_path / job.name).exists()
        wire.ranges.clear()
        assert files_in(results.download(wire.aws(), job.name, tmp_path, terminal)) == FILES
        (begin,) = wire.ranges
        assert begin not in (None, "bytes=0-")
        assert [path.name for path in tmp_path.iterdir()] == [job.name]

    def test_another_object_of_the_same_name_is_fetched_from_its_beginning(
        self, job: Job, wire: Wire, tmp_path: Path, terminal: Terminal
    ) -> None:
        job.put(archive_of(FILES))
        wire.cuts += [200_000, 0, 0, 0, 0]
        with pytest.raises(AwsError):
            results.download(wire.aws(), job.name, tmp_path, terminal)
        other = {"metrics.json": b"[]", "more": b"y" * 600_000}
        job.put(archive_of(other))
        assert files_in(results.download(wire.aws(), job.name, tmp_path, terminal)) == other

    def test_what_was_damaged_on_this_machine_is_found_and_fetched_again(
        self, job: Job, wire: Wire, tmp_path: Path, terminal: Terminal
    ) -> None:
        job.put(archive_of(FILES), ChecksumAlgorithm="SHA256")
        wire.cuts += [200_000, 0, 0, 0, 0]
        with pytest.raises(AwsError):
            results.download(wire.aws(), job.name, tmp_path, terminal)
        (partial,) = tmp_path.rglob("model.tar.gz")
        partial.write_bytes(bytes(partial.stat().st_size))
        with pytest.raises(ResultsError, match="SHA256 differs"):
            results.download(wire.aws(), job.name, tmp_path, terminal)
        assert files_in(results.download(wire.aws(), job.name, tmp_path, terminal)) == FILES

    def test_results_that_are_there_are_left_as_they_are(
        self, job: Job, wire: Wire, tmp_path: Path, terminal: Terminal
    ) -> None:
        (tmp_path / job.name).mkdir()
        results.download(wire.aws(), job.name, tmp_path, terminal)
        assert wire.ranges == []

    def test_a_job_that_does_not_exist(self, wire: Wire, tmp_path: Path, terminal: Terminal) -> None:
        with pytest.raises(JobError, match="there is no training job 'nothing'"):
            results.download(wire.aws(), "nothing", tmp_path, terminal)

    @pytest.mark.parametrize("name", ["..", ".", "a/b", "", "a b"])
    def test_a_name_that_is_no_jobs_leads_nowhere(
        self, name: str, wire: Wire, tmp_path: Path, terminal: Terminal
    ) -> None:
        with pytest.raises(ResultsError, match="is no name of a training job"):
            results.download(wire.aws(), name, tmp_path / "results", terminal)


HOSTILE: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "absolute path": (lambda victim: archive_of({str(victim): b"owned"}), "is an absolute path"),
    "a way up": (lambda victim: archive_of({"../../victim": b"owned"}), "outside the destination"),
    "link out": (lambda victim: archive_of({}, member("l", tarfile.SYMTYPE, str(victim))), "absolute"),
    "link up": (lambda victim: archive_of({}, member("l", tarfile.SYMTYPE, "../../victim")), "could lead out"),
    "link up and down": (
        lambda victim: archive_of({}, member("a/b", tarfile.SYMTYPE, "../a/b/../x")),
        "could lead out",
    ),
    "hard link out": (lambda victim: archive_of({}, member("l", tarfile.LNKTYPE, "../../victim")), "could lead out"),
    "device": (lambda victim: archive_of({}, member("d", tarfile.CHRTYPE)), "special file"),
    "pipe": (lambda victim: archive_of({}, member("p", tarfile.FIFOTYPE)), "special file"),
    "more than the disk holds": (
        lambda victim: gzip.compress(member("zeros", size=1 << 60).tobuf(tarfile.GNU_FORMAT)),
        "would fill the disk",
    ),
    "header that fills the memory": (
        lambda victim: gzip.compress(member("x", tarfile.XHDTYPE, size=1 << 40).tobuf(tarfile.GNU_FORMAT)),
        "a header in it is too large",
    ),
    "no archive": (lambda victim: b"<html>", "cannot be unpacked"),
    "half an archive": (lambda victim: archive_of(FILES)[:100_000], "cannot be unpacked"),
}


class TestHostileArchives:
    @pytest.mark.parametrize("kind", HOSTILE)
    def test_it_is_refused_and_nothing_is_left(
        self, kind: str, job: Job, wire: Wire, tmp_path: Path, terminal: Terminal
    ) -> None:
        victim = tmp_path / "victim"
        victim.write_text("untouched")
        make, message = HOSTILE[kind]
        job.put(make(victim))
        with pytest.raises(ResultsError, match=message):
            results.download(wire.aws(), job.name, tmp_path / "results", terminal)
        assert files_in(tmp_path) == {"victim": b"untouched"}

    def test_links_that_stay_inside_are_kept(self, job: Job, wire: Wire, tmp_path: Path, terminal: Terminal) -> None:
        links = (member("same", tarfile.LNKTYPE, "metrics.json"), member("alias", tarfile.SYMTYPE, "metrics.json"))
        job.put(archive_of({"metrics.json": b"{}"}, *links))
        directory = results.download(wire.aws(), job.name, tmp_path, terminal)
        assert files_in(directory) == dict.fromkeys(("metrics.json", "same", "alias"), b"{}")

    def test_a_hard_link_counts_as_a_copy(self, tmp_path: Path) -> None:
        # tarfile makes it one where the file that it names was replaced meanwhile. The file itself is all holes.
        size = int(shutil.disk_usage(tmp_path).free * 0.6)
        holes = member("holes", size=512)
        holes.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(size)}
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w:gz") as tar:
            tar.addfile(holes, io.BytesIO(f"1\n{size}\n0\n".encode().ljust(512, b"\0")))
            tar.addfile(member("again", tarfile.LNKTYPE, "holes"))
        (tmp_path / "a.tar.gz").write_bytes(content.getvalue())
        (tmp_path / "out").mkdir()
        with pytest.raises(ResultsError, match="'again' would fill the disk"):
            unpack(tmp_path / "a.tar.gz", tmp_path / "out")

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @example([member("a", tarfile.SYMTYPE, "a//")])
    @given(
        st.lists(
            st.builds(
                member,
                st.text(alphabet="ab./", min_size=1, max_size=8),
                st.sampled_from((tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE)),
                st.text(alphabet="ab./", min_size=1, max_size=8),
            ),
            max_size=6,
        )
    )
    def test_whatever_the_archive_says_nothing_appears_outside(
        self, tmp_path_factory: pytest.TempPathFactory, members: list[tarfile.TarInfo]
    ) -> None:
        root = tmp_path_factory.mktemp("root")
        inside = root / "deep" / "inside"
        inside.mkdir(parents=True)
        archive = root / "a.tar.gz"
        archive.write_bytes(archive_of({}, *members))
        with contextlib.suppress(ResultsError):
            unpack(archive, inside)
        assert {path.relative_to(root).as_posix() for path in root.iterdir()} == {"deep", "a.tar.gz"}
        assert list((root / "deep").iterdir()) == [inside]
        for path in inside.rglob("*"):
            assert leads_nowhere(path) or Path(os.path.realpath(path)).is_relative_to(inside)
