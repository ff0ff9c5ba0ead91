"""The order, the memory and the errors of the input pipeline."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from container.errors import DataError
from container.modeling.input_pipeline import Batches, LabeledImages, OutOfMemoryError
from container.modeling.settings import ContainerSettings, Training
from container.modeling.settings import Image as ImageSettings

SETTINGS = ContainerSettings(image=ImageSettings(height=8, width=8, channels=1), training=Training(batch_size=4))
IN_MEMORY = 10_000


@pytest.fixture
def images(tmp_path: Path) -> LabeledImages:
    """Ten images, each of a shade that is ten times its label; the names are no simple ones."""
    paths = [tmp_path / f"image {label}\n'é'.png" for label in range(10)]
    for label, path in enumerate(paths):
        Image.new("L", (9, 7), 10 * label).save(path, "PNG")
    names = tuple(path.name for path in paths)
    return LabeledImages(tuple("abcdefghij"), np.arange(10, dtype=np.int32), names, tuple(map(os.fsencode, paths)))


def labels(batches: Iterable[Any]) -> list[int]:
    return [int(label) for _, batch, _ in batches for label in batch]


@pytest.mark.parametrize("cache_bytes", [0, IN_MEMORY], ids=["files", "memory"])
def test_batches_have_the_images_at_the_positions_asked_for(images: LabeledImages, cache_bytes: int) -> None:
    weights = np.linspace(0, 1, 10, dtype=np.float32)
    batches = Batches(images, SETTINGS, weights, cache_bytes)
    orders = ([7, 3, 3, 0, 9, 1], list(range(10)), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0], [2], [])
    for order in orders:
        found = list(batches.iterate(np.array(order, np.int64)))
        assert len(found) == batches.steps(len(order))
        assert labels(found) == order
        for pixels, batch_labels, batch_weights in found:
            assert pixels.dtype == tf.uint8
            assert pixels.shape == (len(batch_labels), 8, 8, 1)
            np.testing.assert_array_equal(pixels[:, 0, 0, 0], 10 * batch_labels)
            np.testing.assert_array_equal(batch_weights, weights[batch_labels])
    assert labels(batches.iterate()) == list(range(10))


def test_what_fits_is_read_once(images: LabeledImages) -> None:
    in_memory, from_files = Batches(images, SETTINGS, cache_bytes=IN_MEMORY), Batches(images, SETTINGS, cache_bytes=10)
    for batches in (in_memory, from_files):
        labels(batches.iterate(np.arange(5)))
        labels(batches.iterate(np.arange(5, 10)))
    for path in images.paths:
        Path(os.fsdecode(path)).unlink()
    assert labels(in_memory.iterate()) == list(range(10))
    with pytest.raises(DataError, match="No such file"), from_files.explained_errors():
        labels(from_files.iterate())


def test_pixels_that_are_in_memory_are_taken_as_they_are() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)
    images = LabeledImages(("a", "b"), np.array([0, 1, 0], np.int32), ("x", "y", "z"), pixels=pixels)
    ((found, _, _),) = list(Batches(images, SETTINGS, cache_bytes=0).iterate(np.array([2, 0])))
    np.testing.assert_array_equal(found, pixels[[2, 0]])


def test_of_several_broken_images_the_first_is_named_with_the_reason(images: LabeledImages) -> None:
    for broken in (images.paths[8], images.paths[6]):
        Path(os.fsdecode(broken)).write_bytes(b"GIF89a and no more")
    batches = Batches(images, SETTINGS)
    with pytest.raises(DataError) as raised, batches.explained_errors():
        labels(batches.iterate())
    assert repr(os.fsdecode(images.paths[6])) in str(raised.value)
    assert "GIF" in str(raised.value)


def test_a_file_that_vanished_is_named(images: LabeledImages) -> None:
    Path(os.fsdecode(images.paths[2])).unlink()
    batches = Batches(images, SETTINGS)
    with pytest.raises(DataError, match=r"image 2.*No such file"), batches.explained_errors():
        labels(batches.iterate())


def test_exhausted_memory_names_the_setting_to_lower(images: LabeledImages) -> None:
    @Batches(images, SETTINGS).explained_errors()
    def fail() -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    with pytest.raises(OutOfMemoryError, match=r"training\.batch_size=4 .*: lower training\.batch_size"):
        fail()


def test_an_error_that_is_no_image_s_stays_what_it_is(images: LabeledImages) -> None:
    batches = Batches(images, SETTINGS)
    with pytest.raises(tf.errors.InvalidArgumentError, match="shapes"), batches.explained_errors():
        raise tf.errors.InvalidArgumentError(None, None, "shapes do not fit")


def test_what_tensorflow_calls_its_operations_is_left_out(images: LabeledImages) -> None:
    Path(os.fsdecode(images.paths[4])).write_bytes(b"BM" + bytes(100))
    batches = Batches(images, SETTINGS)
    with pytest.raises(DataError) as raised, batches.explained_errors():
        labels(batches.iterate())
    assert str(raised.value).endswith(
        "cannot be decoded ([a BMP must have 8, 24 or 32 bits and no compression]): replace or remove it"
    )
