"""Images as people have them in a notebook, arrays or files, as pixels that can be shown."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from container.dataset.text import printable
from container.errors import DataError

# No picture of many images shows more of one, in pixels a side.
LARGEST = 512


class Pixels:
    """Images, one by one as pixels. Files are read when they are asked for."""

    def __init__(self, images: Sequence[Any] | NDArray[Any]) -> None:
        """Look at the images, but not into their files.

        Args:
            images: an array or tensor of shape (images, height, width) or (images, height, width, channels) with 1, 3
                or 4 channels, or a sequence of such single images, paths of files, and Pillow's images. Integers go
                from 0 to 255; floating-point numbers too, or all of them from 0 to 1.

        Raises:
            ValueError: it is none of these; the first image that does not fit is named.
        """
        if isinstance(images, str | bytes) or not hasattr(images, "__len__"):
            raise ValueError("images must be an array of images, or a list with an array or a path for each")
        self._images = images if isinstance(images, list | tuple) else _entries(images)
        highest = [_highest(image, position) for position, image in enumerate(self._images)]
        self._scale = 255.0 if max(highest, default=0.0) <= 1 else 1.0

    def __len__(self) -> int:
        return len(self._images)

    def name(self, position: int) -> str:
        """Return the name of the image's file, or its number where it has none."""
        image = self._images[position]
        return printable(Path(image).name) if _is_path(image) else f"image {position}"

    def __getitem__(self, position: int) -> NDArray[np.uint8]:
        """Return the pixels of an image, shape (height, width) or (height, width, 3 or 4).

        Raises:
            DataError: its file cannot be read.
        """
        image = self._images[position]
        if _is_path(image):
            return _read(Path(image))
        if isinstance(image, Image.Image):
            return np.asarray(_small_rgb(image.copy()))
        pixels = np.asarray(image)
        if pixels.dtype.kind == "f":
            pixels = pixels * self._scale
        pixels = pixels.round().astype(np.uint8)
        return pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels


def _entries(images: Any) -> list[Any]:
    array = np.asarray(images)
    if array.ndim not in (1, 3, 4):
        raise ValueError(
            f"images has the shape {array.shape}, and must have (images, height, width) or (images, height, width, "
            "channels)"
        )
    return list(array)


def _highest(image: Any, position: int) -> float:
    """Return the highest value of an image of floating-point numbers, else 0."""
    if _is_path(image) or isinstance(image, Image.Image):
        return 0.0
    pixels = np.asarray(image)
    channels = pixels.shape[2:] or (1,)
    if pixels.ndim not in (2, 3) or channels[0] not in (1, 3, 4) or not pixels.size:
        raise ValueError(
            f"image {position} has the shape {pixels.shape}, and must have (height, width), or (height, width, "
            "channels) with 1, 3 or 4 channels"
        )
    if pixels.dtype.kind not in "fiu":
        raise ValueError(f"image {position} holds {pixels.dtype}: give numbers from 0 to 255 or from 0 to 1, or a path")
    if pixels.dtype == np.uint8:
        return 0.0
    lowest, highest = float(pixels.min()), float(pixels.max())
    if math.isnan(highest) or lowest < 0 or highest > 255:
        raise ValueError(
            f"image {position} has values from {lowest:g} to {highest:g}: give pixels from 0 to 255 or from 0 to 1, as "
            "they are before a model's own preprocessing"
        )
    return highest if pixels.dtype.kind == "f" else 0.0


def _is_path(image: Any) -> bool:
    return isinstance(image, str | os.PathLike)


def _read(file: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(file) as image:
            return np.asarray(_small_rgb(image))
    # Pillow's readers raise whatever a damaged file leads them to.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{file} cannot be shown: {reason}; give the path of an image file") from error


def _small_rgb(image: Image.Image) -> Image.Image:
    image.thumbnail((LARGEST, LARGEST))
    return ImageOps.exif_transpose(image).convert("RGB")
