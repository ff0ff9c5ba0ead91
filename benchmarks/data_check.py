"""How fast 10,000 images are checked, against how fast the same decoder decodes them; memory; what is found alike.

    python benchmarks/data_check.py FOLDER [FILES]

FOLDER holds photos in one sub-folder per class, or is a .tar of such a folder; different parts of them are written as
so many files. Both use as many processes as there are cores, and Pillow; decoding alone opens each file and loads its
pixels. They run by turns; each figure is the best of the rounds. Ours should reach 0.7 of the rate. A second look
decodes nothing. Memory is the growth of the command's own process from a tenth of the files to all of them, and should
be at most 1 KB a file. At last each photo is changed in some ways, and compared with what it was.
"""

import io
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from benchmarks.photos import originals, varied  # noqa: E402
from container.dataset.duplicates import near_images  # noqa: E402
from container.dataset.looks import look_into  # noqa: E402

ROUNDS = 3
BATCH = 64
MOST_PIXELS = 89_478_485
QUALITY = 30
CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "encoded anew": lambda photo: photo,
    "scaled to a half": lambda photo: photo.resize((photo.width // 2, photo.height // 2)),
    "10 % lighter": lambda photo: ImageEnhance.Brightness(photo).enhance(1.1),
    "without 1 % at each border": lambda photo: without_border(photo, 0.01),
    "without 3 % at each border": lambda photo: without_border(photo, 0.03),
    "mirrored": ImageOps.mirror,
}
CHECK = [sys.executable, str(REPOSITORY / "data_handler.py"), "--check"]


def main() -> None:
    """Print the rates, their ratio, and the memory."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    source, files = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    with tempfile.TemporaryDirectory() as scratch:
        images = varied(source, Path(scratch), files)
        plain, ours, again = [], [], []
        for _ in range(ROUNDS):
            plain.append(decode_all(images))
            shutil.rmtree(f"{images}-check", ignore_errors=True)
            ours.append(check(images))
            again.append(check(images))
        print(f"decoding alone {files / min(plain):,.0f} images/s, checking {files / min(ours):,.0f} images/s")
        print(f"ratio {min(plain) / min(ours):.2f} (at least 0.7); a second look takes {min(again):.2f} s")
        few = varied(source, Path(scratch) / "few", files // 10)
        growth = peak_kilobytes(images) - peak_kilobytes(few)
        print(f"memory grows by {growth / (files - files // 10):.2f} KB a file (at most 1)")
        show_near(originals(source, Path(scratch)))


def show_near(photos: list[Path]) -> None:
    """Print how many photos are found nearly the same as themselves after each change, encoded anew."""
    pictures: dict[str, list[bytes]] = {name: [] for name in CHANGES}
    before: list[bytes] = []
    for path in photos:
        with Image.open(path) as opened:
            photo = opened.convert("RGB")
        with path.open("rb") as file:
            before.append(look_into(file, MOST_PIXELS).picture)
        for name, change in CHANGES.items():
            pictures[name].append(picture_of(change(photo)))
    count = len(photos)
    for name, after in pictures.items():
        both = pictures_of(before + after)
        found = {min(pair) for pair in near_images(both, np.arange(len(both))) if abs(pair[0] - pair[1]) == count}
        print(f"{name}: {len(found) / count:.0%} of {count} photos are found nearly the same")
    pairs = {tuple(sorted(pair)) for pair in near_images(pictures_of(before), np.arange(count))}
    print(f"as they are: {len(pairs)} pairs of photos are found nearly the same")


def pictures_of(pictures: list[bytes]) -> NDArray[np.uint8]:
    """Return pictures as an array, shape (images, bytes)."""
    return np.frombuffer(b"".join(pictures), np.uint8).reshape(len(pictures), -1)


def picture_of(photo: Image.Image) -> bytes:
    """Return the small picture by which a check compares an image, after encoding it as JPEG of low quality."""
    content = io.BytesIO()
    photo.save(content, "JPEG", quality=QUALITY)
    content.seek(0)
    return look_into(content, MOST_PIXELS).picture


def without_border(photo: Image.Image, share: float) -> Image.Image:
    """Return what is left of a photo that loses a share of its sides at each border."""
    across, down = round(share * photo.width), round(share * photo.height)
    return photo.crop((across, down, photo.width - across, photo.height - down))


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
