"""How much memory the commands of data_handler.py take for each file, with few small files and with many.

    python benchmarks/data_memory.py [split] [check] [ingest] [as_arrays] [prepare] [shards]

Each figure is the growth of the peak of a process's resident memory from 20,000 to 60,000 files, by file; it should be
at most 1,000 bytes.

- split: class folders, a labels.csv with a row for each image, and an expression that ties images by fives.
- check: class folders of different pictures, 16x16.
- ingest: the folder of a store, such as S3.
- as_arrays: sets to 8x8 pixels.
- prepare: sets that are prepared already, of which nothing changed. benchmarks/preparing.py measures the first time.
- shards: sets that are prepared already, in shards of another size.
"""

import argparse
import multiprocessing
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from PIL import Image as Picture

from benchmarks.preparing import COUNTS, LAYOUT, RECIPE, as_split
from benchmarks.unwatched import Unwatched
from container.dataset.array_sets import write_arrays
from container.dataset.check import check_images
from container.dataset.fetching import StoredFile
from container.dataset.ingest import ingest_store
from container.dataset.prepare import Layout, prepare_sets
from container.dataset.split import split_images
from container.dataset.taking import Limits
from container.modeling.settings import Data, Image

CLASSES, TIED = 10, 5
LIMITS = Limits(files=10**6, bytes=0, ratio=100, pixels=10**6)
PNG_START = b"\x89PNG\r\n\x1a\n"
# Some hundreds of the small files, and half of them.
LARGE_SHARDS, SMALL_SHARDS = Layout(100_000), Layout(50_000)


@dataclass(frozen=True)
class Store:
    """So many small files, which are made as they are fetched."""

    count: int

    def files(self) -> Iterator[StoredFile]:
        """Yield all."""
        for number in range(self.count):
            yield StoredFile(name_of(number), 9, 1e9)

    def fetch(self, file: StoredFile, target: Path) -> None:
        """Write one."""
        target.write_bytes(PNG_START + b"0")


def main() -> None:
    """Print the growth of what is asked for, or of everything."""
    ways: dict[str, tuple[Callable[[Path, int], None], Callable[[Path, int], object]]] = {
        "split": (make_table, split),
        "check": (make_pictures, check),
        "ingest": (lambda folder, count: None, ingest),
        "as_arrays": (make_sets, to_arrays),
        "prepare": (prepare_first, prepare),
        "shards": (prepare_large, prepare_small),
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="*", choices=[*ways, []], metavar="|".join(ways))
    for name in parser.parse_args().ways or ways:
        few, many = (peak(*ways[name], count) for count in COUNTS)
        growth = (many - few) * 1000 / (COUNTS[1] - COUNTS[0])
        print(
            f"{name}: peak memory with {COUNTS[0]:,} files {few / 1e3:,.0f} MB, with {COUNTS[1]:,} files "
            f"{many / 1e3:,.0f} MB: {growth:,.0f} bytes a file",
            flush=True,
        )


def peak(make: Callable[[Path, int], None], work: Callable[[Path, int], object], count: int) -> float:
    """Return the peak of the memory, in kB, of a process that works on so many files."""
    with tempfile.TemporaryDirectory() as scratch:
        make(Path(scratch), count)
        context = multiprocessing.get_context("spawn")
        receiver, sender = context.Pipe()
        process = context.Process(target=report_peak, args=(work, Path(scratch), count, sender))
        process.start()
        found: float = receiver.recv()
        process.join()
        return found


def report_peak(work: Callable[[Path, int], object], folder: Path, count: int, sender: Any) -> None:
    """Do the work, and send the peak of this process's memory in kB."""
    work(folder, count)
    sender.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1000 if sys.platform == "darwin" else 1))


def name_of(number: int) -> str:
    """Return the path of a file."""
    return f"class {number % CLASSES}/group {number // CLASSES // TIED:06} picture {number:08}.png"


def make_table(folder: Path, count: int) -> None:
    """Write class folders of different files, and a table of them."""
    lines = ["image,weight"]
    for number in range(count):
        path = folder / "images" / name_of(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG_START + number.to_bytes(4))
        lines.append(f"{name_of(number)},1")
    (folder / "images" / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_pictures(folder: Path, count: int) -> None:
    """Write class folders of different pictures."""
    generator = np.random.default_rng(0)
    for number in range(count):
        path = folder / "images" / name_of(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        Picture.fromarray(generator.integers(256, size=(16, 16, 3), dtype=np.uint8)).save(path)


def make_sets(folder: Path, count: int) -> None:
    """Make sets of one picture under many names."""
    picture = folder / "picture.png"
    Picture.new("RGB", (8, 8)).save(picture)
    for number in range(count):
        # A file can have some 65,000 names.
        link = folder / "images" / name_of(number)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.hardlink_to(picture)
    sets = as_split(folder / "images")
    evaluation = sets / "evaluation" / "class 0"
    evaluation.mkdir(parents=True)
    (evaluation / "picture.png").symlink_to(picture)


def prepare_first(folder: Path, count: int) -> None:
    """Make sets, and prepare them."""
    make_sets(folder, count)
    prepare(folder, count)


def prepare_large(folder: Path, count: int) -> None:
    """Make sets, and prepare them in shards that are larger than those of `prepare_small`."""
    make_sets(folder, count)
    prepare_sets(folder / "sets", folder / "prepared", RECIPE, LARGE_SHARDS, Unwatched(), processes=1)


def split(folder: Path, count: int) -> None:
    """Split the class folders."""
    split_images(Data(directory="images", group_by=r"group (\d+)"), folder, Unwatched())


def check(folder: Path, count: int) -> None:
    """Look into the class folders."""
    check_images(Data(directory="images"), folder, Unwatched())


def ingest(folder: Path, count: int) -> None:
    """Fetch a store."""
    ingest_store(Store(count), folder / "target", LIMITS, Unwatched(), "s3://bucket/folder/")


def to_arrays(folder: Path, count: int) -> None:
    """Write the sets as arrays."""
    write_arrays(folder / "sets", folder / "arrays", Image(height=8, width=8), Unwatched(), processes=1)


def prepare(folder: Path, count: int) -> None:
    """Prepare the sets."""
    prepare_sets(folder / "sets", folder / "prepared", RECIPE, LAYOUT, Unwatched(), processes=1)


def prepare_small(folder: Path, count: int) -> None:
    """Prepare the sets in smaller shards than there are."""
    prepare_sets(folder / "sets", folder / "prepared", RECIPE, SMALL_SHARDS, Unwatched(), processes=1)


if __name__ == "__main__":
    main()
