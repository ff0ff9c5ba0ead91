"""Photos for the benchmarks: a few, repeated to thousands of files."""

import sys
import tarfile
from pathlib import Path


def repeated(source: Path, scratch: Path, files: int) -> Path:
    """Return a folder of so many files, which are links to those of a folder or a .tar."""
    if not source.exists():
        sys.exit(f"{source} does not exist: name a folder of photos with one sub-folder per class, or a .tar of one")
    if source.is_file():
        with tarfile.open(source) as archive:
            archive.extractall(scratch / "photos", filter="data")
        source = scratch / "photos"
        while len(inner := list(source.iterdir())) == 1:
            source = inner[0]
    originals = sorted(path for path in source.glob("*/*") if path.is_file())
    for number in range(files):
        original = originals[number % len(originals)]
        link = scratch / "repeated" / original.parent.name / f"{number}{original.suffix.lower()}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(original.resolve())
    return scratch / "repeated"
