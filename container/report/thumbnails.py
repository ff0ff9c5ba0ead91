"""The mistakes that a model is most sure of, as small pictures that a page carries in itself."""

import base64
import io
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from container.dataset.set_images import file_reader, image_reader
from container.dataset.text import printable
from container.errors import DataError
from container.report.results import JUDGED_SETS, Results

if TYPE_CHECKING:
    from PIL.Image import Image

logger = logging.getLogger(__name__)

# The longer side, in pixels: many pictures are smaller, so that the page can still be mailed.
SIDE = 160
SMALL_SIDE = 96
MANY_PICTURES = 96
QUALITY = 75
# An image whose longer side is below this is kept as it is, and enlarged in the page by whole pixels.
TINY_SIDE = 64
# Mistakes that are listed where no pictures may be shown.
LISTED = 48


@dataclass(frozen=True)
class Mistake:
    """An image that was given another class than its own."""

    path: str
    """Inside its set."""
    true: str
    predicted: str
    probability: float
    """Of the predicted class."""
    picture: str
    """A data: URL; empty where there is none."""
    is_tiny: bool = False
    """Whether the picture is so small that its pixels are to be seen."""


@dataclass(frozen=True)
class Mistakes:
    """The mistakes on one set, those first that the model is most sure of."""

    set: str
    count: int
    """All of them."""
    shown: tuple[Mistake, ...]


def most_confident_mistakes(results: Results, image_folders: Mapping[str, Path]) -> tuple[Mistakes, ...]:
    """Return some mistakes of each set.

    At most `report.pictures` are returned with a picture: half of them of each set, or more where the other has less.

    Args:
        results: of the job.
        image_folders: the folder of each set whose pictures may be shown.
    """
    orders = {name: _order(results, name) for name in JUDGED_SETS}
    with_pictures = results.report.images and bool(image_folders)
    limit = results.report.pictures if with_pictures else LISTED
    numbers = _divided(limit, [len(orders[name]) for name in JUDGED_SETS])
    side = SMALL_SIDE if sum(numbers) > MANY_PICTURES else SIDE
    readers = {name: _reader(folder) for name, folder in image_folders.items()} if with_pictures else {}
    return tuple(
        Mistakes(
            name,
            len(orders[name]),
            tuple(_mistake(results, name, position, readers.get(name), side) for position in orders[name][:number]),
        )
        for name, number in zip(JUDGED_SETS, numbers, strict=True)
    )


def small_picture(folder: Path, path: str, side: int) -> tuple[str, bool]:
    """Return a small picture as a data: URL, and whether it is tiny; an empty text where the file cannot be read.

    Args:
        folder: where the path begins, and which it must not leave.
        path: of the image.
        side: the longer one, in pixels.
    """
    return _picture(file_reader(folder), path, side)


def _order(results: Results, name: str) -> list[int]:
    """Return the positions of a set's mistakes."""
    predictions = results.sets[name]
    wrong = np.flatnonzero(predictions.probabilities.argmax(axis=1) != predictions.labels)
    confidence = predictions.probabilities[wrong].max(axis=1)
    return [int(position) for position in wrong[np.argsort(-confidence, kind="stable")]]


def _divided(limit: int, counts: list[int]) -> list[int]:
    first, second = counts
    numbers = min(first, max((limit + 1) // 2, limit - second))
    return [numbers, min(second, limit - numbers)]


def _reader(folder: Path) -> Callable[[str], bytes] | None:
    try:
        return image_reader(folder)
    except (OSError, DataError) as error:
        logger.warning("the report shows no pictures of %s: %s", folder, error)
        return None


def _mistake(results: Results, name: str, position: int, read: Callable[[str], bytes] | None, side: int) -> Mistake:
    predictions = results.sets[name]
    probabilities = predictions.probabilities[position]
    picture, is_tiny = _picture(read, predictions.paths[position], side) if read else ("", False)
    return Mistake(
        path=printable(predictions.paths[position]),
        true=printable(results.classes[predictions.labels[position]]),
        predicted=printable(results.classes[probabilities.argmax()]),
        probability=float(probabilities.max()),
        picture=picture,
        is_tiny=is_tiny,
    )


def _picture(read: Callable[[str], bytes], path: str, side: int) -> tuple[str, bool]:
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(read(path))) as image:
            # A JPEG is decoded at about the size that is wanted.
            image.draft("RGB", (side, side))
            small = _plain(ImageOps.exif_transpose(image))
        is_tiny = max(small.size) < TINY_SIDE
        small.thumbnail((side, side))
        encoded = io.BytesIO()
        small.save(encoded, "WEBP", quality=QUALITY, lossless=is_tiny)
    # Pillow's readers raise whatever a damaged file leads them to.
    except Exception:
        return "", False
    return f"data:image/webp;base64,{base64.b64encode(encoded.getvalue()).decode()}", is_tiny


def _plain(image: "Image") -> "Image":
    """Return the image in 8 bits per channel, on white where it is transparent."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        # Of more bits: its least value is black, its greatest white.
        values = np.asarray(image, np.float64)
        scaled = (values - values.min()) / max(np.ptp(values), 1e-9) * 255
        return Image.fromarray(scaled.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
