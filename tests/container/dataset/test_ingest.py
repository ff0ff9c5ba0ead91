"""What is ingested from archives and folders, honest and hostile, and what a run that dies leaves behind."""

import dataclasses
import gzip
import io
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from container.dataset.archives import Member
from container.dataset.fetching import StoredFile, fetching_folder
from container.dataset.ingest import (
    Ingested,
    ingest_archive,
    ingest_arrays,
    ingest_folder,
    ingest_store,
)
from container.dataset.taking import Limits, Quota, inside, take, unsafe
from container.errors import DataError
from tests.container.dataset.preparing import Unwatched, files, write

LIMITS = Limits(files=1000, bytes=0, ratio=100, pixels=0)
HONEST = {
    "photos/cat/1.jpg": b"one",
    "photos/cat/in/2.jpg": b"two",
    "photos/dog/'quoted' \"name\" \U0001f408.jpg": b"three",
    "photos/dog/line\nbreak.jpg": b"four",
}
SCRIPT = """
import os, signal, sys
from pathlib import Path
from container.dataset.ingest import ingest_archive, ingest_folder
from tests.container.dataset.preparing import Unwatched
from tests.container.dataset.test_ingest import LIMITS

class Watch(Unwatched):
    done = 0

    def advance(self):
        self.done += 1
        if self.done == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

source = Path(sys.argv[1])
(ingest_folder if source.is_dir() else ingest_archive)(source, Path("target"), LIMITS, Watch())
"""


def make_zip(path: Path, contents: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def make_tar(path: Path, contents: Mapping[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1_000_000_000
            archive.addfile(info, io.BytesIO(content))
    return path


def add(path: Path, name: str, kind: bytes, link: str = "") -> None:
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        archive.addfile(info)


def ingest(source: Path, limits: Limits = LIMITS) -> Ingested:
    done = ingest_folder if source.is_dir() else ingest_archive
    return done(source, source.parent / "target", limits, Unwatched())


def shown(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in files(folder).items() if name != ".ingested.json"}


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a.zip", make_zip),
        ("a.tar", make_tar),
        ("a.TGZ", lambda path, contents: make_tar(path, contents, "w:gz")),
        ("a.tar.bz2", lambda path, contents: make_tar(path, contents, "w:bz2")),
        ("a.tar.xz", lambda path, contents: make_tar(path, contents, "w:xz")),
        # What a file is called and what it is need not agree.
        ("gz.tar", lambda path, contents: make_tar(path, contents, "w:gz")),
    ],
)
def test_an_archive_is_unpacked_without_the_folder_around_its_classes(
    tmp_path: Path, name: str, make: Callable[[Path, Mapping[str, bytes]], Path]
) -> None:
    contents = HONEST | {"photos/.DS_Store": b"x", "__MACOSX/photos/cat/._1.jpg": b"x"}
    done = ingest(make(tmp_path / name, contents))
    assert shown(tmp_path / "target") == {name.removeprefix("photos/"): HONEST[name] for name in HONEST}
    assert (done.files, done.bytes, done.hidden, done.left_out) == (4, 15, 2, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, "target"]
    assert ingest(tmp_path / name).unchanged


def test_a_folder_with_one_class_and_a_table_beside_classes_stay(tmp_path: Path) -> None:
    ingest(make_zip(tmp_path / "one.zip", {"cat/1.jpg": b"one"}))
    assert shown(tmp_path / "target") == {"cat/1.jpg": b"one"}
    shutil.rmtree(tmp_path / "target")
    ingest(make_zip(tmp_path / "table.zip", {"labels.csv": b"image\n", "cat/1.jpg": b"one", "dog/1.jpg": b"two"}))
    assert sorted(shown(tmp_path / "target")) == ["cat/1.jpg", "dog/1.jpg", "labels.csv"]


@pytest.mark.parametrize("beside", ["LICENSE.txt", "labels.csv", "README"])
def test_a_folder_around_classes_is_left_away_whatever_text_lies_in_it(tmp_path: Path, beside: str) -> None:
    contents = {f"flower_photos/{beside}": b"text", "flower_photos/daisy/1.jpg": b"1", "flower_photos/rose/1.jpg": b"2"}
    ingest(make_tar(tmp_path / "a.tgz", contents, "w:gz"))
    assert sorted(shown(tmp_path / "target")) == sorted([beside, "daisy/1.jpg", "rose/1.jpg"])


def test_a_class_with_folders_in_it_stays(tmp_path: Path) -> None:
    contents = {"cat/1.jpg": b"one", "cat/small/2.jpg": b"two", "cat/large/3.jpg": b"three"}
    ingest(make_zip(tmp_path / "a.zip", contents))
    assert shown(tmp_path / "target") == contents


def test_times_of_change_come_along(tmp_path: Path) -> None:
    ingest(make_tar(tmp_path / "a.tar", HONEST))
    assert {path.stat().st_mtime for path in (tmp_path / "target").rglob("*.jpg")} == {1_000_000_000}


HOSTILE = {
    "../outside.jpg": "its name leads out of the folder",
    "cat/../../../outside.jpg": "its name leads out of the folder",
    "/tmp/outside.jpg": "its name is an absolute path",
    "//outside.jpg": "its name is an absolute path",
    f"cat/{'n' * 256}.jpg": "its name is too long",
    "cat/1.jpg/inside.jpg": "a file has the name of its folder",
}


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_hostile_names_are_told_and_nothing_leaves_the_folder(
    tmp_path: Path, make: Callable[[Path, Mapping[str, bytes]], Path]
) -> None:
    (tmp_path / "inner").mkdir()
    contents = {"cat/1.jpg": b"one", "dog/2.jpg": b"two"} | dict.fromkeys(HOSTILE, b"hostile")
    done = ingest(make(tmp_path / "inner" / ("a.zip" if make is make_zip else "a.tar"), contents))
    assert {file.path: file.reason for file in done.named} == HOSTILE
    assert done.left_out == len(HOSTILE)
    assert shown(tmp_path / "inner/target") == {"cat/1.jpg": b"one", "dog/2.jpg": b"two"}
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]
    assert not Path("/tmp/outside.jpg").exists()


def test_links_devices_and_names_that_come_twice_are_left_out(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a.tar", {"cat/1.jpg": b"one", "dog/2.jpg": b"two"})
    secret = tmp_path / "secret"
    secret.mkdir()
    for name, kind, link in (
        ("cat/link", tarfile.SYMTYPE, str(secret)),
        ("cat/link/through.jpg", tarfile.REGTYPE, ""),
        ("cat/up", tarfile.SYMTYPE, "../../../secret"),
        ("cat/hard.jpg", tarfile.LNKTYPE, "/etc/hostname"),
        ("cat/pipe", tarfile.FIFOTYPE, ""),
        ("cat/device", tarfile.CHRTYPE, ""),
        ("cat/1.jpg", tarfile.REGTYPE, ""),
    ):
        add(archive, name, kind, link)
    done = ingest(archive)
    assert [(file.path, file.reason) for file in done.named] == [
        ("cat/link", "it is a link"),
        ("cat/up", "it is a link"),
        ("cat/hard.jpg", "it is a link"),
        ("cat/pipe", "it is neither a file nor a folder"),
        ("cat/device", "it is neither a file nor a folder"),
        ("cat/1.jpg", "another file has its name already"),
    ]
    # The folder in place of the link is one like any other.
    assert sorted(shown(tmp_path / "target")) == ["cat/1.jpg", "cat/link/through.jpg", "dog/2.jpg"]
    assert list(secret.iterdir()) == []


def test_what_is_wrong_with_files_of_a_zip_is_told(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"cat/1.jpg": b"one", "cat/2.jpg": b"two" * 99, "dog/3.jpg": b"three"})
    with zipfile.ZipFile(archive, "a") as opened:
        link = zipfile.ZipInfo("dog/link")
        link.external_attr = 0o120777 << 16
        opened.writestr(link, "/etc/passwd")
        encrypted = zipfile.ZipInfo("dog/secret.jpg")
        opened.writestr(encrypted, b"x")
        encrypted.flag_bits |= 1
        damaged = opened.getinfo("cat/2.jpg")
    content = bytearray(archive.read_bytes())
    content[damaged.header_offset + 30 + len("cat/2.jpg") + 1] ^= 0xFF
    archive.write_bytes(content)
    reasons = {file.path: file.reason for file in ingest(archive).named}
    assert reasons.pop("cat/2.jpg").startswith("it is damaged: ")
    assert reasons == {"dog/link": "it is a link", "dog/secret.jpg": "it is encrypted"}
    assert sorted(shown(tmp_path / "target")) == ["cat/1.jpg", "dog/3.jpg"]


@given(name=st.text(max_size=30).map(lambda text: text.replace("a", "../").replace("b", "/")))
def test_no_name_leads_out(name: str) -> None:
    if not unsafe(name):
        parts = inside(name).parts
        assert parts
        assert ".." not in parts
        assert not inside(name).is_absolute()


@pytest.mark.parametrize("length", [0, 10, 300, 700])
@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_a_damaged_archive_leaves_nothing(tmp_path: Path, name: str, length: int) -> None:
    archive = tmp_path / name
    if name.endswith("zip"):
        make_zip(archive, HONEST)
    else:
        make_tar(archive, HONEST, "w:gz" if name.endswith("gz") else "w")
    archive.write_bytes(archive.read_bytes()[: min(length, archive.stat().st_size - 20)])
    with pytest.raises(DataError, match=r"a\.[a-z.]+ (cannot be (unpacked|read)|holds no file)"):
        ingest(archive)
    assert [path.name for path in tmp_path.iterdir()] == [name]


TWENTY = {f"cat/{number:02}.jpg": np.random.default_rng(number).bytes(700) for number in range(20)}
# A header, and 700 bytes in two blocks.
MEMBER = 3 * tarfile.BLOCKSIZE


def without_checksum(content: bytes) -> bytes:
    """Damage the header of the sixth file."""
    return content[: 5 * MEMBER] + b"\xff" + content[5 * MEMBER + 1 :]


def zeroed(content: bytes) -> bytes:
    """Blank the header of the sixth file, as a page that never came to the disk."""
    return content[: 5 * MEMBER] + bytes(tarfile.BLOCKSIZE) + content[5 * MEMBER + tarfile.BLOCKSIZE :]


def inverted(content: bytes) -> bytes:
    """Damage what is compressed: random bytes are stored as they are, so that they still unpack."""
    return content[:6000] + bytes([content[6000] ^ 0xFF]) + content[6001:]


@pytest.mark.parametrize(
    ("mode", "damage"),
    [
        ("w", without_checksum),
        ("w", zeroed),
        ("w", lambda content: content[: 5 * MEMBER]),
        ("w", lambda content: content[: 5 * MEMBER + 300]),
        ("w", lambda content: content[: 5 * MEMBER + 600]),
        ("w", lambda content: content[: 20 * MEMBER]),
        ("w", lambda content: content * 2),
        ("w:gz", inverted),
        ("w:gz", lambda content: content[:-6]),
        ("w:bz2", inverted),
        ("w:bz2", lambda content: content[:-6]),
        ("w:xz", inverted),
        ("w:xz", lambda content: content[:-6]),
    ],
)
def test_a_tar_that_is_damaged_anywhere_is_refused_as_a_whole(
    tmp_path: Path, mode: str, damage: Callable[[bytes], bytes]
) -> None:
    archive = make_tar(tmp_path / "a.tar", TWENTY, mode)
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(DataError, match=r"a\.tar cannot be unpacked: .+; get it again, if it is cut off"):
        ingest(archive)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


class TestBombs:
    def test_too_much_out_of_too_little(self, tmp_path: Path) -> None:
        archive = make_zip(tmp_path / "a.zip", {"cat/1.jpg": bytes(80 << 20)})
        with pytest.raises(DataError, match=r"stopped after .* unpacks to more than 100 times its size.*max_ratio"):
            ingest(archive)
        assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
        assert ingest(archive, Limits(files=10, bytes=0, ratio=2000, pixels=0)).bytes == 80 << 20

    @pytest.mark.parametrize("name", ["a.zip", "a.tar"])
    def test_too_many_files_and_bytes(self, tmp_path: Path, name: str) -> None:
        archive = (make_zip if name.endswith("zip") else make_tar)(tmp_path / name, HONEST)
        with pytest.raises(DataError, match=r"more than 3 files, as many as ingestion.max_files allows"):
            ingest(archive, Limits(files=3, bytes=0, ratio=100, pixels=0))
        with pytest.raises(DataError, match=r"stopped after 10 bytes: ingestion.max_gb allows no more"):
            ingest(archive, Limits(files=10, bytes=10, ratio=100, pixels=0))
        assert [path.name for path in tmp_path.iterdir()] == [name]

    def test_a_header_that_would_fill_the_memory(self, tmp_path: Path) -> None:
        head = tarfile.TarInfo("cat/1.jpg")
        head.type, head.size = tarfile.XHDTYPE, 1 << 40
        with gzip.open(tmp_path / "a.tar.gz", "wb") as file:
            file.write(head.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20))
        with pytest.raises(DataError, match="a header in it is too large"):
            ingest(tmp_path / "a.tar.gz")

    def test_what_follows_the_end_of_a_tar_is_not_read_for_ever(self, tmp_path: Path) -> None:
        make_tar(tmp_path / "a.tar", {"cat/1.jpg": b"one"})
        for size in (60 << 20, 70 << 20):
            with gzip.open(tmp_path / "a.tar.gz", "wb") as file:
                file.write((tmp_path / "a.tar").read_bytes() + bytes(size))
            if size == 60 << 20:
                ingest(tmp_path / "a.tar.gz")
                shutil.rmtree(tmp_path / "target")
        with pytest.raises(DataError, match="more than 64 MB follow its end"):
            ingest(tmp_path / "a.tar.gz")

    def test_a_zip_that_lies_about_its_sizes(self, tmp_path: Path) -> None:
        archive = make_zip(tmp_path / "a.zip", {"cat/1.jpg": bytes(1000)})
        content = archive.read_bytes().replace((1000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
        archive.write_bytes(content)
        with pytest.raises(DataError):
            ingest(archive)

    def test_the_files_that_are_left_out_are_named_up_to_a_number(self, tmp_path: Path) -> None:
        members = (Member(f"../{number}", 0, "", io.BytesIO) for number in range(3000))
        taken = take(members, tmp_path, Quota(Limits(5000, 0, 100, 0), tmp_path), Unwatched())
        assert (taken.files, taken.left_out, len(taken.named)) == (0, 3000, 1000)


def test_a_folder_is_copied_and_links_are_left_out(tmp_path: Path) -> None:
    for name, content in HONEST.items():
        write(tmp_path / "source" / name, content)
    (tmp_path / "source/photos/cat/loop").symlink_to("..")
    (tmp_path / "source/photos/cat/out.jpg").symlink_to("/etc/hostname")
    done = ingest(tmp_path / "source")
    assert {file.path: file.reason for file in done.named} == {
        "photos/cat/loop": "it is a link",
        "photos/cat/out.jpg": "it is a link",
    }
    assert shown(tmp_path / "target") == {name.removeprefix("photos/"): HONEST[name] for name in HONEST}
    assert ingest(tmp_path / "source").unchanged


def test_what_is_there_is_not_replaced(tmp_path: Path) -> None:
    write(tmp_path / "target/thesis.txt", b"all my work")
    archive = make_zip(tmp_path / "a.zip", HONEST)
    with pytest.raises(DataError, match=r"target holds something else: name another target, or remove it"):
        ingest(archive)
    shutil.rmtree(tmp_path / "target")
    ingest(archive)
    with pytest.raises(DataError, match=r"target holds what was ingested from .*a.zip: name another"):
        ingest(make_zip(tmp_path / "b.zip", HONEST))
    with pytest.raises(DataError, match="would lie one in the other"):
        ingest_folder(tmp_path, tmp_path / "inner", LIMITS, Unwatched())


def test_files_that_are_gone_since_are_told(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a.tar", HONEST)
    ingest(archive)
    write(tmp_path / "target/.DS_Store", b"x")
    assert ingest(archive).unchanged
    shutil.rmtree(tmp_path / "target/dog")
    with pytest.raises(DataError, match=r"target holds 2 of the 4 files of .*a.tar.*: remove it, or name another"):
        ingest(archive)
    write(tmp_path / "target/cat/mine.jpg", b"mine")
    with pytest.raises(DataError, match="holds 3 of the 4 files"):
        ingest(archive)
    assert (tmp_path / "target/cat/mine.jpg").exists()


def test_a_source_is_the_same_however_its_path_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "source/cat/1.jpg", b"one")
    make_tar(tmp_path / "a.tar", HONEST)
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 3, 3), np.uint8), labels=np.array([0, 1]))
    monkeypatch.chdir(tmp_path)
    limits = dataclasses.replace(LIMITS, pixels=9)
    for name, done in (("source", ingest_folder), ("a.tar", ingest_archive), ("a.npz", read_arrays)):
        target = tmp_path / f"{name} target"
        assert not done(tmp_path / name, target, limits, Unwatched()).unchanged
        assert done(Path(name), target, limits, Unwatched()).unchanged


def read_arrays(file: Path, target: Path, limits: Limits, progress: Unwatched) -> Ingested:
    return ingest_arrays(file, None, target, limits, progress)


@pytest.mark.parametrize("kind", ["archive", "folder"])
@pytest.mark.parametrize("at", [1, 4])
def test_a_killed_run_leaves_no_target_and_the_next_one_makes_it(tmp_path: Path, kind: str, at: int) -> None:
    for name, content in HONEST.items():
        write(tmp_path / "source" / name, content)
    source = tmp_path / "source" if kind == "folder" else make_tar(tmp_path / "a.tar", HONEST)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    # In a folder the files are counted first.
    number = at + (len(HONEST) if kind == "folder" else 0)
    command = [sys.executable, "-c", SCRIPT, str(source), str(number)]
    assert subprocess.run(command, cwd=tmp_path, env=environment).returncode == -signal.SIGKILL
    assert not (tmp_path / "target").exists()
    ingest(source)
    assert shown(tmp_path / "target") == {name.removeprefix("photos/"): HONEST[name] for name in HONEST}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


class Shelf:
    """A Store in memory, whose nth fetching fails."""

    def __init__(self, contents: Mapping[str, bytes], fails_at: int = 0) -> None:
        self.contents, self.fails_at = contents, fails_at
        self.fetched: list[str] = []
        self.numbers = itertools.count(1)

    def files(self) -> Iterator[StoredFile]:
        """Yield all."""
        for name, content in self.contents.items():
            yield StoredFile(name, len(content), 1e9 + len(name))

    def fetch(self, file: StoredFile, target: Path) -> None:
        """Write one."""
        self.fetched.append(file.name)
        fails = next(self.numbers) == self.fails_at
        target.write_bytes(self.contents[file.name][: 1 if fails else None])
        if fails:
            raise DataError("the connection broke")


def fetch(shelf: Shelf, target: Path, limits: Limits = LIMITS) -> Ingested:
    return ingest_store(shelf, target, limits, Unwatched(), "s3://bucket/photos/")


def test_a_store_is_fetched_and_gone_on_with_after_an_interruption(tmp_path: Path) -> None:
    contents = {f"photos/{name}/{number}.jpg": bytes([number]) * 9 for name in ("cat", "dog") for number in range(20)}
    target = tmp_path / "target"
    broken = Shelf(contents, fails_at=30)
    with pytest.raises(DataError, match="the connection broke"):
        fetch(broken, target)
    assert not target.exists()
    whole = Shelf(contents)
    done = fetch(whole, target)
    assert len(whole.fetched) <= 40 - 29
    assert (done.files, done.bytes) == (40, 360)
    assert shown(target) == {name.removeprefix("photos/"): content for name, content in contents.items()}
    assert not fetching_folder(target).exists()
    again = Shelf(contents)
    assert fetch(again, target).unchanged
    assert again.fetched == []


def test_a_store_that_changed_meanwhile_is_fetched_as_it_is_now(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with pytest.raises(DataError):
        fetch(Shelf({"cat/1.jpg": b"one", "cat/2.jpg": b"two", "cat/3.jpg": b"three"}, fails_at=3), target)
    now = {"cat/1.jpg": b"longer", "dog/4.jpg": b"four"}
    fetch(Shelf(now), target)
    assert shown(target) == now


def test_hostile_names_in_a_store_are_told(tmp_path: Path) -> None:
    contents = {"cat/1.jpg": b"1", "../out.jpg": b"2", "/abs.jpg": b"3", "cat//1.jpg": b"4", ".hidden/1.jpg": b"5"}
    done = fetch(Shelf(contents), tmp_path / "target")
    assert {file.path: file.reason for file in done.named} == {
        "../out.jpg": "its name leads out of the folder",
        "/abs.jpg": "its name is an absolute path",
        "cat//1.jpg": "another file has its name already",
    }
    assert shown(tmp_path / "target") == {"cat/1.jpg": b"1"}
    with pytest.raises(DataError, match=r"stopped after 4 bytes: ingestion.max_gb"):
        fetch(Shelf({"cat/1.jpg": b"12345"}), tmp_path / "other", Limits(10, 4, 1, 0))
    with pytest.raises(DataError, match="holds no file: see `aws s3 ls"):
        fetch(Shelf({}), tmp_path / "other")


def test_names_that_no_folder_can_have_together_are_told(tmp_path: Path) -> None:
    long = "x" * 256
    contents = {"cat": b"", "cat/1.jpg": b"1", f"cat/{long}.jpg": b"2", f"{long}/1.jpg": b"3", "cat//1.jpg/a": b"4"}
    contents |= {"dog/2.jpg": b"5", "dog": b"6", "dog/\ud800.jpg": b"7"}
    done = fetch(Shelf(contents), tmp_path / "target")
    assert {file.path: file.reason for file in done.named} == {
        "cat": "a folder has its name already",
        "cat/1.jpg": "a folder has its name already",
        f"cat/{long}.jpg": "its name is too long",
        f"{long}/1.jpg": "its name is too long",
        "dog": "a folder has its name already",
        "dog/\\ud800.jpg": "its name cannot be written here",
    }
    assert shown(tmp_path / "target") == {"cat/1.jpg/a": b"4", "dog/2.jpg": b"5"}
    assert (done.files, done.bytes, done.left_out) == (2, 2, 6)


class Vast(Shelf):
    """A Store of files that are as large as one likes, since they have holes."""

    def __init__(self, sizes: Mapping[str, int], lacks: str = "") -> None:
        super().__init__({})
        self.sizes, self.lacks = sizes, lacks

    def files(self) -> Iterator[StoredFile]:
        """Yield all."""
        for name, size in self.sizes.items():
            yield StoredFile(name, size, 1e9)

    def fetch(self, file: StoredFile, target: Path) -> None:
        """Write one."""
        self.fetched.append(file.name)
        if file.name == self.lacks:
            raise DataError("the connection broke")
        target.touch()
        os.truncate(target, file.size)


def test_what_was_fetched_already_needs_no_more_room(tmp_path: Path) -> None:
    large = shutil.disk_usage(tmp_path).free * 7 // 10
    with pytest.raises(DataError, match="the connection broke"):
        fetch(Vast({"cat/1.jpg": large, "cat/2.jpg": 1}, lacks="cat/2.jpg"), tmp_path / "target")
    with pytest.raises(DataError, match=r"stopped after .* the disk has no room for more: make room"):
        fetch(Vast({"cat/1.jpg": large, "cat/2.jpg": large, "cat/3.jpg": large}), tmp_path / "target")
    again = Vast({"cat/1.jpg": large, "cat/2.jpg": large})
    fetch(again, tmp_path / "target")
    assert again.fetched == ["cat/2.jpg"]


FETCHING = """
import os, signal, sys
from pathlib import Path
from tests.container.dataset.test_ingest import HONEST, Shelf, fetch

steps = 0

def die(event, _):
    global steps
    if event in ("os.rename", "shutil.rmtree"):
        steps += 1
        if steps == int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(die)
fetch(Shelf(HONEST), Path("target"))
"""


@pytest.mark.slow
def test_a_killed_run_never_fetches_twice_what_it_had(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    # Each file is renamed when it is whole, then the folder of all, and what is left of it is removed.
    for step in range(1, len(HONEST) + 3):
        command = [sys.executable, "-c", FETCHING, str(step)]
        assert subprocess.run(command, cwd=tmp_path, env=environment).returncode == -signal.SIGKILL
        assert (tmp_path / "target").exists() == (step == len(HONEST) + 2)
        again = Shelf(HONEST)
        done = fetch(again, tmp_path / "target")
        assert len(again.fetched) <= max(len(HONEST) - (step - 1), 0)
        assert done.unchanged == (step == len(HONEST) + 2)
        assert shown(tmp_path / "target") == {name.removeprefix("photos/"): HONEST[name] for name in HONEST}
        assert [path.name for path in tmp_path.iterdir()] == ["target"]
        shutil.rmtree(tmp_path / "target")
