"""A real data set to try everything with: scikit-learn's handwritten digits.

They are the 1,797 test images of "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak; UCI Machine
Learning Repository, https://doi.org/10.24432/C50P49), 8x8 pixels each. They come with the package: nothing is
downloaded.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from container.dataset.folders import exclusive, replacement
from container.dataset.progress import Progress
from container.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The digits' pixels are 0 to 16.
BRIGHTEST = 16


def write_digits(directory: Path, progress: Progress) -> bool:
    """Write the digits as greyscale PNG files in ten class folders; return False if they are there already.

    Raises:
        DataError: the folder holds anything else, or cannot be written.
    """
    progress.start("Loading the digits")
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = {f"{label}/{number:04}.png": digits.images[number] for number, label in enumerate(digits.target)}
    directory = Path(os.path.realpath(directory))
    with exclusive(directory, lambda: progress.start("Waiting for another run to end")):
        if _holds(directory, set(images)):
            return False
        with replacement(directory) as new:
            progress.start("Writing the digits", len(images))
            for name, pixels in images.items():
                _write(new / name, pixels)
                progress.advance()
    return True


def _holds(directory: Path, names: set[str]) -> bool:
    """Return whether the folder holds the files of these names, False if it is empty; refuse anything else."""
    if not directory.exists():
        return False
    if not directory.is_dir():
        raise DataError(f"{directory} is a file, and the sample needs a folder: set data.directory")
    found = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if not path.is_dir()}
    if {name for name in found if not name.rpartition("/")[2].startswith(".")} == names:
        return True
    if not any(directory.iterdir()):
        return False
    for name in sorted(found - names):
        raise DataError(f"{directory} holds {name!r}, which is not of the sample: empty it, or set data.directory")
    missing = len(names - found)
    raise DataError(f"{directory} lacks {missing} of the sample's {len(names)} images: remove it, and run this again")


def _write(path: Path, pixels: "NDArray[np.float64]") -> None:
    import numpy as np
    from PIL import Image

    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.rint(pixels * (255 / BRIGHTEST)).astype(np.uint8)).save(path)
