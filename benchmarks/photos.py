"""Photos for the benchmarks: a few, repeated to thousands of files, or varied to as many different ones."""

import random
import sys
import tarfile
from itertools import cycle, islice
from pathlib import Path

from PIL import Image, ImageEnhance

# What stays at least of each side of a photo: with so little, a check takes it for another one.
LEAST_KEPT = 0.6


def repeated(source: Path, scratch: Path, files: int) -> Path:
    """Return a folder of so many files, which are links to those of a folder or a .tar."""
    for number, original in enumerate(islice(cycle(originals(source, scratch)), files)):
        link = scratch / "repeated" / original.parent.name / f"{number}{original.suffix.lower()}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(original)
    return scratch / "repeated"


def varied(source: Path, scratch: Path, files: int) -> Path:
    """Return a folder of so many different files: parts of photos in their size, mirrored or not, lighter or darker."""
    generator = random.Random(0)
    for number, original in enumerate(islice(cycle(originals(source, scratch)), files)):
        with Image.open(original) as opened:
            photo = opened.convert("RGB")
        size = [round(side * generator.uniform(LEAST_KEPT, 1)) for side in photo.size]
        left, top = (generator.randint(0, whole - part) for whole, part in zip(photo.size, size, strict=True))
        part = photo.crop((left, top, left + size[0], top + size[1])).resize(photo.size)
        if generator.random() < 0.5:
            part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        target = scratch / "varied" / original.parent.name / f"{number}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        ImageEnhance.Brightness(part).enhance(generator.uniform(0.7, 1.3)).save(target, quality=90)
    return scratch / "varied"


def originals(source: Path, scratch: Path) -> list[Path]:
    """Return the paths of the photos, after unpacking them if they are in a .tar."""
    if not source.exists():
        sys.exit(f"{source} does not exist: name a folder of photos with one sub-folder per class, or a .tar of one")
    if source.is_file():
        with tarfile.open(source) as archive:
            archive.extractall(scratch / "photos", filter="data")
        source = scratch / "photos"
        while len(inner := list(source.iterdir())) == 1:
            source = inner[0]
    return sorted(path.resolve() for path in source.glob("*/*") if path.is_file())
