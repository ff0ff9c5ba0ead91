"""How fast 10,000 images are checked, against how fast the same decoder decodes them, and what memory that takes.

    python benchmarks/data_check.py FOLDER [FILES]

FOLDER holds photos in one sub-folder per class, or is a .tar of such a folder; they are repeated as links to as many
files. Both use as many processes as there are cores, and Pillow; decoding alone opens each file and loads its pixels.
They run by turns; each figure is the best of the rounds. Ours should reach 0.7 of the rate. A second look decodes
nothing. Memory is the growth of the command's own process from a tenth of the files to all of them, and should be at
most 1 KB a file.
"""

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from photos import repeated
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
ROUNDS = 3
BATCH = 64
CHECK = [sys.executable, str(REPOSITORY / "data_handler.py"), "--check"]


def main() -> None:
    """Print the rates, their ratio, and the memory."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    source, files = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    with tempfile.TemporaryDirectory() as scratch:
        images = repeated(source, Path(scratch), files)
        plain, ours, again = [], [], []
        for _ in range(ROUNDS):
            plain.append(decode_all(images))
            shutil.rmtree(f"{images}-check", ignore_errors=True)
            ours.append(check(images))
            again.append(check(images))
        print(f"decoding alone {files / min(plain):,.0f} images/s, checking {files / min(ours):,.0f} images/s")
        print(f"ratio {min(plain) / min(ours):.2f} (at least 0.7); a second look takes {min(again):.2f} s")
        few = repeated(source, Path(scratch) / "few", files // 10)
        growth = peak_kilobytes(images) - peak_kilobytes(few)
        print(f"memory grows by {growth / (files - files // 10):.2f} KB a file (at most 1)")


def decode_all(images: Path) -> float:
    """Decode all files; return the seconds."""
    files = [str(path) for path in sorted(images.glob("*/*"))]
    batches = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
    began = time.monotonic()
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), multiprocessing.get_context("spawn")) as pool:
        list(pool.map(decode, batches))
    return time.monotonic() - began


def decode(files: list[str]) -> None:
    """Decode files, and keep nothing."""
    for file in files:
        with Image.open(file) as image:
            image.load()


def check(images: Path) -> float:
    """Check all files; return the seconds."""
    began = time.monotonic()
    subprocess.run([*CHECK, "--set", f"data.directory={images}"], check=True, capture_output=True)
    return time.monotonic() - began


def peak_kilobytes(images: Path) -> float:
    """Check all files anew; return the most memory that the command's own process had."""
    shutil.rmtree(f"{images}-check", ignore_errors=True)
    process = subprocess.Popen(
        [*CHECK, "--set", f"data.directory={images}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit("the check failed")
    return usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)


if __name__ == "__main__":
    main()
