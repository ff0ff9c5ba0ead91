"""Splits of random trees; what a run that fails or dies leaves behind, and what the next one makes of it."""

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from container.dataset.record import SETS, Split
from container.dataset.split import SplitOutcome, split_images
from container.errors import DataError
from container.modeling.settings import Data
from tests.container.dataset.unwatched import Unwatched

# A file system other than that of temporary files, on most machines.
MEMORY = Path("/dev/shm")
PNG = b"\x89PNG\r\n\x1a\n"
# Splits the folder `images` of its working directory; prints each step, and does what is asked for at the nth image.
SCRIPT = """
import os, signal, sys
from pathlib import Path
from container.dataset.split import split_images
from container.modeling.settings import Data

class Watch:
    def start(self, step, total=None):
        print(step, flush=True)
        self.filling, self.done = total is not None, 0

    def advance(self):
        self.done += 1
        if self.filling and self.done == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

split_images(Data(directory="images", seed=int(sys.argv[1])), Path.cwd(), Watch())
"""


class InterruptedAt(Unwatched):
    """A Progress at whose nth filled-in image the user presses Ctrl-C."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.filling = False

    def start(self, step: str, total: int | None = None) -> None:
        """Remember the step."""
        self.filling = total is not None

    def advance(self) -> None:
        """Count down."""
        self.left -= self.filling
        if not self.left:
            raise KeyboardInterrupt


def write_images(project: Path, names: list[str]) -> None:
    for name in names:
        path = project / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG + name.encode())
        # The same times in every tree, so that the same names make the same images.
        os.utime(path, (0, 0))


def split(project: Path, seed: int = 0) -> SplitOutcome:
    return split_images(Data(directory="images", seed=seed), project, Unwatched())


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "split.json"
    }


def listing(project: Path) -> list[str]:
    return sorted(path.name for path in project.iterdir())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_images(tmp_path, [f"{name}/{number}.png" for name in "ab" for number in range(20)])
    return tmp_path


FILE_NAMES = st.lists(
    st.builds("{}{}.png".format, st.sampled_from(["", "in/", "in/deeper/", "o t/"]), st.integers(0, 99)),
    min_size=3,
    max_size=12,
    unique=True,
)
TREES = st.dictionaries(st.sampled_from(["a", "b", "B", "c d", "é", "1"]), FILE_NAMES, min_size=1, max_size=3)


@pytest.mark.slow
@given(tree=TREES, seed=st.integers(0, 1000), data=st.data())
def test_a_split_is_complete_disjoint_and_stratified_whatever_the_order(
    tree: dict[str, list[str]], seed: int, data: st.DataObject
) -> None:
    names = [f"{name}/{file}" for name, files_of_class in tree.items() for file in files_of_class]
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        write_images(Path(one), names)
        outcome = split(Path(one), seed)
        placed = files(outcome.sets)
        originals = [path.split("/", 1)[1] for path in placed]
        assert sorted(originals) == sorted(names)
        assert list(placed.values()) == [PNG + original.encode() for original in originals]
        for counts in outcome.split.classes:
            for (set_name, count), share in zip(counts.by_set(), (0.8, 0.1, 0.1), strict=True):
                assert count == sum(path.startswith(f"{set_name}/{counts.name}/") for path in placed)
                # In a class of fewer than ten, training gives of its own what the others are short of one image.
                slack = 2 if set_name == "training" and counts.total < 10 else 1
                assert abs(count - share * counts.total) < slack

        write_images(Path(other), data.draw(st.permutations(names)))
        assert files(split(Path(other), seed).sets) == placed
        assert Split.read(Path(other) / "images-sets") == outcome.split


def test_a_second_run_touches_nothing(project: Path) -> None:
    first = split(project)
    before = {path: path.stat().st_mtime_ns for path in project.rglob("*")}
    second = split(project)
    assert (first.unchanged, second.unchanged) == (False, True)
    assert second.split == first.split
    assert {path: path.stat().st_mtime_ns for path in project.rglob("*")} == before


@pytest.mark.parametrize("interrupted_at", [1, 25, 40])
def test_ctrl_c_leaves_the_earlier_split(project: Path, interrupted_at: int) -> None:
    earlier = files(split(project).sets)
    with pytest.raises(KeyboardInterrupt):
        split_images(Data(directory="images", seed=1), project, InterruptedAt(interrupted_at))
    assert listing(project) == ["images", "images-sets"]
    assert files(project / "images-sets") == earlier
    assert split(project).unchanged


@pytest.mark.parametrize("killed_at", [1, 40])
def test_a_killed_run_leaves_the_earlier_split_and_the_next_one_clears_up(project: Path, killed_at: int) -> None:
    earlier = files(split(project).sets)
    killed = subprocess.run([sys.executable, "-c", SCRIPT, "1", str(killed_at)], cwd=project, env=environment())
    assert killed.returncode == -signal.SIGKILL
    assert files(project / "images-sets") == earlier
    assert len(listing(project)) == 4
    assert not split(project, seed=1).unchanged
    assert listing(project) == ["images", "images-sets"]


def test_a_run_killed_between_its_two_renames_is_undone(project: Path) -> None:
    earlier = files(split(project).sets)
    # What such a run leaves: the earlier split under its other name, the new one not yet under the right one.
    (project / "images-sets").rename(project / ".images-sets.being-replaced")
    (project / ".images-sets.being-written/training").mkdir(parents=True)
    assert split(project).unchanged
    assert listing(project) == ["images", "images-sets"]
    assert files(project / "images-sets") == earlier


def test_a_run_killed_while_it_removed_the_earlier_split_is_finished(project: Path) -> None:
    split(project)
    (project / ".images-sets.being-replaced/training/a").mkdir(parents=True)
    assert split(project).unchanged
    assert listing(project) == ["images", "images-sets"]


def test_two_runs_at_once_take_turns_and_another_folder_waits_for_neither(project: Path) -> None:
    descriptor = os.open(project / ".images-sets.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    others = split_images(Data(directory="images", sets_directory="others"), project, Unwatched())
    assert others.sets.is_dir()
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "0", "0"], cwd=project, env=environment(), stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout
        steps = [run.stdout.readline().strip() for _ in range(3)]
        assert steps[-1].startswith("Waiting")
        assert listing(project) == [".images-sets.lock", "images", "others"]
        os.close(descriptor)
        run.communicate(timeout=20)
    assert run.returncode == 0
    assert split(project).unchanged
    assert listing(project) == ["images", "images-sets", "others"]


def test_a_split_that_lost_files_is_made_again(project: Path) -> None:
    earlier = files(split(project).sets)
    next((project / "images-sets/training/a").iterdir()).unlink()
    assert not split(project).unchanged
    assert files(project / "images-sets") == earlier


def test_a_file_of_the_users_is_kept_where_another_is_gone(project: Path) -> None:
    folder = split(project).sets / "training/a"
    next(folder.iterdir()).unlink()
    (folder / "mine.png").write_bytes(PNG)
    with pytest.raises(DataError, match=r"files that the split did not put there, in 'training/a/mine.png'"):
        split(project, seed=1)
    assert (folder / "mine.png").read_bytes() == PNG


@pytest.mark.parametrize("name", ["training/.notes.txt", ".private/key", "training/a/.mine.png", ".checksums"])
def test_a_hidden_file_of_the_users_is_kept(project: Path, name: str) -> None:
    sets = split(project).sets
    (sets / name).parent.mkdir(exist_ok=True)
    (sets / name).write_bytes(b"mine")
    with pytest.raises(DataError, match=f"files that the split did not put there, in '{name}': move it away"):
        split(project, seed=1)
    assert (sets / name).read_bytes() == b"mine"


def test_what_systems_leave_and_our_own_hidden_files_are_in_nobodys_way(project: Path) -> None:
    sets = split(project).sets
    for name in (".checksums.sqlite", ".checksums.sqlite-journal", ".DS_Store", "training/._a", "training/a/Thumbs.db"):
        (sets / name).write_bytes(b"x")
    assert split(project).unchanged
    assert not split(project, seed=1).unchanged
    assert listing(sets) == sorted([*SETS, "split.json"])


def test_images_that_are_gone_make_another_split(project: Path) -> None:
    split(project)
    for number in range(10):
        (project / f"images/a/{number}.png").unlink()
    assert split(project).split.total == 30


def test_links_in_a_class_folder_become_images_of_their_own(project: Path) -> None:
    (project / "elsewhere.png").write_bytes(PNG + b"elsewhere")
    for number in range(5):
        (project / f"images/a/link{number}.png").symlink_to("../../elsewhere.png")
    sets = split(project).sets
    linked = list(sets.rglob("link*.png"))
    assert len(linked) == 5
    assert not any(path.is_symlink() for path in linked)
    assert {path.read_bytes() for path in linked} == {PNG + b"elsewhere"}


def test_sets_behind_a_link_are_replaced_where_they_lie(project: Path) -> None:
    (project / "disk").mkdir()
    (project / "images-sets").symlink_to("disk")
    outcome = split(project)
    assert (project / "images-sets").is_symlink()
    assert listing(project / "disk") == sorted([*SETS, "split.json"])
    assert outcome.sets == (project / "disk").resolve()


@pytest.mark.skipif(not MEMORY.is_dir(), reason="needs a second file system")
def test_where_links_are_impossible_images_are_copied_with_their_time(project: Path) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as elsewhere:
        if Path(elsewhere).stat().st_dev == project.stat().st_dev:
            pytest.skip(f"{MEMORY} is the same file system")
        data = Data(directory="images", sets_directory=f"{elsewhere}/sets")
        outcome = split_images(data, project, Unwatched())
        assert (outcome.split.linked, outcome.split.copied) == (0, 40)
        assert {path.stat().st_mtime for path in outcome.sets.rglob("*.png")} == {0}
        assert split_images(data, project, Unwatched()).unchanged


@pytest.mark.parametrize("content", ["", "{}", '{"version": 2}', "[1"])
def test_a_broken_record_is_an_error_that_says_what_to_do(project: Path, content: str) -> None:
    (split(project).sets / "split.json").write_text(content)
    with pytest.raises(DataError, match=r"split.json cannot be understood .* remove .*images-sets and split again"):
        split(project)


def test_a_missing_record_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"run python data_handler.py"):
        Split.read(tmp_path)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
