"""Brings an image to the size that training needs. Runs in processes of its own, so it imports little."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from container.dataset.pixels import UPRIGHT, eight_bits, is_turned, orientation_of
from container.dataset.recipe import Recipe
from container.errors import DataError

# What exchanges width and height of those that turn a photo upright.
LYING = tuple(turn for orientation, turn in UPRIGHT.items() if orientation >= 5)
# A photo is decoded at a smaller size where that leaves so many times the wanted one, for the filter to work on.
DECODED_SIZE = 2


class Shrunk(NamedTuple):
    """A prepared image. A tuple, because there are many."""

    content: bytes
    """Its encoded bytes: those of the original where it is small enough, or cannot be decoded."""
    problem: str
    """Why it cannot be decoded; empty: it can."""


def shrink_files(files: Sequence[str], recipe: Recipe) -> list[Shrunk]:
    """Return the prepared images of files.

    Raises:
        DataError: a file cannot be read.
    """
    return [shrink(_content(file), recipe) for file in files]


def shrink(encoded: bytes, recipe: Recipe) -> Shrunk:
    """Return an image as a recipe wants it: upright, without transparency, metadata and further frames.

    What cannot be decoded stays as it is: training tells of it, and how much of that it takes is a setting.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            turn = upright(image)
            size = _wanted_size(image.size, recipe, turn in LYING)
            if size is None:
                # Whether it can be decoded nobody would know else.
                image.load()
                return Shrunk(encoded, "")
            is_grey = recipe.channels == 1
            image.draft("L" if is_grey else "RGB", (DECODED_SIZE * size[0], DECODED_SIZE * size[1]))
            small = plain(image, is_grey).resize(size, Image.Resampling.BICUBIC)
        if turn is not None:
            small = small.transpose(turn)
        return Shrunk(_encoded(small, recipe), "")
    # Pillow's readers raise whatever a damaged file leads them to.
    except Exception as error:
        return Shrunk(encoded, " ".join(str(error).split()) or type(error).__name__)


def upright(image: Image.Image) -> Image.Transpose | None:
    """Return what turns a photo upright; None: it is. In training, too, files of other kinds are taken as they lie."""
    return UPRIGHT.get(orientation_of(image)) if is_turned(image) else None


def plain(image: Image.Image, is_grey: bool) -> Image.Image:
    """Return an image in grey or RGB of 8 bits, as TensorFlow decodes it."""
    image = eight_bits(image)
    return image.convert("L" if is_grey or image.mode in ("1", "L", "LA") else "RGB")


def _content(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise DataError(f"{file!r} cannot be read: {error.strerror or error}; split again if it is gone") from None


def _wanted_size(size: tuple[int, int], recipe: Recipe, is_lying: bool) -> tuple[int, int] | None:
    """Return width and height that an image is to have as it lies; None: those that it has."""
    least = (recipe.height, recipe.width) if is_lying else (recipe.width, recipe.height)
    scale = max(wanted / given for wanted, given in zip(least, size, strict=True))
    if scale >= 1:
        return None
    return max(round(scale * size[0]), least[0]), max(round(scale * size[1]), least[1])


def _encoded(image: Image.Image, recipe: Recipe) -> bytes:
    # Pillow would write comments, profiles and the like along.
    image.info = {}
    content = io.BytesIO()
    if recipe.format == "jpeg":
        image.save(content, "JPEG", quality=recipe.quality)
    else:
        image.save(content, "PNG")
    return content.getvalue()
