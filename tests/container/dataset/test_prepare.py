"""Sets that are prepared: what is in the shards, what is done again, and what a run that dies leaves behind."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from container.dataset.prepare import Layout, prepare_sets
from container.dataset.prepared import SetIndex, current_files
from container.dataset.sharded_folder import index_shards
from container.dataset.shards import ShardIndex
from container.errors import DataError
from tests.container.dataset.preparing import (
    RECIPE,
    SMALL_SHARDS,
    Unwatched,
    contents,
    encoded,
    files,
    prepare,
    write,
    write_sets,
)

# Prepares a split, and dies at the nth image.
SCRIPT = """
import os, signal, sys
from pathlib import Path
from container.dataset.prepare import prepare_sets
from tests.container.dataset.preparing import RECIPE, SMALL_SHARDS, Unwatched

class Watch(Unwatched):
    done = 0

    def start(self, step, total=None):
        self.counts = step.startswith("Preparing")

    def advance(self):
        self.done += self.counts
        if self.done == int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)

prepare_sets(Path("sets"), Path("prepared"), RECIPE, SMALL_SHARDS, Watch(), processes=1)
"""
NAMES = st.builds(
    "{}/{}{}.png".format, st.sampled_from(["a", "b c", "é"]), st.sampled_from(["", "in/"]), st.integers(0, 9)
)
TREES = st.dictionaries(NAMES, st.integers(0, 3), min_size=1, max_size=20)


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    return write_sets(tmp_path)


def killed(project: Path, at: int) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(at)], cwd=project, env=environment)
    assert done.returncode == -signal.SIGKILL


def test_each_image_is_in_one_shard_and_the_index_tells_of_all(sets: Path) -> None:
    training, validation = prepare(sets)
    prepared = sets.with_name("prepared")
    assert sorted(contents(prepared / "training")) == sorted(
        path.relative_to(sets / "training").as_posix() for path in (sets / "training").rglob("*.png")
    )
    assert (training.shrunk, validation.shrunk) == (80, 10)
    assert [(row.name, row.images) for row in training.index.classes] == [("cat", 40), ("dog", 40)]
    assert len(training.index.shards) > 16
    assert {shard.name[-14:] for shard in training.index.shards} == {"00032.tfrecord"}
    assert training.index == SetIndex.read(prepared / "training")
    assert {shard.name: shard.bytes for shard in training.index.shards} == {
        path.name: path.stat().st_size for path in (prepared / "training").glob("*.tfrecord")
    }
    assert all(shard.bytes < 3 * SMALL_SHARDS.shard_bytes for shard in training.index.shards)
    assert not (prepared / "evaluation").exists()


def test_the_images_come_in_the_order_of_a_folder_or_as_they_are_stored(sets: Path) -> None:
    prepare(sets)
    folder = sets.with_name("prepared") / "training"
    found = index_shards(folder)
    assert list(zip(found.labels.tolist(), found.names, strict=True)) == sorted(
        zip(found.labels.tolist(), found.names, strict=True)
    )
    stored = index_shards(folder, as_stored=True)
    assert sorted(stored.names) == sorted(found.names)
    places = list(zip(stored.file_of.tolist(), stored.offsets.tolist(), strict=True))
    assert places == sorted(places)


def test_again_touches_nothing(sets: Path) -> None:
    prepare(sets)
    before = {path: path.stat().st_mtime_ns for path in sets.parent.rglob("*")}
    assert [(found.unchanged, found.shrunk) for found in prepare(sets)] == [(True, 0), (True, 0)]
    assert {path: path.stat().st_mtime_ns for path in sets.parent.rglob("*")} == before


def test_only_what_changed_is_done_again(sets: Path) -> None:
    prepare(sets)
    before = files(sets.with_name("prepared"))
    write(sets / "training/cat/new.png", encoded(1000))
    (sets / "training/dog/3.png").unlink()
    write(sets / "training/dog/4.png", encoded(1001, size=(20, 20)))
    training, validation = prepare(sets)
    assert (training.shrunk, training.unchanged) == (2, False)
    assert (validation.shrunk, validation.unchanged) == (0, True)
    after = files(sets.with_name("prepared"))
    assert sum(after[name] != before.get(name) for name in after if name.endswith(".tfrecord")) <= 3


@given(first=TREES, second=TREES, shard_bytes=st.sampled_from([300, 1000, 100_000]), least=st.sampled_from([1, 4]))
@pytest.mark.slow
def test_what_was_done_before_makes_no_difference(
    first: dict[str, int], second: dict[str, int], shard_bytes: int, least: int
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        sets, layout = Path(scratch) / "sets", Layout(shard_bytes, least)
        write(sets / "split.json", b"{}")
        write(sets / "validation/a/0.png", encoded(0))
        for tree in (first, second):
            for path in (sets / "training").rglob("*.png"):
                path.unlink()
            for name, seed in tree.items():
                # Of a size that differs with the content, as the time does not.
                write(sets / "training" / name, encoded(seed, size=(9 + seed, 9)))
            prepare(sets, layout=layout)
        fresh = Path(scratch) / "fresh"
        prepare(sets, fresh, layout=layout)
        assert files(fresh) == files(sets.with_name("prepared"))
        assert sorted(contents(fresh / "training")) == sorted(second)


@pytest.mark.parametrize("at", [1, 50, 80, 85])
def test_a_killed_run_is_gone_on_with(sets: Path, tmp_path: Path, at: int) -> None:
    killed(tmp_path, at)
    with pytest.raises(DataError, match=r"not prepared to the end .* run python data_handler.py --prepare"):
        current_files(sets, tmp_path / "prepared", RECIPE)
    outcomes = prepare(sets)
    assert sum(outcome.shrunk for outcome in outcomes) <= 90 - at + 10
    prepare(sets, tmp_path / "fresh")
    assert files(tmp_path / "prepared") == files(tmp_path / "fresh")


def test_a_killed_change_is_no_prepared_set(sets: Path, tmp_path: Path) -> None:
    prepare(sets)
    write(sets / "training/cat/new.png", encoded(1000))
    killed(tmp_path, 30)
    (sets / "training/cat/new.png").unlink()
    with pytest.raises(DataError, match="not prepared to the end"):
        current_files(sets, tmp_path / "prepared", RECIPE)
    prepare(sets)
    prepare(sets, tmp_path / "fresh")
    assert files(tmp_path / "prepared") == files(tmp_path / "fresh")


@pytest.mark.slow
def test_processes_side_by_side_give_the_same(tmp_path: Path) -> None:
    sets = write_sets(tmp_path, training=200)
    prepare(sets)
    prepare_sets(sets, tmp_path / "others", RECIPE, SMALL_SHARDS, Unwatched(), processes=2)
    assert files(tmp_path / "others") == files(tmp_path / "prepared")


def test_an_image_that_cannot_be_decoded_is_named_and_stays_as_it_is(sets: Path) -> None:
    broken = encoded(0, size=(100, 100))[:10_000]
    write(sets / "training/cat/line\nbreak.png", broken)
    for _ in range(2):
        training, _ = prepare(sets)
        (problem,) = training.index.problems
        assert problem.path == "cat/line\\nbreak.png"
        assert "truncated" in problem.reason
    assert contents(sets.with_name("prepared") / "training")["cat/line\nbreak.png"] == broken


def test_labels_come_along_and_go(sets: Path) -> None:
    table = sets / "training/labels.csv"
    table.write_text("image,weight\ncat/0.png,2\n")
    prepare(sets)
    assert (sets.with_name("prepared") / "training/labels.csv").read_bytes() == table.read_bytes()
    table.write_text("image,weight\ncat/0.png,3\n")
    training, _ = prepare(sets)
    assert (training.unchanged, training.shrunk) == (False, 0)
    assert "training/labels.csv" in current_files(sets, sets.with_name("prepared"), RECIPE)
    table.unlink()
    prepare(sets)
    assert not (sets.with_name("prepared") / "training/labels.csv").exists()


def test_a_folder_of_somebody_else_is_left_alone(sets: Path) -> None:
    write(sets.with_name("prepared") / "thesis.txt", b"all my work")
    with pytest.raises(DataError, match="was not made by this program: move it away"):
        prepare(sets)
    assert files(sets.with_name("prepared")) == {"thesis.txt": b"all my work"}


@pytest.mark.parametrize("name", ["training/notes.txt", "validation/old/a.png", "training/mine.tfrecord"])
def test_what_is_not_ours_among_the_shards_is_named_and_stays(sets: Path, name: str) -> None:
    prepared = sets.with_name("prepared")
    prepare(sets)
    write(prepared / name, b"all my work")
    write(sets / "training/cat/new.png", encoded(1000))
    before = files(prepared)
    with pytest.raises(DataError, match=rf"prepared/{'/'.join(name.split('/')[:2])}' was not made .*: move it away"):
        prepare(sets)
    assert files(prepared) == before


def test_what_systems_and_dead_runs_leave_among_the_shards_is_in_nobodys_way(sets: Path) -> None:
    folder = sets.with_name("prepared") / "training"
    prepare(sets)
    write(folder / ".DS_Store", b"x")
    write(folder / ".training-00000-of-00001.tfrecord.being-written", b"x")
    write(folder / ".index.json.being-written", b"x")
    write(folder / "training-00000-of-00001.tfrecord", b"x")
    write(sets / "training/cat/new.png", encoded(1000))
    training, _ = prepare(sets)
    assert sorted(files(folder)) == sorted([".DS_Store", *training.index.files()])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_an_image_that_need_not_shrink_is_looked_into_too(sets: Path, kind: str) -> None:
    whole = encoded(0, (6, 400), kind)
    write(sets / "training/cat/whole.png", whole)
    write(sets / "training/dog/cut off.png", whole[: len(whole) * 3 // 4])
    assert [problem.path for problem in prepare(sets)[0].index.problems] == ["dog/cut off.png"]
    found = contents(sets.with_name("prepared") / "training")
    assert found["cat/whole.png"] == whole
    assert found["dog/cut off.png"] == whole[: len(whole) * 3 // 4]


def test_another_size_of_shards_takes_over_what_is_there(sets: Path) -> None:
    prepare(sets)
    write(sets / "training/cat/new.png", encoded(1000))
    for shard_bytes in (4000, 300, 100_000):
        training, _ = prepare(sets, layout=Layout(shard_bytes))
        assert training.shrunk == (shard_bytes == 4000)
        fresh = sets.with_name(f"fresh {shard_bytes}")
        prepare(sets, fresh, layout=Layout(shard_bytes))
        assert files(sets.with_name("prepared")) == files(fresh)


def test_without_a_split_there_is_nothing_to_prepare(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no split .*: run python data_handler.py"):
        prepare(tmp_path / "sets")


def test_only_what_is_current_is_taken_for_prepared(sets: Path) -> None:
    prepared = sets.with_name("prepared")
    assert current_files(sets, prepared, RECIPE) == {}
    prepare(sets)
    found = current_files(sets, prepared, RECIPE)
    assert sorted(found) == sorted(name for name in files(prepared) if not name.startswith("."))
    with pytest.raises(DataError, match=r"by other settings .* --prepare, or remove"):
        current_files(sets, prepared, RECIPE.model_copy(update={"height": 7}))
    write(sets / "split.json", b"another")
    with pytest.raises(DataError, match="from another split"):
        current_files(sets, prepared, RECIPE)
    assert [outcome.unchanged for outcome in prepare(sets)] == [True, True]
    next(prepared.glob("training/*.tfrecord")).unlink()
    with pytest.raises(DataError, match=r"tfrecord is missing: run"):
        current_files(sets, prepared, RECIPE)


def test_hosts_that_share_the_shards_get_some_each(sets: Path) -> None:
    training, validation = prepare(sets, layout=Layout(1_000_000, least_training_shards=12))
    assert len(training.index.shards) == 16
    assert len(validation.index.shards) == 1


class TestReading:
    def test_a_shard_that_is_missing_or_left_over_is_named(self, sets: Path) -> None:
        prepare(sets)
        folder = sets.with_name("prepared") / "training"
        first, second, *_ = sorted(folder.glob("*.tfrecord"))
        second.rename(folder / "training-00000-of-00001.tfrecord")
        with pytest.raises(DataError, match=f"lacks the shard {second.name} that its index.json lists: upload"):
            index_shards(folder)
        second.write_bytes((folder / "training-00000-of-00001.tfrecord").read_bytes())
        with pytest.raises(DataError, match=r"holds the shard training-00000-of-00001.tfrecord, which"):
            index_shards(folder)
        assert len(index_shards(folder, is_share=True)) > 80
        (folder / "index.json").unlink()
        with pytest.raises(DataError, match=r"holds shards without their index.json"):
            index_shards(folder)
        assert first.exists()

    @pytest.mark.parametrize("length", [0, 10, 100, -1])
    def test_a_shard_that_is_cut_off_is_an_error(self, sets: Path, length: int) -> None:
        prepare(sets)
        shard = min(sets.with_name("prepared").glob("training/*.tfrecord"))
        shard.write_bytes(shard.read_bytes()[:length])
        with pytest.raises(DataError, match=r"has no index at its end: it is cut off, or made otherwise; prepare"):
            index_shards(shard.parent)

    @settings(max_examples=30)
    @given(position=st.integers(1, 400), value=st.integers(0, 255))
    def test_a_damaged_index_is_an_error_or_the_same(self, position: int, value: int) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            sets = write_sets(Path(scratch), training=3)
            prepare(sets)
            shard = min(sets.with_name("prepared").glob("training/*.tfrecord"))
            whole, content = ShardIndex.read(shard), bytearray(shard.read_bytes())
            content[-position % len(content)] = value
            shard.write_bytes(content)
            with contextlib.suppress(DataError):
                assert ShardIndex.read(shard) == whole

    def test_class_folders_beside_shards_are_an_error(self, sets: Path) -> None:
        prepare(sets)
        folder = sets.with_name("prepared") / "training"
        write(folder / "cat/1.png", encoded(1))
        with pytest.raises(DataError, match=r"holds shards and also a folder 'cat': upload .* --prune"):
            index_shards(folder)

    def test_classes_that_are_given_decide_the_labels(self, sets: Path) -> None:
        prepare(sets)
        folder = sets.with_name("prepared") / "validation"
        found = index_shards(folder, ("ant", "dog", "cat"))
        assert {(name[:3], found.classes[label]) for name, label in zip(found.names, found.labels, strict=True)} == {
            ("cat", "cat"),
            ("dog", "dog"),
        }
        with pytest.raises(DataError, match="has a class 'dog', but the classes are 'cat', 'cow'"):
            index_shards(folder, ("cat", "cow"))
