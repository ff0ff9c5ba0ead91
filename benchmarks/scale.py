"""What a million, a hundred million and a billion images cost, worked out from what one costs here.

    python benchmarks/scale.py IMAGES [--files N]

IMAGES is a folder of photos with one sub-folder per class, or a .tar of one; N files are made of it. Measured is the
time of the processor, of one process, so that other work on this machine hardly matters. All else is an assumption,
named below with its unit; docs/scale.md tells what they mean.
"""

import argparse
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.photos import repeated, varied
from benchmarks.preparing import LAYOUT, RECIPE, as_split
from benchmarks.unwatched import Unwatched
from container.dataset.looks import look_at_files
from container.dataset.prepare import prepare_sets
from container.dataset.sharded_folder import index_shards
from container.dataset.split import split_images
from container.modeling.settings import Data

SIZES = (10**6, 10**8, 10**9)
MOST_PIXELS = 89_478_485

# Prices in us-east-1, in USD, an assumption as well: look at https://aws.amazon.com/sagemaker/pricing and
# https://aws.amazon.com/s3/pricing for today's. Of an instance: type, vCPUs, an hour.
CHECKER = ("ml.c5.18xlarge", 72, 3.672)
PREPARER = ("ml.c5.4xlarge", 16, 0.816)  # processing
TRAINER = ("ml.g5.xlarge", 4, 1.408)  # training
GET, PUT, LISTED = 0.4e-6, 5e-6, 5e-9  # a request; a key that is listed, a thousand at a time
VOLUME_HOUR = 0.14 / 730  # a GB of an instance's storage
KEPT_MONTH = 0.023  # a GB in S3 Standard

# What nothing here can measure.
VCPU = 0.7  # of a core here: two hyper-threads share one core there
COPIED = 1000  # objects a second that SageMaker copies to one instance in File mode
LISTING = 5000  # keys a second that one listing tells
SENT = 500  # objects a second that one machine uploads
TRAINED = 1000  # images a second that the GPU of TRAINER learns from, ResNet-50 at 224x224
INSTANCES = {10**6: 1, 10**8: 10, 10**9: 100}


@dataclass(frozen=True)
class Measured:
    """What one image costs here."""

    split: float
    """Seconds of a core to be found, compared with others and put into a set."""
    check: float
    prepare: float
    read: float
    """Seconds of a core to be decoded from a shard for training."""
    original: float
    """Bytes."""
    prepared: float
    memory: float
    """The most bytes that a job takes to have it in its index."""


def main() -> None:
    """Measure, and print what follows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--files", type=int, default=1000)
    arguments = parser.parse_args()
    measured = measure(arguments.images, arguments.files)
    print(
        f"an image of {measured.original / 1e3:,.0f} KB: {measured.split * 1e6:,.0f} us to be split, "
        f"{measured.check * 1e3:.1f} ms to be checked, {measured.prepare * 1e3:.1f} ms to be prepared to "
        f"{measured.prepared / 1e3:,.0f} KB, {measured.read * 1e3:.2f} ms to be read from a shard, "
        f"{measured.memory:,.0f} bytes of memory for the index of a job"
    )
    for images in SIZES:
        print(f"\n{images:,.0f} images, {INSTANCES[images]} instances")
        for step, hours, usd in steps(measured, images, INSTANCES[images]):
            print(f"  {step:<42}{hours:>10,.2f} h{usd:>12,.2f} USD")


def steps(one: Measured, images: int, count: int) -> list[tuple[str, float, float]]:
    """Return the steps, each with the hours and the USD that it takes on so many instances."""
    gigabytes, prepared = one.original * images / 1e9, one.prepared * images / 1e9
    check = hours(one.check * images, CHECKER[1])
    upload = images / SENT / 3600
    copy = (images / LISTING + images / COPIED / count) / 3600
    prepare = hours(one.prepare * images, PREPARER[1]) / count
    volume = (gigabytes + prepared) * VOLUME_HOUR * (copy + prepare)
    epoch = max(images / TRAINED / 3600, hours(one.read * images, TRAINER[1])) / count
    shards = prepared * 1000 / 192
    return [
        (f"check, one {CHECKER[0]}", check, check * CHECKER[2]),
        ("split --stable, one core", one.split * images / 3600, 0.0),
        ("upload of the originals", upload, images * PUT),
        ("  kept in S3, a month", 730, gigabytes * KEPT_MONTH),
        (
            f"prepare, {count} x {PREPARER[0]}: copy",
            copy,
            copy * count * PREPARER[2] + images * (GET + LISTED * count),
        ),
        (f"prepare, {count} x {PREPARER[0]}: shrink", prepare, prepare * count * PREPARER[2] + volume + shards * PUT),
        ("  shards kept in S3, a month", 730, prepared * KEPT_MONTH),
        (f"an epoch, {count} x {TRAINER[0]}, FastFile", epoch, epoch * count * TRAINER[2] + prepared * 1000 / 4 * GET),
    ]


def hours(core_seconds: float, vcpus: int) -> float:
    """Return how long so much work takes all vCPUs of an instance."""
    return core_seconds / vcpus / VCPU / 3600


def measure(images: Path, files: int) -> Measured:
    """Return what one of so many images costs."""
    # Not above: nothing else here needs TensorFlow.
    from container.modeling.input_pipeline.batches import Batches, rows_of
    from container.modeling.input_pipeline.labeled_images import LabeledImages
    from container.modeling.settings import ContainerSettings

    with tempfile.TemporaryDirectory() as scratch:
        # A split compares what may be the same.
        data = Data(directory=varied(images, Path(scratch), files).name, stable=True)
        split = cpu_seconds(lambda: split_images(data, Path(scratch), Unwatched()))
        sets = as_split(repeated(images, Path(scratch), files))
        training, target = sets / "training", sets.with_name("prepared")
        paths = [str(path) for path in training.glob("*/*")]
        check = cpu_seconds(lambda: look_at_files(paths, MOST_PIXELS))
        prepare = cpu_seconds(lambda: prepare_sets(sets, target, RECIPE, LAYOUT, Unwatched(), processes=1))
        tracemalloc.start()
        folder = index_shards(target / "training")
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        batches = Batches(LabeledImages.of_shards(folder), ContainerSettings(), "training", fast=True)
        rows = rows_of(np.arange(files), 32)
        read_once = lambda: sum(len(found) for _, found, _ in batches.iterate(rows))  # noqa: E731
        read_once()
        read = cpu_seconds(read_once)
        original = sum(Path(path).stat().st_size for path in paths)
        prepared = sum(path.stat().st_size for path in (target / "training").iterdir())
    return Measured(*(value / files for value in (split, check, prepare, read, original, prepared, memory)))


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the time of the processor that something takes all threads of this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    main()
