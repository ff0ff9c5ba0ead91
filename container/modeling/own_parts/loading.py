"""The images that a loader of the user's own gives: checked one by one, brought to the model's size, kept in memory."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from container.errors import DataError
from container.modeling.container_settings import Image
from container.modeling.decoding import to_input_size
from container.modeling.input_pipeline.labeled_images import LabeledImages
from container.modeling.input_pipeline.pixel_cache import usable_memory
from container.modeling.own_parts.checked import OwnLoader

# Share of the machine's memory that the images of one channel may fill; a generator may have no end.
MEMORY_SHARE = 1 / 4
ELEMENT = "(pixels, class name) or (pixels, class name, image name)"


def load_images(
    loader: OwnLoader,
    folder: Path,
    image: Image,
    classes: tuple[str, ...] | None = None,
    memory_bytes: int | None = None,
) -> LabeledImages:
    """Return the images of a channel as a user's loader gives them, in its order, decoded.

    Args:
        loader: the user's function.
        folder: the channel's folder; its name is the channel's.
        image: what every image becomes, by the same rules as an image file.
        classes: those of the training images; None: these are the training images, and their classes are sorted.
        memory_bytes: how much memory the pixels may fill; None: a share of this machine's.

    Raises:
        PartError: the loader failed, or an element is not as the contract has it; its position is named.
        DataError: there are no images, or more than the memory holds, or a class is not among those given.
    """
    if memory_bytes is None:
        memory_bytes = int(MEMORY_SHARE * usable_memory())
    resize = _resizer(image)
    # One growing buffer: a list of arrays would need the memory twice when they are put together.
    buffer, labels, names = bytearray(), [], []
    for position, (pixels, label, name) in enumerate(_elements(loader, folder, image, classes)):
        buffer += resize(_colored(pixels)).numpy().tobytes()
        if len(buffer) > memory_bytes:
            raise DataError(
                f"{loader.choice} gives more than {position:,} images for the channel {folder.name!r}, which fill "
                f"{memory_bytes:,} bytes: let it end, lower image.height and image.width, or choose an instance type "
                "with more memory"
            )
        labels.append(label)
        names.append(name or f"{folder.name}/{position:06d}")
    known = classes if classes is not None else tuple(sorted(set(labels)))
    positions = {name: position for position, name in enumerate(known)}
    return LabeledImages(
        classes=known,
        labels=np.array([positions[label] for label in labels], np.int32),
        names=tuple(names),
        pixels=np.frombuffer(buffer, np.uint8).reshape((-1, image.height, image.width, image.channels)),
    )


def _elements(
    loader: OwnLoader, folder: Path, image: Image, classes: tuple[str, ...] | None
) -> Iterator[tuple[NDArray[Any], str, str]]:
    """Yield pixels, class name and image name (empty: none is given) of each image, checked."""
    channel, count, brightest = f"the channel {folder.name!r}", 0, 0.0
    for element in loader(folder, image):
        try:
            pixels, label, name = _parts_of(element)
        except ValueError as error:
            raise loader.refused(f"gives as element {count} of {channel} {error}") from None
        if classes is not None and label not in classes:
            raise DataError(
                f"{loader.choice}: element {count} of {channel} is of the class {label!r}, of which there is no "
                "training image"
            )
        count += 1
        brightest = max(brightest, 255 if pixels.dtype == np.uint8 else pixels.max())
        yield pixels, label, name
    if not count:
        raise DataError(f"{loader.choice} gives no image for {channel}: look at what lies in {folder}")
    if brightest <= 1:
        raise loader.refused(f"gives for {channel} no pixel above {brightest:g}; 255 is white: multiply by 255")


def _parts_of(element: Any) -> tuple[NDArray[Any], str, str]:
    """Return pixels, class name and image name of a loader's element.

    Raises:
        ValueError: what is wrong with it, and the rule.
    """
    if not isinstance(element, tuple | list) or len(element) not in (2, 3):
        raise ValueError(f"no {ELEMENT}, but {_described(element)}")
    name = _text(element[2], "image name") if len(element) == 3 else ""
    return _checked_pixels(element[0]), _text(element[1], "class name"), name


def _checked_pixels(value: Any) -> NDArray[Any]:
    try:
        pixels = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"pixels that make no array: {error}") from None
    if pixels.dtype != np.uint8 and not np.issubdtype(pixels.dtype, np.floating):
        raise ValueError(f"pixels of the type {pixels.dtype}; they must be uint8 or float, 0 to 255")
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or 0 in pixels.shape:
        hint = ": give one image at a time, by Dataset.unbatch()" if pixels.ndim == 4 else ""
        raise ValueError(f"pixels of shape {pixels.shape}; it must be (height, width, 1 or 3){hint}")
    # Not a number is neither.
    if not (pixels.min() >= 0 and pixels.max() <= 255):
        raise ValueError(f"pixels from {pixels.min():g} to {pixels.max():g}; they must be finite, 0 to 255")
    return pixels


def _text(value: Any, what: str) -> str:
    value = value.numpy() if isinstance(value, tf.Tensor) else value
    value = value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
    if not isinstance(value, str | bytes):
        raise ValueError(f"{_described(value)} as its {what}, which must be a text")
    try:
        text = value.decode() if isinstance(value, bytes) else value.encode().decode()
    except UnicodeError:
        raise ValueError(f"{value!r} as its {what}, which must be UTF-8") from None
    if not text:
        raise ValueError(f"an empty {what}")
    return str(text)


@functools.cache
def _resizer(image: Image) -> Any:
    return tf.function(
        lambda pixels: to_input_size(pixels, image), input_signature=[tf.TensorSpec((None, None, 3), tf.float32)]
    )


def _colored(pixels: NDArray[Any]) -> NDArray[np.float32]:
    colored = pixels.astype(np.float32)
    return np.repeat(colored, 3, axis=2) if colored.shape[2] == 1 else colored


def _described(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return type(value).__name__ + (f" of shape {tuple(shape)}" if shape is not None else "")
