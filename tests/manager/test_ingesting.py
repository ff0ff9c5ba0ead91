"""Ingesting from S3, and `python data_handler.py --ingest` as its users meet it."""

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

import data_handler
from container.errors import DataError
from container.modeling.config_file import load_settings
from manager import ingesting
from manager.console import Terminal
from manager.errors import AwsError
from tests import aws as local_aws
from tests.aws import Server
from tests.container.dataset.preparing import Unwatched, encoded, files, write
from tests.manager.wire import Wire

CONTENTS = {f"{name}/{number}.png": encoded(number) for name in ("cat", "dog") for number in range(4)}


def zipped(contents: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return content.getvalue()


def shown(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in files(folder).items() if not name.startswith(".")}


@pytest.fixture
def aws(server: Server, tmp_path: Path) -> local_aws.Aws:
    return local_aws.Aws(server, tmp_path)


def ingest(wire: Wire, name: str, target: Path, terminal: Terminal) -> ingesting.Ingested:
    source = ingesting.open_source(name, None, target, wire.aws, terminal)
    return ingesting.ingest(source, target, load_settings(), Unwatched())


def test_a_folder_of_s3_is_fetched(wire: Wire, aws: local_aws.Aws, tmp_path: Path, terminal: Terminal) -> None:
    for name, content in CONTENTS.items():
        aws.s3.put_object(Bucket=aws.bucket, Key=f"photos/{name}", Body=content)
    aws.s3.put_object(Bucket=aws.bucket, Key="photos/cat/", Body=b"")
    aws.s3.put_object(Bucket=aws.bucket, Key="photos/../outside.png", Body=b"hostile")
    aws.s3.put_object(Bucket=aws.bucket, Key="photos-old/cat/9.png", Body=b"another folder")
    done = ingest(wire, f"s3://{aws.bucket}/photos", tmp_path / "target", terminal)
    assert shown(tmp_path / "target") == CONTENTS
    assert [(file.path, file.reason) for file in done.named] == [("../outside.png", "its name leads out of the folder")]
    assert ingest(wire, f"s3://{aws.bucket}/photos", tmp_path / "target", terminal).unchanged


def test_an_archive_in_s3_is_gone_on_with_after_an_interruption(
    wire: Wire, aws: local_aws.Aws, tmp_path: Path, terminal: Terminal
) -> None:
    archive = zipped(CONTENTS | {"cat/large.png": np.random.default_rng(0).bytes(300_000)})
    aws.s3.put_object(Bucket=aws.bucket, Key="photos.ZIP", Body=archive)
    name, target = f"s3://{aws.bucket}/photos.ZIP", tmp_path / "target"
    # One break more than is tried again.
    wire.cuts = [200_000, 0, 0, 0, 0, 0]
    with pytest.raises(AwsError, match="could not download"):
        ingest(wire, name, target, terminal)
    assert not target.exists()
    wire.cuts, wire.ranges = [], []
    ingest(wire, name, target, terminal)
    assert wire.ranges
    assert all(found and not found.startswith("bytes=0-") for found in wire.ranges)
    assert set(shown(target)) == {*CONTENTS, "cat/large.png"}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".target")] == []
    wire.ranges = []
    assert ingest(wire, name, target, terminal).unchanged
    assert wire.ranges == []


def test_what_is_not_in_s3_is_an_error(wire: Wire, aws: local_aws.Aws, tmp_path: Path, terminal: Terminal) -> None:
    target = tmp_path / "target"
    with pytest.raises(DataError, match="holds no file: see `aws s3 ls"):
        ingest(wire, f"s3://{aws.bucket}/nothing", target, terminal)
    with pytest.raises(AwsError, match=r"could not look at s3://.*/nothing.zip"):
        ingest(wire, f"s3://{aws.bucket}/nothing.zip", target, terminal)
    with pytest.raises(AwsError, match=r"could not list s3://no.such.bucket/"):
        ingest(wire, "s3://no.such.bucket/", target, terminal)
    with pytest.raises(DataError, match="names no bucket: give s3://BUCKET"):
        ingest(wire, "s3://", target, terminal)
    assert not target.exists()


class TestCommandLine:
    def run(self, target: Path, *arguments: str) -> int:
        return data_handler.main(["--set", f"data.directory={target}", *arguments])

    def test_an_archive_comes_into_the_folder_of_the_settings(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write(tmp_path / "a.zip", zipped(CONTENTS | {"../evil.png": b"", "cat/.hidden": b""}))
        assert self.run(tmp_path / "images", "--ingest", str(tmp_path / "a.zip")) == 0
        printed = capsys.readouterr()
        assert "warning: left out ../evil.png: its name leads out of the folder" in printed.err
        assert "left out   1 hidden" in printed.out
        assert re.search(r"done\s+8 files are in .*images, 0.0 MB of .*a.zip\n", printed.out)
        assert shown(tmp_path / "images") == CONTENTS
        assert self.run(tmp_path / "images", "--ingest", str(tmp_path / "a.zip")) == 0
        assert "unchanged" in capsys.readouterr().out
        # And it can be split.
        assert self.run(tmp_path / "images") == 0

    def test_a_target_and_labels_may_be_named(self, tmp_path: Path) -> None:
        np.save(tmp_path / "images.npy", np.zeros((4, 3, 3), np.uint8))
        np.save(tmp_path / "labels.npy", np.array([0, 1, 0, 1]))
        words = ["--ingest", str(tmp_path / "images.npy"), str(tmp_path / "target")]
        assert self.run(tmp_path / "images", *words, "--labels", str(tmp_path / "labels.npy")) == 0
        assert sorted(shown(tmp_path / "target")) == ["0/0.png", "0/2.png", "1/1.png", "1/3.png"]
        assert not (tmp_path / "images").exists()

    def test_limits_are_settings(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write(tmp_path / "a.zip", zipped(CONTENTS))
        words = ["--ingest", str(tmp_path / "a.zip"), "--set", "ingestion.max_files=3"]
        assert self.run(tmp_path / "images", *words) == 1
        assert "as many as ingestion.max_files allows" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("missing.zip", "does not exist: name a folder, an archive"),
            ("notes.txt", "is no folder, and its name ends in"),
        ],
    )
    def test_what_is_no_source_is_an_error(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, message: str
    ) -> None:
        write(tmp_path / "notes.txt", b"x")
        assert self.run(tmp_path / "images", "--ingest", str(tmp_path / source)) == 1
        assert message in capsys.readouterr().err

    @pytest.mark.parametrize(
        "words",
        [
            ["--check", "--strict", "--prepare"],
            ["--prepare", "--as_arrays"],
            ["--ingest", "a.zip", "--check"],
            ["--sample", "digits", "--prepare"],
        ],
    )
    def test_one_action_at_a_time(self, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit, match="2"):
            data_handler.main(words)
        assert "not allowed with argument" in capsys.readouterr().err

    @pytest.mark.parametrize("words", [["--labels", "x.npy"], ["--local"], ["--ingest", "a", "b", "c"], ["--ingest"]])
    def test_wrong_usage_ends_with_2(self, words: list[str]) -> None:
        with pytest.raises(SystemExit, match="2"):
            data_handler.main(words)

    def test_sets_are_written_as_arrays(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for name, content in CONTENTS.items():
            write(tmp_path / "images" / name, content)
        assert self.run(tmp_path / "images") == 0
        small = ["--set", "image.height=8", "--set", "image.width=8", "--set", "preparation.processes=1"]
        assert self.run(tmp_path / "images", "--as_arrays", *small) == 0
        assert re.search(r"4 images are in .*images-sets-arrays/training.npz", capsys.readouterr().out)
        assert np.load(tmp_path / "images-sets-arrays/training.npz")["images"].shape[1:] == (8, 8, 1)
