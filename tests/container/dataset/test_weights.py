"""How often images are shown, and how much they count."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from container.dataset.weights import epoch_order, image_weights
from container.errors import DataError, SettingsError
from container.modeling.container_settings import Loss

SEEDS = st.integers(0, 2**31 - 1)
EPOCHS = st.integers(0, 10_000)
LABELS = st.lists(st.integers(0, 4), max_size=40).map(lambda labels: np.array(labels, np.int32))


@dataclass(frozen=True, eq=False)
class Images:
    """A training set."""

    classes: tuple[str, ...]
    labels: NDArray[np.int32]
    names: tuple[str, ...]


IMAGES = Images(
    classes=("rose", "tulip", "daisy"),
    labels=np.array([0, 0, 1, 2], np.int32),
    names=("rose/1.png", "rose/2.png", "tulip/1.png", "daisy/in/3.png"),
)


def weights(loss: Loss, directory: Path = Path("none"), table: str = "") -> list[float]:
    if table:
        (directory / "labels.csv").write_text(table)
    found = image_weights(IMAGES, directory, loss)
    assert found.dtype == np.float32
    assert found.mean() == pytest.approx(1)
    return list(found)


class TestEpochOrder:
    @given(labels=LABELS, seed=SEEDS, epoch=EPOCHS)
    def test_every_image_is_shown_once(self, labels: NDArray[np.int32], seed: int, epoch: int) -> None:
        order = epoch_order(labels, seed, epoch, oversample=False)
        assert order.dtype == np.int64
        assert sorted(order) == list(range(len(labels)))

    @given(labels=LABELS, seed=SEEDS, epoch=EPOCHS)
    def test_oversampling_shows_each_class_as_often_as_the_largest(
        self, labels: NDArray[np.int32], seed: int, epoch: int
    ) -> None:
        order = epoch_order(labels, seed, epoch, oversample=True)
        sizes, shown = Counter(labels.tolist()), Counter(labels[order].tolist())
        largest = max(sizes.values(), default=0)
        assert order.dtype == np.int64
        assert shown == dict.fromkeys(sizes, largest)
        times = Counter(order.tolist())
        for position, label in enumerate(labels.tolist()):
            assert times[position] - largest // sizes[label] in (0, 1)

    @given(labels=LABELS, seed=SEEDS, epoch=EPOCHS, oversample=st.booleans())
    def test_it_depends_on_seed_and_epoch_alone(
        self, labels: NDArray[np.int32], seed: int, epoch: int, oversample: bool
    ) -> None:
        orders = [epoch_order(labels, seed, epoch, oversample) for _ in range(2)]
        np.testing.assert_array_equal(*orders)

    @pytest.mark.parametrize("oversample", [False, True])
    def test_seeds_and_epochs_have_orders_of_their_own(self, oversample: bool) -> None:
        labels = np.arange(100) % 3
        orders = [tuple(epoch_order(labels, seed, epoch, oversample)) for seed in range(4) for epoch in range(4)]
        assert len(set(orders)) == 16

    def test_the_images_that_are_shown_once_more_are_others_in_each_epoch(self) -> None:
        labels = np.array([0] * 15 + [1] * 10)
        more = {
            position
            for epoch in range(20)
            for position, times in Counter(epoch_order(labels, 0, epoch, True).tolist()).items()
            if times == 2
        }
        assert more == set(range(15, 25))


class TestImageWeights:
    def test_without_settings_all_count_the_same(self) -> None:
        assert weights(Loss()) == [1, 1, 1, 1]
        assert weights(Loss(balance="oversampling")) == [1, 1, 1, 1]

    def test_balanced_classes_count_the_same_in_sum(self) -> None:
        assert weights(Loss(balance="class_weights")) == pytest.approx([2 / 3, 2 / 3, 4 / 3, 4 / 3])

    def test_given_class_weights_are_ratios_to_the_others(self) -> None:
        assert weights(Loss(class_weights={"tulip": 5})) == pytest.approx([0.5, 0.5, 2.5, 0.5])

    def test_given_class_weights_multiply_the_balanced_ones(self) -> None:
        chosen = Loss(balance="class_weights", class_weights={"rose": 2, "daisy": 0.5})
        assert weights(chosen) == pytest.approx([8 / 7, 8 / 7, 8 / 7, 4 / 7])

    @pytest.mark.parametrize(("name", "said"), [("roses", "did you mean 'rose'"), ("x", "there are 'rose', 'tulip'")])
    def test_a_class_that_there_is_not(self, name: str, said: str) -> None:
        with pytest.raises(SettingsError, match=rf"loss\.class_weights\.{name}: no class .*{said}"):
            weights(Loss(class_weights={name: 2}))

    def test_a_column_of_labels_csv_tells_what_each_image_counts(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        table = "image,note,weight\nrose/1.png,x,1\nrose/2.png,x,2\ntulip/1.png,x,0\n3.png,x,5\n"
        assert weights(Loss(weight_column="weight"), tmp_path, table) == pytest.approx([0.5, 1, 0, 2.5])
        assert not caplog.messages
        both = Loss(weight_column="weight", class_weights={"rose": 3})
        assert weights(both, tmp_path, table) == pytest.approx([12 / 14, 24 / 14, 0, 20 / 14])

    def test_an_image_without_a_row_counts_one_and_is_told(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        table = "weight,image\n5,rose/1.png\n3,rose/9.png\n"
        assert weights(Loss(weight_column="weight"), tmp_path, table) == pytest.approx([2.5, 0.5, 0.5, 0.5])
        assert caplog.messages == [
            "3 of 4 training images have no row in labels.csv and count 1; 1 of its rows name no training image"
        ]

    def test_without_the_setting_the_file_is_not_looked_at(self, tmp_path: Path) -> None:
        assert weights(Loss(), tmp_path, "no table") == [1, 1, 1, 1]

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"loss\.weight_column=weight: .* holds no labels\.csv; put one beside"):
            weights(Loss(weight_column="weight"), tmp_path)

    @pytest.mark.parametrize("cell", ["-1", "nan", "inf", "", "much", "1e999"])
    def test_a_weight_that_is_none(self, tmp_path: Path, cell: str) -> None:
        table = f'image,weight\nrose/1.png,1\nrose/2.png,"{cell}"\n'
        with pytest.raises(DataError, match=r"labels\.csv, line 3: weight is .* must be a finite number of at least 0"):
            weights(Loss(weight_column="weight"), tmp_path, table)

    def test_a_column_that_there_is_not(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"labels\.csv has no column 'wieght': did you mean 'weight'\?"):
            weights(Loss(weight_column="wieght"), tmp_path, "image,weight\nrose/1.png,1\n")

    def test_weights_that_are_all_zero(self, tmp_path: Path) -> None:
        rows = "".join(f"{name},0\n" for name in IMAGES.names)
        with pytest.raises(DataError, match=r"all weights in the column 'weight' of .*labels\.csv are 0"):
            weights(Loss(weight_column="weight"), tmp_path, f"image,weight\n{rows}")
