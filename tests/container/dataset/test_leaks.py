"""What belongs together stays in one set, whatever lies in the folder; sets and tables that exist are taken over."""

import re
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from container.dataset.split import SplitOutcome, split_images
from container.errors import DataError
from container.modeling.settings import Data
from tests.container.dataset.unwatched import Unwatched

PNG = b"\x89PNG\r\n\x1a\n"
# What an image shows: few enough that many are the same. A patient's number stands in the name.
IMAGES = st.dictionaries(
    st.builds("{}/p{}_{}.png".format, st.sampled_from("ab"), st.integers(0, 9), st.integers(0, 99)),
    st.integers(0, 40),
    min_size=8,
    max_size=40,
)
BY_PATIENT = r"p(\d+)_"


def write(directory: Path, images: dict[str, int]) -> None:
    for name, content in images.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # Larger than what is compared first, and different only at the end.
        path.write_bytes(PNG + bytes(10_000) + bytes([content]))


def split(project: Path, **settings: object) -> SplitOutcome:
    return split_images(Data.model_validate({"directory": "images", **settings}), project, Unwatched())


def places(outcome: SplitOutcome) -> dict[str, str]:
    """The set of each image, by its path in there."""
    paths = [path.relative_to(outcome.sets).as_posix() for path in outcome.sets.rglob("*.png")]
    found = dict(path.split("/", 1)[::-1] for path in paths)
    assert len(found) == len(paths), "an image lies in two sets"
    return found


def tied(images: dict[str, int], by_patient: bool) -> list[set[str]]:
    """What must stay together: those with the same content, and all of a patient, as far as these ties reach."""
    groups: list[set[str]] = []
    for name, content in images.items():
        same = {other for other in images if images[other] == content or (by_patient and key(other) == key(name))}
        joined = [group for group in groups if group & same]
        groups = [group for group in groups if group not in joined] + [same.union(*joined)]
    return groups


def key(name: str) -> str:
    match = re.search(BY_PATIENT, name)
    assert match
    return match[1]


# Images that nothing ties to any other: with them each set gets some of each class, by each of the seeds, so that no
# split can fail for want of images.
ANCHORS = {f"{'ab'[n % 2]}/p{30 + n}_.png": 60 + n for n in range(40)}
THIRDS = {"training_fraction": 0.4, "validation_fraction": 0.3, "evaluation_fraction": 0.3}


@pytest.mark.slow
@hypothesis.settings(max_examples=40)
@given(
    images=IMAGES,
    more=IMAGES,
    by_patient=st.booleans(),
    stable=st.booleans(),
    forgets=st.booleans(),
    seed=st.integers(0, 9),
)
def test_no_tie_is_cut_and_with_stable_no_image_moves_when_others_come(
    images: dict[str, int], more: dict[str, int], by_patient: bool, stable: bool, forgets: bool, seed: int
) -> None:
    settings = {"group_by": BY_PATIENT if by_patient else "", "stable": stable, "seed": seed, **THIRDS}
    images = ANCHORS | images
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        write(project / "images", images)
        before = places(split(project, **settings))
        assert set(before) == set(images)
        for group in tied(images, by_patient):
            assert len({before[name] for name in group}) == 1

        grown = more | images
        write(project / "images", grown)
        if forgets:
            shutil.rmtree(project / "images-sets")
        after = places(split(project, **settings))
        moved = {name for name in before if after[name] != before[name]}
        for group in tied(grown, by_patient):
            assert len({after[name] for name in group}) == 1
            # Without the earlier sets a new image may take along those that it is tied to.
            if stable and forgets and group <= set(before):
                assert not group & moved
            # A new image may tie old ones together that lay in several sets; then they all go into the first.
            if stable and not forgets and len({before[name] for name in group if name in before}) <= 1:
                assert not group & moved


@hypothesis.settings(max_examples=20)
@given(training=st.integers(20, 60), validation=st.integers(0, 8), more=st.integers(0, 60), later=st.integers(0, 8))
def test_with_stable_no_image_of_sets_that_exist_moves_when_others_come(
    training: int, validation: int, more: int, later: int
) -> None:
    settings = {"stable": True, "refill_below": 0.1, "refill_fraction": 0.3, "seed": 1}
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        write(project / "images", {f"train/a/t{n}.png": n for n in range(training)})
        write(project / "images", {f"val/a/v{n}.png": 130 + n for n in range(validation)})
        write(project / "images", {f"test/a/e{n}.png": 150 + n for n in range(5)})
        before = places(split(project, **settings))
        write(project / "images", {f"train/a/new t{n}.png": 60 + n for n in range(more)})
        write(project / "images", {f"val/a/new v{n}.png": 140 + n for n in range(later)})
        after = places(split(project, **settings))
        assert {name: after.get(name) for name in before} == before


def test_another_limit_of_a_refill_counts_at_once(tmp_path: Path) -> None:
    for position, (name, count) in enumerate((("train", 60), ("val", 4), ("test", 5))):
        write(tmp_path / "images", {f"{name}/a/{n}.png": 70 * position + n for n in range(count)})
    assert split(tmp_path, stable=True).split.refill is None
    assert split(tmp_path, stable=True, refill_below=0.1).split.refill is not None


def test_the_same_image_stays_together_under_any_names(tmp_path: Path) -> None:
    write(tmp_path / "images", {f"a/{number}.png": number // 10 for number in range(60)})
    outcome = split(tmp_path)
    found = places(outcome)
    for start in range(0, 60, 10):
        assert len({found[f"a/{number}.png"] for number in range(start, start + 10)}) == 1
    assert (len(outcome.grouping.groups), outcome.grouping.identical) == (6, 60)
    assert set(found.values()) == {"training", "validation", "evaluation"}


def test_an_expression_that_finds_nothing_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "images", {f"a/{number}.png": number for number in range(9)})
    with pytest.raises(
        DataError, match=r"data.group_by=patient finds nothing in the path of any image, such as 'a/0.png'"
    ):
        split(tmp_path, group_by="patient")


def test_a_single_group_fills_no_three_sets(tmp_path: Path) -> None:
    write(tmp_path / "images", {f"a/{number}.png": 0 for number in range(9)})
    said = "would have no images: .* the largest group ties 9 of 9 images, such as 'a/0.png': 9 are the same file"
    with pytest.raises(DataError, match=said):
        split(tmp_path)
    assert not (tmp_path / "images-sets").exists()


class TestSetsThatExist:
    @pytest.mark.parametrize(
        "names",
        [
            ("train", "valid", "test"),
            ("Training", "VALIDATION", "Evaluation"),
            ("train_images", "val-images", "test set"),
            ("train2017", "val2017", "test2017"),
            ("TrainingSet", "dev", "holdout"),
        ],
    )
    def test_they_are_taken_over_in_any_usual_spelling(self, tmp_path: Path, names: tuple[str, str, str]) -> None:
        for position, name in enumerate(names):
            write(
                tmp_path / "images", {f"{name}/{label}/{n}.png": 20 * position + n for label in "ab" for n in range(6)}
            )
        outcome = split(tmp_path)
        counts = [(row.name, row.training, row.validation, row.evaluation) for row in outcome.split.classes]
        assert counts == [("a", 6, 6, 6), ("b", 6, 6, 6)]
        assert outcome.split.given_sets == ("training", "validation", "evaluation")
        assert split(tmp_path).unchanged

    def sets(self, project: Path, training: int, validation: int, evaluation: int) -> None:
        for position, (name, count) in enumerate((("train", training), ("val", validation), ("test", evaluation))):
            for number in range(count):
                write(project / "images", {f"{name}/{'ab'[number % 2]}/{number}.png": (60 * position + number) % 250})

    def test_too_small_a_validation_set_is_refilled_from_the_named_set(self, tmp_path: Path) -> None:
        self.sets(tmp_path, 100, 2, 40)
        outcome = split(tmp_path, refill_fraction=0.2)
        counts = [(row.name, row.training, row.validation, row.evaluation) for row in outcome.split.classes]
        assert counts == [("a", 40, 11, 20), ("b", 40, 11, 20)]
        # The names of both sets meet there.
        assert (outcome.sets / "validation/a/0.png").is_file()
        assert list((outcome.sets / "validation/a/train").iterdir())
        assert split(tmp_path, refill_fraction=0.2).unchanged
        outcome = split(tmp_path, refill_fraction=0.2, refill_from="evaluation")
        counts = [(row.name, row.training, row.validation, row.evaluation) for row in outcome.split.classes]
        assert counts == [("a", 50, 5, 16), ("b", 50, 5, 16)]

    def test_sets_that_are_missing_are_drawn_from_the_training_set(self, tmp_path: Path) -> None:
        self.sets(tmp_path, 100, 0, 0)
        outcome = split(tmp_path)
        assert [(row.training, row.validation, row.evaluation) for row in outcome.split.classes] == [(40, 5, 5)] * 2

    def test_a_large_enough_validation_set_is_left_as_it_is(self, tmp_path: Path) -> None:
        self.sets(tmp_path, 100, 4, 40)
        assert split(tmp_path).split.refill is None

    def test_a_set_without_class_folders_is_left_out_and_recorded(self, tmp_path: Path) -> None:
        self.sets(tmp_path, 40, 4, 0)
        write(tmp_path / "images", {f"test/{n}.png": 240 + n for n in range(6)})
        assert split(tmp_path).split.without_classes == ("test",)
        assert split(tmp_path).unchanged

    def test_a_class_called_train_is_a_class(self, tmp_path: Path) -> None:
        write(tmp_path / "images", {f"{name}/{n}.png": n for name in ("bus",) for n in range(9)})
        write(tmp_path / "images", {f"train/{n}.png": 20 + n for n in range(9)})
        assert [row.name for row in split(tmp_path).split.classes] == ["bus", "train"]

    def test_a_set_beside_a_folder_that_is_none_is_no_class(self, tmp_path: Path) -> None:
        self.sets(tmp_path, 20, 0, 0)
        write(tmp_path / "images", {f"unlabeled/{n}.png": 100 + n for n in range(9)})
        said = r"holds sets \('train'\), and also 'unlabeled', .*: move it elsewhere; if 'train' is a class, rename its"
        with pytest.raises(DataError, match=said):
            split(tmp_path)

    def test_a_class_called_train_may_hold_folders_beside_its_images(self, tmp_path: Path) -> None:
        write(tmp_path / "images", {f"bus/{n}.png": n for n in range(9)})
        write(tmp_path / "images", {f"train/{'old/' if n % 2 else ''}{n}.png": 20 + n for n in range(9)})
        assert [row.total for row in split(tmp_path).split.classes] == [9, 9]

    @pytest.mark.parametrize(
        ("extra", "said"),
        [
            ("docs/1.png", r"holds sets \('test', 'train', 'val'\), and also 'docs', which is none: move it elsewhere"),
            ("valid/a/1.png", "has two validation sets, 'val' and 'valid': move one elsewhere"),
            ("test/c/1.png", "the class 'c' would have no image to train with: give the training set"),
        ],
    )
    def test_what_does_not_fit_is_an_error(self, tmp_path: Path, extra: str, said: str) -> None:
        self.sets(tmp_path, 20, 4, 4)
        write(tmp_path / "images", {extra: 99})
        with pytest.raises(DataError, match=said):
            split(tmp_path)


class TestTableOfClasses:
    def table(self, project: Path, rows: str) -> None:
        write(project / "images", {f"{number}.png": number for number in range(12)})
        (project / "images/labels.csv").write_text(rows)

    def test_it_tells_the_classes_instead_of_folders(self, tmp_path: Path) -> None:
        self.table(
            tmp_path, "image,label\n" + "".join(f"{n}.png,{'odd' if n % 2 else 'even one'}\n" for n in range(10))
        )
        outcome = split(tmp_path)
        by_class = defaultdict(set)
        for path in places(outcome):
            by_class[path.split("/")[0]].add(path.split("/")[1])
        assert by_class == {
            "even one": {f"{n}.png" for n in range(0, 10, 2)},
            "odd": {f"{n}.png" for n in range(1, 10, 2)},
        }
        assert (outcome.source.unlabeled, outcome.split.unlabeled) == (("10.png", "11.png"), 2)
        table = (outcome.sets / "training/labels.csv").read_text().splitlines()
        assert table[0] == "image,label"
        assert all((outcome.sets / "training" / row.split(",")[0]).is_file() for row in table[1:])

    def test_its_column_may_be_named(self, tmp_path: Path) -> None:
        self.table(tmp_path, "image,dx\n" + "".join(f"{n}.png,{'yes' if n % 2 else 'no'}\n" for n in range(12)))
        assert [row.total for row in split(tmp_path, class_column="dx").split.classes] == [6, 6]
        with pytest.raises(DataError, match="has no column 'dy': its columns are 'image', 'dx'"):
            split(tmp_path, class_column="dy")

    @pytest.mark.parametrize("folders", [("images_1", "images_2"), ("all/images_1", "all/images_2")])
    def test_folders_that_are_none_of_its_classes_are_an_error(self, tmp_path: Path, folders: tuple[str, str]) -> None:
        write(tmp_path / "images", {f"{folders[n % 2]}/{n}.png": n for n in range(12)})
        rows = "".join(f"{n}.png,{'nv' if n % 3 else 'mel'}\n" for n in range(12))
        (tmp_path / "images/labels.csv").write_text(f"image,label\n{rows}")
        said = r"labels.csv, line 2: the label 'mel' is the name of no folder beside .*: set data.class_column=label"
        with pytest.raises(DataError, match=said):
            split(tmp_path)
        found = split(tmp_path, class_column="label").split.classes
        assert [(row.name, row.total) for row in found] == [("mel", 4), ("nv", 8)]

    def test_labels_that_are_the_folders_names_may_stand_in_it(self, tmp_path: Path) -> None:
        write(tmp_path / "images", {f"{'ab'[n % 2]}/{n}.png": n for n in range(12)})
        (tmp_path / "images/labels.csv").write_text("image,label\n0.png,a\n1.png, b\n2.png,\n")
        assert [row.total for row in split(tmp_path).split.classes] == [6, 6]

    @pytest.mark.parametrize("label", ["", "..", "a/b", ".hidden", "n" * 256])
    def test_what_is_no_name_of_a_folder_is_an_error(self, tmp_path: Path, label: str) -> None:
        self.table(tmp_path, f"image,label\n0.png,{label}\n")
        with pytest.raises(DataError, match=r"labels.csv, line 2: .* is no name for a class"):
            split(tmp_path)
