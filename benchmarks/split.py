"""How long splitting many files takes, against copying their tree as links, and against split-folders.

    pip install split-folders==0.6.1
    python benchmarks/split.py

The files have different content; the split looks at the first bytes of each, and compares those that may be the same.
Ours and split-folders are called in this process, `cp -al` is a command; they take turns. The figures are in seconds,
each the least of the rounds. Ours should take at most 3 times `cp -al`, and at most 0.2 of split-folders, which copies.
"""

import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.unwatched import Unwatched
from container.dataset.split import split_images
from container.modeling.settings import Data

FILES, CLASSES, ROUNDS = 50_000, 10, 3
SIZES = range(10_000, 50_000)  # bytes
JPEG_START = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"


def main() -> None:
    """Print the least times and their ratios."""
    try:
        import splitfolders
    except ModuleNotFoundError:
        sys.exit("split-folders is missing: pip install split-folders==0.6.1")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        images = made_up(scratch / "images")
        ways: dict[str, Callable[[], object]] = {
            "cp -al": lambda: subprocess.run(["cp", "-al", str(images), str(scratch / "copy")], check=True),
            "ours": lambda: split_images(Data(directory="images"), scratch, Unwatched()),
            "split-folders": lambda: splitfolders.ratio(str(images), str(scratch / "other"), ratio=(0.8, 0.1, 0.1)),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, way in ways.items():
                # From the memory, whatever the system kept of it since: else the disk is measured.
                for path in images.glob("*/*"):
                    path.read_bytes()
                began = time.monotonic()
                way()
                times[name].append(time.monotonic() - began)
                for made in ("copy", "images-sets", "other"):
                    shutil.rmtree(scratch / made, ignore_errors=True)
        least = {name: min(found) for name, found in times.items()}
    print(", ".join(f"{name} {seconds:.2f} s" for name, seconds in least.items()))
    print(f"ours / cp -al {least['ours'] / least['cp -al']:.2f} (at most 3)")
    print(f"ours / split-folders {least['ours'] / least['split-folders']:.3f} (at most 0.2)")


def made_up(images: Path) -> Path:
    """Write the files; return their folder."""
    generator = random.Random(0)
    for number in range(FILES):
        path = images / f"class {number % CLASSES}" / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(JPEG_START + generator.randbytes(generator.choice(SIZES)))
    return images


if __name__ == "__main__":
    main()
