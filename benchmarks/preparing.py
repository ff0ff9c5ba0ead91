"""How fast images are prepared, how much faster by two processes, and how much memory more files take.

    python benchmarks/preparing.py IMAGES [speed] [reading] [memory] [--files N] [--rounds N]

IMAGES is a folder of photos with one sub-folder per class, or a .tar of one; it is repeated to N files.

- speed: `--prepare` with one process and with two, by turns, to 224x224; the median of the rounds' ratios.
- reading: batches of 32 for training, from the shards and from the photos, by turns.
- memory: the peak of a run, of the process that hands out the work, with 20,000 and with 60,000 small files.
"""

import argparse
import multiprocessing
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from PIL import Image

from benchmarks.photos import repeated
from benchmarks.unwatched import Unwatched
from container.dataset.prepare import Layout, prepare_sets
from container.dataset.recipe import Recipe
from container.dataset.record import RECORD

RECIPE = Recipe(height=224, width=224, channels=3, format="jpeg", quality=92)
LAYOUT = Layout(192_000_000)
COUNTS = (20_000, 60_000)


def main() -> None:
    """Measure what is asked for, or everything."""
    benchmarks: dict[str, Callable[[argparse.Namespace], None]] = {"speed": speed, "reading": reading, "memory": memory}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("benchmarks", nargs="*", choices=[*benchmarks, []], metavar="|".join(benchmarks))
    parser.add_argument("--files", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for name in arguments.benchmarks or benchmarks:
        benchmarks[name](arguments)


def speed(arguments: argparse.Namespace) -> None:
    """One process and two."""
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("this needs two cores")
    with tempfile.TemporaryDirectory() as scratch:
        sets = as_split(repeated(arguments.images, Path(scratch), arguments.files))
        rounds = [[timed(sets, processes) for processes in (1, 2)] for _ in range(arguments.rounds)]
    one, two = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(seconds[0] / seconds[1] for seconds in rounds)
    print(
        f"prepared {arguments.files:,} photos: {arguments.files / one:,.0f} images/s by one process, "
        f"{arguments.files / two:,.0f} by two: {ratio:.2f} times as fast",
        flush=True,
    )


def reading(arguments: argparse.Namespace) -> None:
    """Shards and photos."""
    # Not above: the processes that shrink import this module too.
    from container.dataset.index import index_images
    from container.dataset.sharded_folder import index_shards
    from container.modeling.input_pipeline.batches import Batches, rows_of
    from container.modeling.input_pipeline.labeled_images import LabeledImages
    from container.modeling.settings import ContainerSettings

    with tempfile.TemporaryDirectory() as scratch:
        sets = as_split(repeated(arguments.images, Path(scratch), arguments.files))
        target = sets.with_name("prepared")
        prepare_sets(sets, target, RECIPE, LAYOUT, Unwatched())
        images = LabeledImages.of_shards(index_shards(target / "training"))
        photos = LabeledImages.of_folder(index_images(sets / "training"))
        rows = rows_of(np.random.default_rng(0).permutation(len(images)), 32)

        def rate(labeled: LabeledImages) -> float:
            batches = Batches(labeled, ContainerSettings(), "training", fast=True)
            began = time.perf_counter()
            count = sum(len(found) for _, found, _ in batches.iterate(rows))
            return count / (time.perf_counter() - began)

        rounds = [[rate(images), rate(photos)] for _ in range(arguments.rounds)]
    prepared, original = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(rates[0] / rates[1] for rates in rounds)
    print(
        f"training reads {prepared:,.0f} images/s from shards, {original:,.0f} from the photos: {ratio:.2f} times as "
        "fast",
        flush=True,
    )


def memory(_: argparse.Namespace) -> None:
    """Few files and many."""
    few, many = (peak(count) for count in COUNTS)
    growth = (many - few) * 1000 / (COUNTS[1] - COUNTS[0])
    print(
        f"peak memory with {COUNTS[0]:,} files {few / 1e3:,.0f} MB, with {COUNTS[1]:,} files {many / 1e3:,.0f} MB: "
        f"{growth:,.0f} bytes a file",
        flush=True,
    )


def timed(sets: Path, processes: int) -> float:
    """Prepare a split from nothing; return the seconds."""
    target = sets.with_name("prepared")
    began = time.perf_counter()
    prepare_sets(sets, target, RECIPE, LAYOUT, Unwatched(), processes)
    seconds = time.perf_counter() - began
    shutil.rmtree(target)
    return seconds


def peak(files: int) -> float:
    """Return the peak of the memory, in kB, of a process that prepares so many small files."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "images"
        picture = Path(scratch) / "picture.png"
        Image.new("RGB", (8, 8)).save(picture)
        for number in range(files):
            # A file can have some 65,000 names.
            link = folder / f"class {number % 10}" / f"picture of the benchmark {number:08}.png"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.hardlink_to(picture)
        context = multiprocessing.get_context("spawn")
        receiver, sender = context.Pipe()
        process = context.Process(target=report_peak, args=(as_split(folder), sender))
        process.start()
        found: float = receiver.recv()
        process.join()
        return found


def report_peak(sets: Path, sender: Any) -> None:
    """Prepare a split, and send the peak of this process's memory in kB."""
    prepare_sets(sets, sets.with_name("prepared"), RECIPE, LAYOUT, Unwatched(), processes=1)
    sender.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def as_split(images: Path) -> Path:
    """Make a folder of class folders the training set of a split, with one image of it as its validation set."""
    sets = images.with_name("sets")
    sets.mkdir()
    first = min(images.glob("*/*"))
    validation = sets / "validation" / first.parent.name
    validation.mkdir(parents=True)
    (validation / first.name).symlink_to(first.resolve())
    images.rename(sets / "training")
    (sets / RECORD).write_text("{}", encoding="utf-8")
    return sets


if __name__ == "__main__":
    main()
