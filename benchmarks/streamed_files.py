"""What it costs that files are fetched when they are opened, as with SageMaker's input mode FastFile.

    python benchmarks/streamed_files.py IMAGES [--files N] [--milliseconds 10 30 60]

IMAGES is a folder of photos with one sub-folder per class, or a .tar of one; it is repeated to N files. A read-only
file system stands in for FastFile's: its names are known, and to open a file takes the given time, however many are
opened side by side. It needs /dev/fuse, libfuse 2 (`apt install fuse libfuse2`) and `pip install fusepy`.

For each time, the first epoch's images a second are measured against those of the same files on the disk, by turns;
each figure is the median over the rounds. Then an epoch is read twice with the cache: the second must open no file.
"""

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.photos import repeated

try:
    import fuse
except (ImportError, OSError) as error:
    sys.exit(f"{error}: this benchmark needs `pip install fusepy` and libfuse 2 (`apt install fuse libfuse2`)")

ATTRIBUTES = ("st_mode", "st_nlink", "st_size", "st_mtime")
MOUNT_SECONDS = 20


@dataclass(frozen=True)
class Shared:
    """What this process and the one of the file system both see."""

    seconds: Any  # that it takes to open a file
    opened: Any  # files so far
    most: Any  # files that were being opened at the same time


class DelayedFiles(fuse.Operations):
    """A folder's files, each of which takes a while to open."""

    def __init__(self, folder: Path, shared: Shared) -> None:
        self._folder, self._shared, self._opening = str(folder), shared, 0

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        try:
            found = Path(self._folder + path).stat()
        except OSError as error:
            raise fuse.FuseOSError(error.errno) from None
        return {name: getattr(found, name) for name in ATTRIBUTES}

    def readdir(self, path: str, fh: int) -> list[Any]:
        names = [found.name for found in Path(self._folder + path).iterdir()]
        return [".", "..", *((name, self.getattr(f"{path.rstrip('/')}/{name}"), 0) for name in names)]

    def open(self, path: str, flags: int) -> int:
        with self._shared.most.get_lock():
            self._opening += 1
            self._shared.opened.value += 1
            self._shared.most.value = max(self._shared.most.value, self._opening)
        time.sleep(self._shared.seconds.value)
        with self._shared.most.get_lock():
            self._opening -= 1
        return os.open(self._folder + path, os.O_RDONLY)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def release(self, path: str, fh: int) -> None:
        os.close(fh)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--milliseconds", type=int, nargs="+", default=[10, 30, 60])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = repeated(arguments.images, Path(scratch), arguments.files)
        with mounted(folder, Path(scratch) / "streamed") as (mount, shared):
            measure(folder, mount, shared, arguments.rounds, arguments.milliseconds)


def measure(folder: Path, mount: Path, shared: Shared, rounds: int, milliseconds: list[int]) -> None:
    """Print the figures."""
    # Not above: the process of the file system imports this module too, and TensorFlow takes long.
    from benchmarks.input_pipeline import SETTINGS, in_memory, rate, shuffled
    from container.dataset.index import index_images
    from container.modeling.input_pipeline.batches import Batches
    from container.modeling.input_pipeline.labeled_images import LabeledImages

    local = LabeledImages.of_folder(index_images(folder))
    streamed = replace(LabeledImages.of_folder(index_images(mount, looks_inside=False)), is_streamed=True)
    print(f"{len(streamed):,} files are listed; {shared.opened.value} of them were opened for it")
    on_disk, fetched = (Batches(images, SETTINGS, "training", fast=True) for images in (local, streamed))
    _ = [rate(batches.iterate(shuffled(len(local)))) for batches in (on_disk, fetched)]
    for delay in milliseconds:
        shared.seconds.value, shared.opened.value, shared.most.value = delay / 1000, 0, 0
        rates = [[rate(side.iterate(shuffled(len(local)))) for side in (fetched, on_disk)] for _ in range(rounds)]
        ours, disk = (statistics.median(column) for column in zip(*rates, strict=True))
        ratio = statistics.median(row[0] / row[1] for row in rates)
        opens = shared.opened.value / len(local) / rounds
        print(f"{delay} ms to open a file: {ours:,.0f} images/s; on the disk: {disk:,.0f} images/s; ratio {ratio:.2f}")
        print(f"    {opens:.2f} opens an image, up to {shared.most.value} at once", flush=True)
    cached = Batches(streamed, SETTINGS, "training", space=in_memory(), fast=True)
    for epoch in (1, 2):
        shared.opened.value = 0
        reached = rate(cached.iterate(shuffled(len(streamed), epoch)))
        print(f"with the cache, epoch {epoch}: {reached:,.0f} images/s, {shared.opened.value:,} opens")


@contextmanager
def mounted(folder: Path, mount: Path) -> Iterator[tuple[Path, Shared]]:
    """Mount a folder's files, which take no time to open yet."""
    if not Path("/dev/fuse").exists():
        sys.exit("/dev/fuse is missing: load the kernel's module fuse, or give the container this device")
    mount.mkdir()
    context = multiprocessing.get_context("spawn")
    shared = Shared(context.Value("d", 0.0), context.Value("q", 0), context.Value("q", 0))
    operations, options = DelayedFiles(folder, shared), {"foreground": True, "ro": True}
    process = context.Process(target=fuse.FUSE, args=(operations, str(mount)), kwargs=options, daemon=True)
    process.start()
    try:
        deadline = time.monotonic() + MOUNT_SECONDS
        while not mount.is_mount():
            if not process.is_alive() or time.monotonic() > deadline:
                sys.exit(f"{folder} could not be mounted at {mount}: fuse tells above why")
            time.sleep(0.05)
        yield mount, shared
    finally:
        if mount.is_mount():
            subprocess.run(["fusermount", "-u", str(mount)], check=True)
        process.join(MOUNT_SECONDS)


if __name__ == "__main__":
    main()
