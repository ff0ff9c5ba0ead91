"""Sets prepared by several hosts, each of which has a share of the images."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from container.dataset.index import NOTHING_LEFT_OUT, BadFile
from container.dataset.left_out import LeftOutCounts
from container.dataset.prepared import SetIndex
from container.dataset.preparing_hosts import Order, Part, SetOrder, differences, merged, run
from container.dataset.raw_images import RawSplit
from container.dataset.record import ClassCounts, Fractions, Split
from container.dataset.sharded_folder import ShardedFolder, index_shards
from container.dataset.split import split_images
from container.errors import DataError
from container.modeling.settings import Data
from tests.container.dataset.preparing import RECIPE, SMALL_SHARDS, encoded, files, prepare, write, write_sets
from tests.container.dataset.unwatched import Unwatched

ROOT = Path(__file__).resolve().parents[3]
CLASSES = ("cat", "dog")


def make_order(hosts: int) -> Order:
    return Order(
        hosts=hosts,
        recipe=RECIPE,
        shard_bytes=SMALL_SHARDS.shard_bytes,
        least_training_shards=1,
        processes=1,
        record="{}",
        sets=(SetOrder(name="training", classes=CLASSES), SetOrder(name="validation", classes=CLASSES)),
    )


def raw_order(hosts: int, group_by: str = "") -> Order:
    fractions = Fractions(training=0.5, validation=0.25, evaluation=0.25)
    raw = RawSplit(source="s3://data/raw/", fractions=fractions, seed=3, group_by=group_by)
    return make_order(hosts).model_copy(update={"raw": raw})


def write_raw(project: Path, names: Sequence[str]) -> Path:
    """Write images of two classes that are not split; return their folder."""
    for label, class_name in enumerate(CLASSES):
        for number, name in enumerate(names):
            write(project / "images" / class_name / name, encoded(2 * number + label))
    return project / "images"


def distribute_raw(images: Path, order: Order) -> list[Path]:
    """Give each host its share of images that are not split; return their /opt/ml."""
    (images.parent / "raw-sets").mkdir()
    (images.parent / "raw-sets" / "raw").symlink_to(images)
    return distribute(images.parent / "raw-sets", order.hosts, order, ("raw",))


def split_by(parts: Sequence[Part], folder: Path, order: Order) -> dict[str, set[str]]:
    """Return CLASS/NAME of the images of each set."""
    for name, index in merged(order, parts).items():
        index.write(folder / name)
    found = {name: set(index_shards(folder / name).names) for name in ("training", "validation")}
    return found | {"evaluation": set(files(folder / "evaluation"))}


def distribute(sets: Path, hosts: int, order: Order, inputs: Sequence[str] = ("training", "validation")) -> list[Path]:
    """Give each host its share of a split, as SageMaker does with ShardedByS3Key; return their /opt/ml."""
    bases = [sets.with_name(f"host-{number}") for number in range(hosts)]
    names = [f"algo-{number + 1}" for number in range(hosts)]
    for name, base in zip(names, bases, strict=True):
        (base / "config").mkdir(parents=True)
        (base / "config" / "resourceconfig.json").write_text(json.dumps({"current_host": name, "hosts": names[::-1]}))
        for folder in ("order", "input", "output"):
            (base / "processing" / folder).mkdir(parents=True)
        (base / "processing" / "order" / "order.json").write_text(order.model_dump_json())
    for name in inputs:
        found = sorted(path for path in (sets / name).glob("**/*") if path.is_file())
        for number, path in enumerate(found):
            target = bases[number % hosts] / "processing" / "input" / path.relative_to(sets)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
    for base in bases:
        make_read_only(base / "processing" / "input")
    return bases


def make_read_only(folder: Path) -> None:
    """Let nothing be written into a folder; who may do everything notices nothing of it."""
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o555)


def collect(bases: list[Path], target: Path) -> list[Part]:
    """Bring the outputs of all hosts into one folder, as SageMaker does; return the parts."""
    for base in bases:
        for path in (base / "processing" / "output").rglob("*"):
            goal = target / path.relative_to(base / "processing" / "output")
            if path.is_file():
                goal.parent.mkdir(parents=True, exist_ok=True)
                assert not goal.exists()
                shutil.copy2(path, goal)
    return [Part.model_validate_json(path.read_text()) for path in sorted((target / "parts").iterdir())]


def contents(folder: ShardedFolder) -> dict[str, tuple[str, bytes]]:
    """Class and encoded image by the images' names."""
    return {
        name: (folder.classes[folder.labels[number]], folder.content(number))
        for number, name in enumerate(folder.names)
    }


@pytest.mark.parametrize("group_by", ["", r"(\d)-\d"])
def test_hosts_split_as_one_machine_does_by_a_hash(tmp_path: Path, group_by: str) -> None:
    images = write_raw(tmp_path, [f"{patient}-{number}.png" for patient in range(10) for number in range(4)])
    order = raw_order(3, group_by)
    bases = distribute_raw(images, order)
    for base in bases:
        run(base)
    by_hosts = split_by(collect(bases, tmp_path / "all"), tmp_path / "all", order)
    data = Data(
        directory="images", stable=True, seed=3, group_by=group_by, training_fraction=0.5, validation_fraction=0.25,
        evaluation_fraction=0.25,
    )  # fmt: skip
    sets = split_images(data, tmp_path, Unwatched()).sets
    assert by_hosts == {name: set(files(sets / name)) for name in ("training", "validation", "evaluation")}
    if group_by:
        patients = [patient for found in by_hosts.values() for patient in {name.split("/")[1][0] for name in found}]
        assert sorted(patients) == sorted("0123456789")


def test_evaluation_images_are_kept_as_they_are(tmp_path: Path) -> None:
    images, order = write_raw(tmp_path, [f"{number}.png" for number in range(30)]), raw_order(2)
    bases = distribute_raw(images, order)
    parts = [run(base) for base in bases]
    collect(bases, tmp_path / "all")
    kept = files(tmp_path / "all" / "evaluation")
    assert sum(part.evaluation for part in parts) == len(kept) > 5
    assert all(content == (images / name).read_bytes() for name, content in kept.items())


def test_what_is_no_image_comes_into_no_set_and_is_told(tmp_path: Path) -> None:
    images, order = write_raw(tmp_path, [f"{number}.png" for number in range(24)]), raw_order(2)
    for number in range(24):
        for name, content in (("empty-%d.jpg", b""), ("page-%d.jpg", b"<html>"), ("scan-%d.tif", b"II*")):
            write(images / "cat" / (name % number), content)
    bases = distribute_raw(images, order)
    parts = [run(base) for base in bases]
    names = set.union(*split_by(collect(bases, tmp_path / "all"), tmp_path / "all", order).values())
    assert names == {f"{label}/{number}.png" for label in CLASSES for number in range(24)}
    left_out = LeftOutCounts.together(part.left_out for part in parts)
    assert (left_out.bad_files, left_out.other_files) == (48, 24)
    reasons = {file.path: file.reason for file in left_out.named}
    assert (reasons["cat/empty-3.jpg"], len(reasons)) == ("it is empty", 48)
    assert reasons["cat/page-3.jpg"] == "its first bytes are no known image's"


def test_what_is_left_out_of_sets_is_told_and_so_are_classes_that_are_not_whole(tmp_path: Path) -> None:
    sets = write_sets(tmp_path)
    rows = tuple(ClassCounts(name=name, training=40, validation=5, evaluation=2) for name in CLASSES)
    split = Split(
        directory="images", seed=0, fractions=raw_order(1).raw.fractions, fingerprint="", linked=0, copied=0,
        classes=rows, left_out=NOTHING_LEFT_OUT,
    )  # fmt: skip
    order = make_order(2).model_copy(update={"record": split.model_dump_json()})
    (sets / "training" / "cat" / "7.png").write_bytes(b"")
    write(sets / "training" / "notes.txt", b"x")
    write(sets / "validation" / "dog" / "notes.txt", b"x")
    write(sets / "validation" / ".hidden" / "0.png", encoded(0))
    parts = [run(base) for base in distribute(sets, 2, order)]
    left_out = LeftOutCounts.together(part.left_out for part in parts)
    assert left_out == LeftOutCounts(
        hidden=1, other_files=2, bad_files=1, named=(BadFile("training/cat/7.png", "it is empty"),)
    )
    assert differences(order, merged(order, parts)) == (
        "the training set has 39 images of 'cat', and split.json tells of 40",
    )


def test_a_class_without_training_images_is_refused(tmp_path: Path) -> None:
    images = write_raw(tmp_path, [f"{number}.png" for number in range(30)])
    write(images / "notes" / "readme.txt", b"x")
    order = raw_order(2)
    named = tuple(one.model_copy(update={"classes": (*CLASSES, "notes")}) for one in order.sets)
    order = order.model_copy(update={"sets": named})
    parts = [run(base) for base in distribute_raw(images, order)]
    with pytest.raises(DataError, match=r"no image of 1 class came into the training set: 'notes'; .*s3://data/raw/"):
        merged(order, parts)


def test_a_share_of_hidden_folders_only_is_no_failure(tmp_path: Path) -> None:
    order = raw_order(1)
    write(tmp_path / "images" / ".ipynb_checkpoints" / "0.png", encoded(0))
    (base,) = distribute_raw(tmp_path / "images", order)
    assert run(base).evaluation == 0


def test_nothing_is_written_outside_the_output_and_only_results_are_left_there(tmp_path: Path) -> None:
    (base,) = distribute_raw(write_raw(tmp_path, [f"{number}.png" for number in range(30)]), raw_order(1))
    run(base)
    assert {path.name for path in (base / "processing").iterdir()} == {"order", "input", "output"}
    assert {path.name for path in (base / "processing" / "output").iterdir()} == {
        "training", "validation", "evaluation", "parts"
    }  # fmt: skip


def test_a_full_disk_names_the_setting(tmp_path: Path) -> None:
    images = write_raw(tmp_path, [f"{number}.png" for number in range(30)])
    (base,) = distribute_raw(images, raw_order(1))
    kept = base / "processing" / "output" / "evaluation"
    for name in files(images):
        (kept / name).parent.mkdir(parents=True, exist_ok=True)
        (kept / name).symlink_to("/dev/full")
    (base / "processing" / "output" / ".prepared-sets").touch()
    with pytest.raises(DataError, match=r"the disk is full.* preparation.volume_size_gb"):
        run(base)


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (base,) = distribute(write_sets(tmp_path), 1, make_order(1))
    (base / "processing" / "output" / "parts").touch()
    with pytest.raises(DataError, match="output/parts cannot be read or written: File exists"):
        run(base)


def test_a_class_that_the_order_does_not_name_is_told(tmp_path: Path) -> None:
    images = write_raw(tmp_path, ["0.png"])
    write(images / "horse" / "0.png", encoded(0))
    (base,) = distribute_raw(images, raw_order(1))
    with pytest.raises(DataError, match="s3://data/raw/ has the class folder 'horse'"):
        run(base)


def test_too_few_images_for_an_evaluation_set_are_told(tmp_path: Path) -> None:
    order = raw_order(1)
    parts = [
        run(base) for base in distribute_raw(write_raw(tmp_path, [f"{number}.png" for number in range(30)]), order)
    ]
    with pytest.raises(DataError, match="no host was given an image of the evaluation set"):
        merged(order, [part.model_copy(update={"evaluation": 0}) for part in parts])


@pytest.mark.parametrize("hosts", [1, 3])
def test_together_they_make_what_one_machine_does(tmp_path: Path, hosts: int) -> None:
    order, sets = make_order(hosts), write_sets(tmp_path)
    prepare(sets)
    bases = distribute(sets, hosts, order)
    for base in bases:
        run(base)
    indexes = merged(order, collect(bases, tmp_path / "all")[::-1])
    for name, index in indexes.items():
        index.write(tmp_path / "all" / name)
        expected = index_shards(tmp_path / "prepared" / name)
        together = index_shards(tmp_path / "all" / name)
        assert (together.classes, together.names) == (expected.classes, expected.names)
        assert contents(together) == contents(expected)
        alone = SetIndex.read(tmp_path / "prepared" / name)
        assert alone is not None
        assert (index.classes, index.split, index.recipe) == (alone.classes, alone.split, alone.recipe)


def test_a_host_without_images_leaves_a_part_all_the_same(tmp_path: Path) -> None:
    order, sets = make_order(5), write_sets(tmp_path, training=3, validation=1)
    bases = distribute(sets, 5, order)
    parts = [run(base) for base in bases]
    assert [part.sets[1].images for part in parts] == [1, 1, 0, 0, 0]
    assert parts[4].sets[1].shards == ()
    assert merged(order, parts)["validation"].images == 2


def test_the_table_of_labels_goes_along_from_the_host_that_has_it(tmp_path: Path) -> None:
    order, sets = make_order(2), write_sets(tmp_path)
    (sets / "training" / "labels.csv").write_text("image,weight\ncat/0.png,2\n")
    bases = distribute(sets, 2, order)
    parts = [run(base) for base in bases]
    assert sorted(part.sets[0].has_labels for part in parts) == [False, True]
    assert merged(order, parts)["training"].has_labels
    collect(bases, tmp_path / "all")
    assert (tmp_path / "all" / "training" / "labels.csv").read_text().startswith("image,weight")


def test_what_is_not_whole_is_no_set(tmp_path: Path) -> None:
    order, sets = make_order(2), write_sets(tmp_path)
    parts = [run(base) for base in distribute(sets, 2, order)]
    with pytest.raises(DataError, match="1 of 2 hosts left no part, the first of them host 2"):
        merged(order, parts[:1])
    empty = [
        part.model_copy(update={"sets": tuple(one.model_copy(update={"shards": ()}) for one in part.sets)})
        for part in parts
    ]
    with pytest.raises(DataError, match="no host was given an image of the training set"):
        merged(order, empty)


def test_an_order_for_others_is_refused(tmp_path: Path) -> None:
    base = distribute(write_sets(tmp_path), 1, make_order(2))[0]
    with pytest.raises(DataError, match="the order is for 2 hosts, but there are 1"):
        run(base)


def test_a_class_that_came_after_the_order_is_refused(tmp_path: Path) -> None:
    sets = write_sets(tmp_path)
    shutil.copytree(sets / "training" / "cat", sets / "training" / "cow")
    (base,) = distribute(sets, 1, make_order(1))
    with pytest.raises(DataError, match="the class folder 'cow', which the order does not name"):
        run(base)


@pytest.mark.parametrize("file", ["config/resourceconfig.json", "processing/order/order.json"])
def test_damaged_configuration_is_named(tmp_path: Path, file: str) -> None:
    (base,) = distribute(write_sets(tmp_path), 1, make_order(1))
    (base / file).write_text("{}")
    with pytest.raises(DataError, match=Path(file).name):
        run(base)


@pytest.mark.slow
def test_the_program_tells_why_it_failed(tmp_path: Path) -> None:
    (base,) = distribute(write_sets(tmp_path), 1, make_order(1))
    environment = {"SAGEMAKER_BASE_DIR": str(base), "PATH": str(Path(sys.executable).parent)}
    program = [sys.executable, str(ROOT / "container" / "prepare")]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "host 1 of 1 prepares its share of training and validation" in done.stdout
    again = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert (base / "output" / "message").read_text() == again.stderr
    # No launch lets such an expression through.
    order = raw_order(1, group_by="(")
    (base / "processing" / "order" / "order.json").write_text(order.model_dump_json())
    (base / "processing" / "input").chmod(0o755)
    (base / "processing" / "input" / "raw" / "cat").mkdir(parents=True)
    unforeseen = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert unforeseen.returncode == 1
    assert "Traceback" in unforeseen.stderr
    assert (base / "output" / "message").read_text().startswith("error: missing ), unterminated subpattern")
