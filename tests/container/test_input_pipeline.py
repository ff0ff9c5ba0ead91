"""The order, the caches and the broken files of the input pipeline."""

import contextlib
import os
import resource
import shutil
import signal
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from container.errors import DataError
from container.modeling.input_pipeline.batches import NO_IMAGE, Batches, OutOfMemoryError, rows_of
from container.modeling.input_pipeline.epochs import Epochs, Replicas
from container.modeling.input_pipeline.labeled_images import LabeledImages
from container.modeling.input_pipeline.pixel_cache import CacheSpace
from container.modeling.settings import ContainerSettings, Input, Training
from container.modeling.settings import Image as ImageSettings

ANY_BROKEN = Input(max_broken_share=1)
SETTINGS = ContainerSettings(
    image=ImageSettings(height=8, width=8, channels=1), training=Training(batch_size=4), input=ANY_BROKEN
)
IN_MEMORY = CacheSpace(10_000, None)


@pytest.fixture(params=["files", "memory", pytest.param("disk", marks=pytest.mark.slow)])
def space(request: pytest.FixtureRequest, tmp_path: Path) -> CacheSpace:
    """Where decoded images may be kept."""
    spaces = {"files": CacheSpace(100, None), "memory": CacheSpace(10_000, None), "disk": CacheSpace(100, tmp_path)}
    return spaces[request.param]


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


def spoil(images: LabeledImages, *positions: int) -> None:
    for position in positions:
        Path(os.fsdecode(images.paths[position])).write_bytes(b"GIF89a and no more")


def test_batches_have_the_images_at_the_positions_asked_for(images: LabeledImages, space: CacheSpace) -> None:
    weights = np.linspace(0, 1, 10, dtype=np.float32)
    batches = Batches(images, SETTINGS, "training", weights, space)
    orders = ([7, 3, 3, 0, 9, 1], [9, 8, 2], list(range(10)), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0], [2], [])
    for order in orders:
        found = list(batches.iterate(rows_of(np.array(order, np.int64), 4)))
        assert len(found) == -(-len(order) // 4)
        assert labels(found) == order
        for pixels, batch_labels, batch_weights in found:
            assert pixels.dtype == tf.uint8
            assert pixels.shape == (len(batch_labels), 8, 8, 1)
            np.testing.assert_array_equal(pixels[:, 0, 0, 0], 10 * batch_labels)
            np.testing.assert_array_equal(batch_weights, weights[batch_labels])
    assert labels(batches.iterate()) == list(range(10))


@pytest.mark.slow
def test_rows_may_be_of_any_length(images: LabeledImages, space: CacheSpace) -> None:
    batches = Batches(images, SETTINGS, "training", space=space)
    rows = np.array([[5, NO_IMAGE, NO_IMAGE, NO_IMAGE], [NO_IMAGE] * 4, [1, 2, 3, 4]])
    for _ in range(2):
        found = list(batches.iterate(rows))
        assert [batch.numpy().tolist() for _, batch, _ in found] == [[5], [NO_IMAGE], [1, 2, 3, 4]]
        assert [batch.numpy().tolist() for _, _, batch in found] == [[1], [0], [1] * 4]
        labels(batches.iterate())


def test_what_fits_is_read_once(images: LabeledImages, space: CacheSpace, request: pytest.FixtureRequest) -> None:
    batches = Batches(images, SETTINGS, "training", space=space)
    labels(batches.iterate(rows_of(np.arange(5), 4)))
    labels(batches.iterate(rows_of(np.arange(3, 10), 4)))
    for path in images.paths:
        Path(os.fsdecode(path)).unlink()
    is_kept = "files" not in request.node.callspec.id
    assert labels(batches.iterate()) == (list(range(10)) if is_kept else [NO_IMAGE] * 10)


@pytest.mark.slow
def test_one_space_holds_what_fits_of_several_sets(images: LabeledImages) -> None:
    space = CacheSpace(15 * 64, None)
    first, second = (Batches(images, SETTINGS, name, space=space) for name in ("training", "validation"))
    for batches in (first, second):
        labels(batches.iterate())
    spoil(images, *range(10))
    assert labels(first.iterate()) == list(range(10))
    assert labels(second.iterate()) == [NO_IMAGE] * 10


def test_pixels_that_are_in_memory_are_taken_as_they_are() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)
    images = LabeledImages(("a", "b"), np.array([0, 1, 0], np.int32), ("x", "y", "z"), pixels=pixels)
    ((found, _, _),) = list(Batches(images, SETTINGS, "training").iterate(np.array([[2, 0]])))
    np.testing.assert_array_equal(found, pixels[[2, 0]])


@pytest.mark.slow
def test_another_image_stands_for_a_broken_one_and_counts_nothing(images: LabeledImages, space: CacheSpace) -> None:
    spoil(images, 6, 8, 9)
    batches = Batches(images, SETTINGS, "training", space=space)
    for _ in range(3):
        *_, (pixels, found, weights) = batches.iterate(np.array([[0, 1, 2, 3], [4, 5, 7, 4], [6, 7, 8, 9]]))
        assert found.numpy().tolist() == [NO_IMAGE, 7, NO_IMAGE, NO_IMAGE]
        assert weights.numpy().tolist() == [0, 1, 0, 0]
        assert set(pixels.numpy().ravel()) == {70}
    assert batches.broken.tolist() == [6, 8, 9]
    assert labels(batches.iterate(np.array([[6, 9]]))) == [NO_IMAGE] * 2


def test_few_broken_images_are_named_once(images: LabeledImages, caplog: pytest.LogCaptureFixture) -> None:
    spoil(images, 6)
    batches = Batches(images, SETTINGS, "validation", space=IN_MEMORY)
    for _ in range(2):
        labels(batches.iterate())
        batches.check_broken()
    (line,) = caplog.messages
    assert line.startswith("1 of 10 validation images cannot be read: ")
    assert repr(images.names[6]) in line
    assert "GIF" in line


@pytest.mark.slow
@pytest.mark.parametrize(("share", "is_refused"), [(0.19, True), (0.2, False)])
def test_too_many_broken_images_are_an_error(images: LabeledImages, share: float, is_refused: bool) -> None:
    spoil(images, 6)
    Path(os.fsdecode(images.paths[2])).unlink()
    settings = SETTINGS.model_copy(update={"input": Input(max_broken_share=share)})
    batches = Batches(images, settings, "training")
    labels(batches.iterate())
    if not is_refused:
        batches.check_broken()
        return
    with pytest.raises(DataError) as raised:
        batches.check_broken()
    text = str(raised.value)
    assert text.startswith("2 of 10 training images cannot be read: ")
    assert "image 2" in text
    assert "No such file" in text
    assert text.endswith("more than input.max_broken_share=0.19 allows: replace or remove them")


@pytest.mark.slow
def test_without_any_readable_image_nothing_goes_on(images: LabeledImages, space: CacheSpace) -> None:
    spoil(images, *range(10))
    batches = Batches(images, SETTINGS, "training", space=space)
    for _ in range(2):
        assert labels(batches.iterate()) == [NO_IMAGE] * 10
    with pytest.raises(DataError, match=r"10 of 10 .* and others; none is left: replace or remove them"):
        batches.check_broken()


def test_the_room_on_the_disk_is_promised_once(tmp_path: Path) -> None:
    space = CacheSpace(0, tmp_path)
    images = int(0.7 * shutil.disk_usage(tmp_path).free / (64 * 64))
    assert space.cache((images, 64, 64, 1), "training") is not None
    assert space.cache((images, 64, 64, 1), "validation") is None


@given(
    images=st.integers(1, 60),
    batch=st.integers(1, 9),
    devices=st.sampled_from([(1, 1), (2, 1), (2, 2), (4, 2), (3, 3)]),
    data=st.data(),
)
def test_all_hosts_together_show_what_one_device_would(
    images: int, batch: int, devices: tuple[int, int], data: st.DataObject
) -> None:
    (count, local), set_of = devices, LabeledImages(("a",), np.zeros(images, np.int32), ("",) * images)
    settings = ContainerSettings(training=Training(batch_size=batch))
    whole = ContainerSettings(training=Training(batch_size=batch * count))
    one = Epochs(set_of, whole, Replicas())
    hosts = [Epochs(set_of, settings, Replicas(count, first, local)) for first in range(0, count, local)]
    first_step = data.draw(st.integers(0, one.steps - 1))
    expected = one.rows(3, first_step)
    tables = [host.rows(3, first_step).reshape(len(expected), local, batch) for host in hosts]
    shown = np.concatenate(tables, axis=1)
    for step, row in zip(shown, expected, strict=True):
        assert step[step != NO_IMAGE].tolist() == row[row != NO_IMAGE].tolist()
        parts = (step != NO_IMAGE).sum(axis=1)
        assert parts.max() - parts.min() <= 1
    assert {host.images for host in hosts} == {one.images}


def test_what_tensorflow_calls_its_operations_is_left_out(images: LabeledImages) -> None:
    Path(os.fsdecode(images.paths[4])).write_bytes(b"BM" + bytes(100))
    settings = SETTINGS.model_copy(update={"input": Input(max_broken_share=0)})
    batches = Batches(images, settings, "training")
    labels(batches.iterate())
    with pytest.raises(DataError, match=r"\(\[a BMP must have 8, 24 or 32 bits and no compression\]\);"):
        batches.check_broken()


def test_files_that_take_a_request_each_are_opened_side_by_side(tmp_path: Path) -> None:
    # To open a named pipe for reading takes until somebody opens it for writing.
    paths = [tmp_path / f"{number:02}.png" for number in range(16)]
    for path in paths:
        os.mkfifo(path)
    names = tuple(path.name for path in paths)
    images = LabeledImages(("a",), np.zeros(16, np.int32), names, tuple(map(os.fsencode, paths)), is_streamed=True)
    settings = SETTINGS.model_copy(update={"training": Training(batch_size=16)})
    found: list[int] = []
    reading = threading.Thread(target=lambda: found.extend(labels(Batches(images, settings, "training").iterate())))
    reading.start()
    # The last first: without that all are opened at once, it would wait for the others.
    for path in reversed(paths):
        os.close(opened_for_writing(path))
    reading.join(timeout=30)
    assert found == [NO_IMAGE] * 16


def opened_for_writing(pipe: Path) -> int:
    """Return a pipe that somebody reads."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        # ENXIO: nobody reads it yet.
        with contextlib.suppress(OSError):
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        time.sleep(0.01)
    raise AssertionError(f"nobody opened {pipe.name}")


def test_exhausted_memory_names_the_setting_to_lower(images: LabeledImages) -> None:
    @Batches(images, SETTINGS, "training").explained_errors()
    def fail() -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    with pytest.raises(OutOfMemoryError, match=r"training\.batch_size=4 .*: lower training\.batch_size"):
        fail()


@pytest.mark.slow
def test_a_full_disk_ends_the_keeping_and_not_the_training(
    images: LabeledImages, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # The limit of the process on the size of files stands in for the disk's end.
    batches = Batches(images, SETTINGS, "training", space=CacheSpace(100, tmp_path))
    before, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5 * 64, before[1]))
    try:
        for _ in range(2):
            assert labels(batches.iterate()) == list(range(10))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert [line for line in caplog.messages if "disk cannot be written" in line]
