"""Shards in a training job: read as folders are, streamed piece by piece, spread over hosts."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from container.dataset.prepare import Layout
from container.dataset.recipe import Recipe
from container.dataset.sharded_folder import index_shards
from container.dataset.shrink import shrink
from container.modeling.decoding import decode_image
from container.modeling.input_pipeline.batches import Batches, rows_of
from container.modeling.input_pipeline.epochs import Epochs, Replicas
from container.modeling.input_pipeline.labeled_images import LabeledImages
from container.modeling.input_pipeline.streamed_shards import WINDOW, PieceReader, in_windows, pieces
from container.modeling.job import OptMl
from container.modeling.settings import ContainerSettings, Loss, Training
from container.modeling.settings import Image as ImageSettings
from container.modeling.train import TrainingFailedError, reported_failure, run_job
from container.report import facts
from tests.container.dataset.preparing import encoded, prepare, write, write_sets
from tests.container.jobs import TINY, lay_out, lay_out_hosts, start

pytestmark = pytest.mark.slow

GREY = Recipe(height=8, width=8, channels=1, format="jpeg", quality=95)
FEW_IMAGES = Layout(1000)
RGB = ImageSettings(height=24, width=24)


def prepared(base: Path, layout: Layout = FEW_IMAGES, recipe: Recipe = GREY) -> Path:
    """Prepare the images of a job like those of `lay_out`; return the folder of the prepared sets."""
    sets = base / "sets"
    shutil.copytree(lay_out(base / "originals").base / "input" / "data", sets)
    write(sets / "split.json", b"{}")
    prepare(sets, recipe=recipe, layout=layout)
    return sets.with_name("prepared")


def put(opt_ml: OptMl, channel: str, folder: Path) -> None:
    shutil.rmtree(opt_ml.channel_dir(channel))
    shutil.copytree(folder, opt_ml.channel_dir(channel))


def set_channels(opt_ml: OptMl, **fields: str) -> None:
    opt_ml.channels_file.write_text(json.dumps({"training": fields, "validation": {}, "evaluation": {}}))


def failure(opt_ml: OptMl) -> str:
    with pytest.raises(TrainingFailedError) as raised, reported_failure(opt_ml):
        run_job(opt_ml)
    return str(raised.value)


def test_tensorflow_reads_a_shard_as_what_it_is(tmp_path: Path) -> None:
    folder = prepared(tmp_path) / "training"
    spec = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        "image/filename": tf.io.FixedLenFeature([], tf.string),
        "image/class/text": tf.io.FixedLenFeature([], tf.string),
        "image/class/label": tf.io.FixedLenFeature([], tf.int64),
    }
    records = tf.data.TFRecordDataset(sorted(map(str, folder.glob("*.tfrecord"))))
    found = [tf.io.parse_single_example(record, spec) for record in records]
    shards = index_shards(folder)
    assert len(found) == len(shards) == 36
    positions = {name: position for position, name in enumerate(shards.names)}
    for record in found:
        position = positions[record["image/filename"].numpy().decode()]
        assert record["image/encoded"] == shards.content(position)
        assert record["image/class/label"] == shards.labels[position]
        assert record["image/class/text"].numpy().decode() == shards.classes[shards.labels[position]]
    # Protocol Buffers' own reader is stricter than TensorFlow's.
    assert all(tf.train.Example.FromString(record.numpy()).IsInitialized() for record in records)


def test_training_on_shards_is_training_on_the_same_images_in_folders(tmp_path: Path) -> None:
    shards, by_folder, by_shards = prepared(tmp_path), lay_out(tmp_path / "folder"), lay_out(tmp_path / "shards")
    for channel in ("training", "validation"):
        put(by_shards, channel, shards / channel)
        images = index_shards(shards / channel)
        for position, name in enumerate(images.names):
            (by_folder.channel_dir(channel) / name).write_bytes(images.content(position))
    for opt_ml in (by_folder, by_shards):
        run_job(opt_ml)
    rows = [
        [row.model_dump(exclude=facts.DURATIONS) for row in facts.read_history(opt_ml.model_dir / facts.HISTORY_FILE)]
        for opt_ml in (by_folder, by_shards)
    ]
    assert rows[0] == rows[1]
    tables = [(opt_ml.model_dir / facts.PREDICTIONS_FILE).read_text() for opt_ml in (by_folder, by_shards)]
    assert tables[0] == tables[1]
    pages = [(opt_ml.model_dir / "report.html").read_text() for opt_ml in (by_folder, by_shards)]
    assert pages[0].count("data:image/webp") == pages[1].count("data:image/webp") > 0
    metrics = [facts.Metrics.read(opt_ml.model_dir / facts.METRICS_FILE) for opt_ml in (by_folder, by_shards)]
    assert metrics[0].data_fingerprint == metrics[1].data_fingerprint


@pytest.mark.long
def test_shards_may_be_streamed_and_shared_by_hosts(tmp_path: Path) -> None:
    shards = prepared(tmp_path, Layout(1_000_000, least_training_shards=8))
    hosts = lay_out_hosts(tmp_path / "hosts", TINY | {"training.batch_size": "4"})
    files = sorted((shards / "training").iterdir())
    for number, opt_ml in enumerate(hosts):
        put(opt_ml, "training", shards / "training")
        for file in files[number::2]:
            (opt_ml.channel_dir("training") / file.name).unlink()
        set_channels(opt_ml, S3DistributionType="ShardedByS3Key", TrainingInputMode="FastFile")
    programs = [start(opt_ml, TRAINING_JOB_NAME="shared shards") for opt_ml in hosts]
    logs = [program.communicate(timeout=120)[0] for program in programs]
    assert [program.returncode for program in programs] == [0, 0], logs
    metrics = facts.Metrics.read(hosts[0].model_dir / facts.METRICS_FILE)
    assert (metrics.training_images, metrics.hosts) == (36, 2)


def test_images_that_were_prepared_for_a_smaller_input_are_refused(tmp_path: Path) -> None:
    shards, opt_ml = prepared(tmp_path), lay_out(tmp_path / "job", TINY | {"image.width": "9"})
    put(opt_ml, "training", shards / "training")
    text = failure(opt_ml)
    assert text.startswith("the images of the channel 'training' are prepared for an input of 8x8, not of 8x9: prepare")
    opt_ml.hyperparameters_file.write_text(json.dumps(TINY | {"image.channels": "3"}))
    assert "of 1 channel, not of 3" in failure(opt_ml)


def test_a_host_without_a_shard_is_told(tmp_path: Path) -> None:
    shards, (opt_ml, _) = prepared(tmp_path), lay_out_hosts(tmp_path / "hosts")
    put(opt_ml, "training", shards / "training")
    for shard in opt_ml.channel_dir("training").glob("*.tfrecord"):
        shard.unlink()
    with pytest.raises(Exception, match=r"holds no shard: there are fewer than hosts; prepare"):
        index_shards(opt_ml.channel_dir("training"), is_share=True)


def test_a_shard_that_ends_early_is_a_broken_image(tmp_path: Path) -> None:
    folder = prepared(tmp_path, Layout(1_000_000)) / "training"
    images = LabeledImages.of_shards(index_shards(folder))
    (shard,) = folder.glob("*.tfrecord")
    shard.write_bytes(shard.read_bytes()[: int(np.sort(images.shards.offsets)[-1]) + 1])  # type: ignore[union-attr]
    image = ImageSettings(height=8, width=8, channels=1)
    batches = Batches(images, ContainerSettings(image=image), "training")
    assert sum(len(found) for _, found, _ in batches.iterate()) == 36
    assert len(batches.broken) == 1


def kinds() -> dict[str, bytes]:
    """Return a soft picture, 70 pixels wide and 50 high, as files of many kinds."""
    across, down = np.meshgrid(np.linspace(0, 1, 70), np.linspace(0, 1, 50))
    pixels = (255 * np.stack([across, down, (across + down) / 2], axis=2)).astype(np.uint8)
    picture = Image.fromarray(pixels)
    grey16 = Image.fromarray((pixels[:, :, 0].astype(np.uint16) << 8) + 77)
    exif = Image.Exif()
    exif[0x0112] = 6
    transparent = picture.copy()
    transparent.putalpha(100)
    saved = {
        "jpeg": (picture, "JPEG", {"quality": 95}),
        "grey jpeg": (picture.convert("L"), "JPEG", {"quality": 95}),
        "cmyk jpeg": (picture.convert("CMYK"), "JPEG", {"quality": 95}),
        "turned jpeg": (picture, "JPEG", {"quality": 95, "exif": exif}),
        "turned png": (picture, "PNG", {"exif": exif}),
        "png": (picture, "PNG", {}),
        "transparent png": (transparent, "PNG", {}),
        "palette png": (picture.quantize(200), "PNG", {}),
        "16-bit png": (grey16, "PNG", {}),
        "black-and-white png": (picture.convert("1"), "PNG", {}),
        "bmp": (picture, "BMP", {}),
        "gif": (picture, "GIF", {}),
        "webp": (picture, "WEBP", {"lossless": True}),
    }
    files = {}
    for name, (image, kind, options) in saved.items():
        content = io.BytesIO()
        image.save(content, kind, **options)
        files[name] = content.getvalue()
    return files


@pytest.mark.parametrize("kind", list(kinds()))
@pytest.mark.parametrize("channels", [1, 3])
def test_a_prepared_image_is_to_training_what_the_original_is(kind: str, channels: int) -> None:
    recipe = Recipe(height=24, width=24, channels=channels, format="png", quality=90)  # type: ignore[arg-type]
    image = RGB.model_copy(update={"channels": channels})
    original = kinds()[kind]
    small = shrink(original, recipe)
    assert not small.problem
    with Image.open(io.BytesIO(small.content)) as picture:
        assert picture.size == ((24, 34) if kind == "turned jpeg" else (34, 24))
    decode = tf.function(lambda content: decode_image(content, image), autograph=False)
    of_small, of_original = (decode(tf.constant(content)) for content in (small.content, original))
    # A black-and-white picture is all noise, which each filter smooths in its own way.
    limit = 12 if kind == "black-and-white png" else 3
    assert np.abs(np.asarray(of_small, float) - np.asarray(of_original, float)).mean() < limit


@pytest.mark.parametrize(("size", "kept"), [((24, 24), True), ((24, 100), True), ((20, 100), True), ((25, 100), False)])
def test_no_image_is_enlarged_and_what_is_small_stays_as_it_is(size: tuple[int, int], kept: bool) -> None:
    content = encoded(0, size)
    recipe = Recipe(height=24, width=24, channels=3, format="jpeg", quality=90)
    assert (shrink(content, recipe).content == content) == kept


@given(numbers=st.lists(st.integers(0, 200), min_size=1, max_size=400), seed=st.integers(0, 99))
def test_an_order_in_windows_uses_few_pieces_at_a_time(numbers: list[int], seed: int) -> None:
    _, of_piece = np.unique(numbers, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(of_piece))
    found = in_windows(order, of_piece, (seed, 1))
    assert sorted(found) == sorted(order)
    shown = of_piece[found]
    first = np.unique(shown, return_index=True)[1]
    last = len(shown) - 1 - np.unique(shown[::-1], return_index=True)[1]
    assert all(np.sum((first <= step) & (step <= last)) <= WINDOW for step in range(len(shown)))


def test_a_streamed_epoch_is_repeatable_and_shows_each_image_once(tmp_path: Path) -> None:
    shards = index_shards(prepared(tmp_path) / "training", as_stored=True)
    images = LabeledImages(shards.classes, shards.labels, shards.names, shards=shards, is_streamed=True)
    settings = ContainerSettings(training=Training(batch_size=8))
    first, again = (Epochs(images, settings, Replicas()) for _ in range(2))
    np.testing.assert_array_equal(first.rows(3, 0), again.rows(3, 0))
    assert sorted(first.rows(0, 0).ravel().tolist())[-36:] == list(range(36))
    assert first.rows(0, 0).tolist() != first.rows(1, 0).tolist()
    often = settings.model_copy(update={"loss": Loss(balance="oversampling")})
    assert Epochs(images, often, Replicas()).images == 36


def test_pieces_are_read_once_and_stay_in_memory(tmp_path: Path) -> None:
    # Two shards of two pieces each, of images that nothing shrinks.
    sets = write_sets(tmp_path, training=0)
    for number in range(24):
        write(sets / f"training/cat/{number}.png", encoded(number, (500, 500)))
    recipe = Recipe(height=2048, width=2048, channels=3, format="png", quality=90)
    prepare(sets, recipe=recipe, layout=Layout(12_000_000))
    folder = sets.with_name("prepared") / "training"
    shards = index_shards(folder, as_stored=True)
    numbers = pieces(shards)
    assert numbers.max() >= 3
    assert (np.diff(numbers) >= 0).all()
    reader, expected = PieceReader(shards), [shards.content(position) for position in range(24)]
    firsts = np.unique(numbers, return_index=True)[1]
    assert [reader.content(position) for position in firsts] == [expected[position] for position in firsts]
    for shard in folder.glob("*.tfrecord"):
        shard.unlink()
    assert [reader.content(position) for position in range(24)] == expected
    with pytest.raises(OSError, match="No such file"):
        PieceReader(shards).content(0)


def test_streamed_batches_have_the_images_that_were_asked_for(tmp_path: Path) -> None:
    shards = index_shards(prepared(tmp_path) / "training", as_stored=True)
    image = ImageSettings(height=8, width=8, channels=1)
    settings = ContainerSettings(image=image, training=Training(batch_size=8))
    images = LabeledImages(shards.classes, shards.labels, shards.names, shards=shards, is_streamed=True)
    order = np.random.default_rng(0).permutation(36)
    batches = list(Batches(images, settings, "training").iterate(rows_of(order, 8)))
    found = np.concatenate([pixels for pixels, _, _ in batches])
    expected = [decode_image(tf.constant(shards.content(position)), image) for position in order]
    np.testing.assert_array_equal(found, np.stack(expected))
