"""What several hosts leave becomes one archive: every path once, the last host's file where they differ."""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_aws.artifacts import Artifact
from local_aws.opt_ml import OptMl

# Few names, so that hosts meet at the same path, as a file here and as a directory there.
names = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
directories = st.lists(st.tuples(names, st.sampled_from(["", "x", "y"])), max_size=5)


def model_of(base: Path, *hosts: list[tuple[str, str]]) -> Artifact:
    opt_mls = [OptMl(base / str(number)) for number in range(len(hosts))]
    for opt_ml, files in zip(opt_mls, hosts, strict=True):
        opt_ml.create()
        for name, content in files:
            path = opt_ml.model / name
            if path.exists() or any(parent.is_file() for parent in path.parents):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    return Artifact.of_job(opt_mls)[0]


def unpacked(artifact: Artifact, base: Path) -> dict[str, str]:
    artifact.pack(base / "archive")
    with tarfile.open(base / "archive") as tar:
        assert len(set(tar.getnames())) == len(tar.getnames())
        tar.extractall(base / "unpacked", filter="data")
    root = base / "unpacked"
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


@given(directories, directories)
def test_every_file_is_in_the_archive_or_is_named_as_lost(
    first: list[tuple[str, str]], second: list[tuple[str, str]]
) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        artifact = model_of(Path(temporary), first, second)
        content = unpacked(artifact, Path(temporary))
        lost = {str(path) for path in artifact.clashes}
        for host in artifact.hosts:
            for relative, path in host.items():
                if path.is_file():
                    assert str(relative) in lost or content[str(relative)] == path.read_text()
        for relative, path in artifact.hosts[1].items():
            if path.is_file():
                assert content[str(relative)] == path.read_text()
        assert artifact.is_empty == (not content)


def test_a_file_takes_the_place_of_an_earlier_hosts_directory(tmp_path: Path) -> None:
    artifact = model_of(tmp_path, [("a/b", "1"), ("same", "x")], [("a", "2"), ("same", "x")])
    assert unpacked(artifact, tmp_path) == {"a": "2", "same": "x"}
    assert artifact.clashes == [Path("a/b")]


def test_links_are_kept_as_they_are(tmp_path: Path) -> None:
    artifact = model_of(tmp_path, [("a", "1")], [("a", "1")])
    for number, target in enumerate(("a", "other")):
        (tmp_path / str(number) / "model" / "link").symlink_to(target)
    artifact = Artifact.of_job([OptMl(tmp_path / "0"), OptMl(tmp_path / "1")])[0]
    assert artifact.clashes == [Path("link")]
    artifact.pack(tmp_path / "archive")
    with tarfile.open(tmp_path / "archive") as tar:
        assert tar.getmember("link").linkname == "other"


@pytest.mark.parametrize("moved", ["model", "output"])
def test_a_directory_that_became_a_link_is_empty(tmp_path: Path, moved: str) -> None:
    opt_ml = OptMl(tmp_path / "opt" / "ml")
    opt_ml.create()
    outside = tmp_path / "outside"
    (opt_ml.base / moved).rename(outside)
    (opt_ml.base / moved).symlink_to(outside)
    (outside / "secret").touch()
    (outside / "data").mkdir(exist_ok=True)
    (outside / "data" / "secret").touch()
    assert all(artifact.is_empty for artifact in Artifact.of_job([opt_ml]))
