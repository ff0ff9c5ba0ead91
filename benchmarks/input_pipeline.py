"""How fast images become batches, and whether training ever waits for them: ratios, each of one run.

    python benchmarks/input_pipeline.py IMAGES [raw] [cache] [augmented] [training] [loop]

IMAGES is a folder of photos with one sub-folder per class, or a .tar of one; it is repeated to some thousands of files.
The clock stops when a batch exists as a tensor at 224x224, uint8 or, augmented, float32. The two sides of a ratio take
turns, and each figure is the median over the rounds.

- raw: from files, against keras.utils.image_dataset_from_directory, and against Pillow in one thread, as
  ImageDataGenerator.flow_from_directory reads.
- cache: from the memory after the first epoch, and from the disk, against image_dataset_from_directory.
- augmented: flips, rotation, zoom and shift of batches from the memory, against the same layers of Keras mapped on
  image_dataset_from_directory.
- training: a small model trained from files, after the first epoch, against the same on arrays in the memory.
- loop: the training loop against model.fit on the same dataset.
"""

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras
import numpy as np
import tensorflow as tf
from PIL import Image as Picture

from benchmarks.photos import repeated
from container.dataset.index import index_images
from container.modeling.augmentation import build_augmentor
from container.modeling.distribution import Distribution
from container.modeling.input_pipeline.batches import Batches, rows_of
from container.modeling.input_pipeline.labeled_images import LabeledImages
from container.modeling.input_pipeline.pixel_cache import CacheSpace
from container.modeling.optimization.losses import build_loss
from container.modeling.optimization.steps import TrainingSteps
from container.modeling.settings import Augmentation, ContainerSettings, Image, Loss, Training

SIDE, BATCH = 224, 32
LAYERS: Mapping[str, Mapping[str, Any]] = {
    "RandomFlip": {"mode": "horizontal_and_vertical"},
    "RandomRotation": {"factor": 0.1},
    "RandomZoom": {"height_factor": 0.2},
    "RandomTranslation": {"height_factor": 0.1, "width_factor": 0.1},
}
SETTINGS = ContainerSettings(
    image=Image(height=SIDE, width=SIDE),
    training=Training(batch_size=BATCH),
    augmentation=Augmentation(layers={name: dict(values) for name, values in LAYERS.items()}),
)
Measured = Callable[[], float]
"""Returns images a second."""


def main() -> None:
    """Measure what is asked for, or everything."""
    benchmarks = {"raw": raw, "cache": cache, "augmented": augmented, "training": training, "loop": loop}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("benchmarks", nargs="*", choices=[*benchmarks, []], metavar="|".join(benchmarks))
    parser.add_argument("--files", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = repeated(arguments.images, Path(scratch), arguments.files)
        for name in arguments.benchmarks or benchmarks:
            benchmarks[name](folder, arguments.rounds)


def raw(folder: Path, rounds: int) -> None:
    """From files."""
    images = LabeledImages.of_folder(index_images(folder))
    batches = Batches(images, SETTINGS, "training", fast=True)
    compare(
        rounds,
        "from files",
        lambda: rate(batches.iterate(shuffled(len(images)))),
        {
            "image_dataset_from_directory": lambda: rate(from_directory(folder)),
            "Pillow, one thread": lambda: rate(by_pillow(folder)),
        },
    )


def cache(folder: Path, rounds: int) -> None:
    """From the memory, and from the disk."""
    images = LabeledImages.of_folder(index_images(folder))
    peers = {"image_dataset_from_directory": lambda: rate(from_directory(folder))}
    with tempfile.TemporaryDirectory() as scratch:
        for name, space in (("memory", in_memory()), ("disk", CacheSpace(0, Path(scratch)))):
            batches = Batches(images, SETTINGS, "training", space=space, fast=True)
            rate(batches.iterate())
            compare(rounds, f"from the {name}", lambda: rate(batches.iterate(shuffled(len(images)))), peers)  # noqa: B023


def augmented(folder: Path, rounds: int) -> None:
    """Flips, rotation, zoom and shift."""
    images = LabeledImages.of_folder(index_images(folder))
    batches = Batches(images, SETTINGS, "training", space=in_memory(), fast=True)
    rate(batches.iterate())
    augmentor = build_augmentor(SETTINGS.augmentation, SETTINGS.image, 0)
    classes = len(images.classes)
    augment = tf.function(lambda pixels, labels: augmentor(tf.cast(pixels, tf.float32), tf.one_hot(labels, classes)))
    chain = keras.Sequential([getattr(keras.layers, name)(**values) for name, values in LAYERS.items()])
    mapped = from_directory(folder).map(
        lambda pixels, labels: (chain(pixels, training=True), labels), num_parallel_calls=tf.data.AUTOTUNE
    )
    compare(
        rounds,
        "augmented, from the memory",
        lambda: rate(augment(pixels, labels) for pixels, labels, _ in batches.iterate(shuffled(len(images)))),
        {"Keras's layers mapped on image_dataset_from_directory": lambda: rate(mapped.prefetch(tf.data.AUTOTUNE))},
    )


def training(folder: Path, rounds: int) -> None:
    """A model that is faster than 2,000 images a second."""
    images = LabeledImages.of_folder(index_images(folder))
    batches = Batches(images, SETTINGS, "training", space=in_memory(), fast=True)
    dataset = of_arrays(batches)
    steps = training_steps(small_model(len(images.classes)), len(images.classes))
    stream = batches.iterate_endlessly(lambda number: shuffled(len(images), number))
    compare(
        rounds,
        "trained from files, after the first epoch",
        lambda: trained(steps, stream, len(images)),
        {"on arrays in the memory": lambda: trained(steps, iter(dataset), len(images))},
    )


def loop(folder: Path, rounds: int) -> None:
    """The loop against model.fit: the same model, dataset and optimizer."""
    images = LabeledImages.of_folder(index_images(folder))
    dataset = of_arrays(Batches(images, SETTINGS, "training", space=in_memory(), fast=True))
    steps = training_steps(small_model(len(images.classes)), len(images.classes))
    fitted = small_model(len(images.classes))
    fitted.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)

    def fit() -> float:
        began = time.perf_counter()
        fitted.fit(dataset, verbose=0)
        return len(images) / (time.perf_counter() - began)

    compare(rounds, "the training loop", lambda: trained(steps, iter(dataset), len(images)), {"model.fit": fit})


def of_arrays(batches: Batches) -> Any:
    """Return a shuffled dataset of all that the batches hold, in the memory."""
    arrays = [np.concatenate(parts) for parts in zip(*batches.iterate(), strict=True)]
    dataset = tf.data.Dataset.from_tensor_slices(tuple(arrays)).shuffle(len(arrays[0]))
    return dataset.batch(BATCH).prefetch(tf.data.AUTOTUNE)


def training_steps(model: keras.Model, classes: int) -> TrainingSteps:
    """Return steps that augment nothing."""
    loss = build_loss(Loss(), "softmax")
    return TrainingSteps(
        model, keras.optimizers.Adam(), loss, lambda *batch: batch, classes, BATCH, False, Distribution()
    )


def small_model(classes: int) -> keras.Model:
    """Return a model that alone trains on more than 2,000 images a second."""
    pixels = keras.Input((SIDE, SIDE, 3))
    maps = keras.layers.AveragePooling2D(4)(keras.layers.Rescaling(1 / 255)(pixels))
    for filters in (24, 32):
        maps = keras.layers.Conv2D(filters, 3, strides=2, activation="relu")(maps)
    maps = keras.layers.GlobalAveragePooling2D()(maps)
    return keras.Model(pixels, keras.layers.Dense(classes, activation="softmax")(maps))


def trained(steps: TrainingSteps, batches: Any, images: int) -> float:
    """Train an epoch; return images a second."""
    began, count = time.perf_counter(), -(-images // BATCH)
    for first in range(0, count, 16):
        steps.run(batches, first, min(16, count - first), 0, 0)
    assert np.isfinite(steps.totals.loss)
    steps.reset()
    return images / (time.perf_counter() - began)


def compare(rounds: int, name: str, ours: Measured, peers: Mapping[str, Measured]) -> None:
    """Print medians in images a second, and the median of the rounds' ratios."""
    ours()
    for peer in peers.values():
        peer()
    rates = [(ours(), *(peer() for peer in peers.values())) for _ in range(rounds)]
    for position, peer_name in enumerate(peers, start=1):
        ratio = statistics.median(row[0] / row[position] for row in rates)
        mine, theirs = (statistics.median(row[column] for row in rates) for column in (0, position))
        print(f"{name}: {mine:,.0f} images/s; {peer_name}: {theirs:,.0f} images/s; ratio {ratio:.2f}", flush=True)


def rate(batches: Iterable[Any]) -> float:
    """Use batches up; return images a second."""
    began, images = time.perf_counter(), 0
    for pixels, *_ in batches:
        images += pixels.shape[0]
    return images / (time.perf_counter() - began)


def from_directory(folder: Path) -> Any:
    """Return Keras's dataset of the folder."""
    return keras.utils.image_dataset_from_directory(folder, image_size=(SIDE, SIDE), batch_size=BATCH, verbose=0)


def by_pillow(folder: Path) -> Iterator[tuple[np.ndarray, None]]:
    """Yield batches as flow_from_directory makes them: one thread, nearest pixels, float32."""
    files = sorted(folder.glob("*/*"))
    random.Random(0).shuffle(files)
    for start in range(0, len(files), BATCH):
        chosen = files[start : start + BATCH]
        batch = np.zeros((len(chosen), SIDE, SIDE, 3), np.float32)
        for row, file in zip(batch, chosen, strict=True):
            with Picture.open(file) as picture:
                resized = picture.convert("RGB").resize((SIDE, SIDE), Picture.Resampling.NEAREST)
                row[...] = np.asarray(resized, np.float32)
        yield batch, None


def in_memory() -> CacheSpace:
    """Return room for all."""
    return CacheSpace(1 << 40, None)


def shuffled(images: int, epoch: int = 0) -> np.ndarray:
    """Return the batches of an epoch."""
    return rows_of(np.random.default_rng(epoch).permutation(images), BATCH)


if __name__ == "__main__":
    main()
