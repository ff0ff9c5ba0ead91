"""The order, the cache and the errors of the input pipeline."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from container.dataset.index import Sample
from container.errors import DataError
from container.modeling.input_pipeline import OutOfMemoryError, explained_errors, ordered_batches, training_batches
from container.modeling.settings import ContainerSettings, Training
from container.modeling.settings import Image as ImageSettings

SETTINGS = ContainerSettings(
    image=ImageSettings(height=8, width=8, channels=1), training=Training(batch_size=4, seed=3)
)


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Ten images, each of a shade that is ten times its label; the names are no simple ones."""
    made = []
    for label in range(10):
        path = tmp_path / f"image {label}\n'é'.png"
        Image.new("L", (9, 7), 10 * label).save(path, "PNG")
        made.append(Sample(path, label))
    return made


def labels(dataset: Any) -> list[int]:
    return [int(label) for _, batch in dataset for label in batch]


def test_batches_have_pixels_and_labels_in_order(samples: list[Sample]) -> None:
    for cache in (False, True):
        dataset = ordered_batches(samples, SETTINGS, cache=cache)
        for _ in range(2):
            batches = list(dataset)
            assert [tuple(pixels.shape) for pixels, _ in batches] == [(4, 8, 8, 1), (4, 8, 8, 1), (2, 8, 8, 1)]
            assert labels(batches) == list(range(10))
            for pixels, batch_labels in batches:
                np.testing.assert_array_equal(pixels[:, 0, 0, 0], 10 * batch_labels)


@pytest.mark.parametrize("cache_bytes", [0, 10_000], ids=["files", "memory"])
def test_each_pass_has_its_own_order_and_the_seed_repeats_them(samples: list[Sample], cache_bytes: int) -> None:
    def passes(seed: int) -> list[list[int]]:
        tf.random.set_seed(0)
        training = SETTINGS.training.model_copy(update={"seed": seed})
        dataset = training_batches(samples, SETTINGS.model_copy(update={"training": training}), cache_bytes)
        return [labels(dataset) for _ in range(3)]

    orders = passes(seed=3)
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert len(set(map(tuple, orders))) == 3
    assert passes(seed=3) == orders
    assert passes(seed=4) != orders


def test_of_several_broken_images_the_first_is_named_with_the_reason(samples: list[Sample]) -> None:
    for broken in (samples[8], samples[6]):
        broken.path.write_bytes(b"GIF89a and no more")
    with pytest.raises(DataError) as raised, explained_errors(samples, SETTINGS):
        labels(ordered_batches(samples, SETTINGS))
    assert repr(str(samples[6].path)) in str(raised.value)
    assert "GIF" in str(raised.value)


def test_a_file_that_vanished_is_named(samples: list[Sample]) -> None:
    samples[2].path.unlink()
    with pytest.raises(DataError, match=r"image 2.*No such file"), explained_errors(samples, SETTINGS):
        labels(ordered_batches(samples, SETTINGS))


def test_exhausted_memory_names_the_setting_to_lower(samples: list[Sample]) -> None:
    @explained_errors(samples, SETTINGS)
    def fail() -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    with pytest.raises(OutOfMemoryError, match=r"training\.batch_size=4 .*: lower training\.batch_size"):
        fail()


def test_an_error_that_is_no_image_s_stays_what_it_is(samples: list[Sample]) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="shapes"), explained_errors(samples, SETTINGS):
        raise tf.errors.InvalidArgumentError(None, None, "shapes do not fit")


def test_what_tensorflow_calls_its_operations_is_left_out(samples: list[Sample]) -> None:
    samples[4].path.write_bytes(b"BM" + bytes(100))
    with pytest.raises(DataError) as raised, explained_errors(samples, SETTINGS):
        labels(ordered_batches(samples, SETTINGS))
    assert str(raised.value).endswith(
        "cannot be decoded ([a BMP must have 8, 24 or 32 bits and no compression]): replace or remove it"
    )
