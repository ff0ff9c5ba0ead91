"""From the body of a request to its images: files of images, pixels of the model's size, or URLs.

Nothing is unpickled. JSON takes up to some thirty times its own bytes of memory while it is read: a list of one number
is four characters, but an object of Python's. Nothing else is made that is much larger than the body.
"""

import base64
import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from container.modeling.container_settings import Image
from container.serving.errors import RefusedError, bad_request, too_large
from container.serving.media_types import Input

# How an instance names an image's file in base64: TensorFlow Serving's way, and by the name of its input.
BASE64_KEYS = ("b64", "image", "image_bytes")
KEYS = (*BASE64_KEYS, "url", "pixels")
# What TensorFlow Serving's clients send beside the instances.
IGNORED_KEYS = ("signature_name",)
# How long the header of a NumPy file may be, in characters.
MAX_NPY_HEADER = 1_000
# Axes of the pixels of one image, and of several.
AXES = (3, 4)

T = TypeVar("T")


@dataclass(frozen=True)
class Encoded:
    """The content of an image's file."""

    content: bytes


@dataclass(frozen=True)
class Link:
    """Where an image's file is to be fetched from."""

    url: str


Source = Encoded | Link | NDArray[Any]
"""An image; an array holds pixels of the model's own shape, uint8, or float32 where they are no whole numbers."""


def images_of(body: bytes, kind: Input, image: Image, max_images: int) -> Sequence[Source]:
    """Return the images in a body, at least one.

    Raises:
        RefusedError: the body is not as docs/serving.md has it, has more images than may be, or needs more memory than
            there is.
    """
    if not body:
        raise bad_request("the body is empty: send an image")
    readers: dict[Input, Callable[[], Iterable[Source]]] = {
        Input.IMAGE: lambda: [Encoded(body)],
        Input.NPY: lambda: checked_pixels(_npy_array(body, image), image),
        Input.JSON: lambda: _of_document(_json(body, "the body"), image),
        Input.JSON_LINES: lambda: _of_lines(body, image),
        Input.CSV: lambda: _of_table(body, image),
    }
    try:
        return at_most(max_images, readers[kind]())
    except MemoryError:
        raise too_large("the body needs more memory than there is: send fewer images at a time") from None


def at_most(count: int, images: Iterable[T]) -> list[T]:
    """Return the images of one request; no more of them are made than may be.

    Raises:
        RefusedError: there are more.
    """
    found = list(islice(images, count + 1))
    if len(found) > count:
        raise too_large(f"the request has more than {count:,} images (serving.max_images): send fewer at a time")
    return found


def checked_pixels(pixels: NDArray[Any], image: Image) -> NDArray[Any]:
    """Return pixels with an axis for the images: uint8, or float32 where they are no whole numbers.

    Args:
        pixels: of one image, shape (height, width, channels), or of several, (images, height, width, channels).
        image: what the model takes.

    Raises:
        RefusedError: they are no numbers from 0 to 255, or of another shape.
    """
    shape = (image.height, image.width, image.channels)
    if pixels.dtype.kind not in "uif":
        raise bad_request("pixels must be numbers from 0 to 255")
    if pixels.ndim not in AXES or pixels.shape[-3:] != shape or 0 in pixels.shape:
        raise _wrong_shape(pixels.shape, image)
    # Not a number is neither.
    if not (pixels.min() >= 0 and pixels.max() <= 255):
        raise bad_request(f"pixels go from {pixels.min():g} to {pixels.max():g}; they must be finite, 0 to 255")
    pixels = pixels.reshape((-1, *shape))
    is_whole = pixels.dtype.kind in "ui" or bool((pixels == np.rint(pixels)).all())
    return pixels.astype(np.uint8 if is_whole else np.float32)


def _wrong_shape(found: tuple[int, ...], image: Image) -> RefusedError:
    shape = (image.height, image.width, image.channels)
    return bad_request(
        f"the pixels are of shape {found}; the model takes {shape} (height, width, channels), or (images, "
        f"{', '.join(map(str, shape))}): resize them, or send the images' files, which are resized"
    )


def _json(text: bytes, what: str) -> Any:
    try:
        return from_json(text, allow_inf_nan=False, cache_strings="none")
    except ValueError as error:
        raise bad_request(f"{what} is no JSON: {error}") from None


def _of_document(document: Any, image: Image) -> Iterable[Source]:
    if not isinstance(document, dict):
        raise bad_request('the JSON must be an object: {"instances": [...]}')
    if "instances" not in document:
        return [_instance(document, image)]
    if unknown := sorted(document.keys() - {"instances", *IGNORED_KEYS}):
        raise bad_request(f'the JSON has {unknown[0]!r} beside "instances": leave it out')
    instances = document["instances"]
    if not isinstance(instances, list) or not instances:
        raise bad_request('"instances" must be a list of images, at least one')
    if not any(isinstance(instance, dict) for instance in instances):
        return checked_pixels(_array(instances), image)
    return (_instance(instance, image) for instance in instances)


def _instance(instance: Any, image: Image) -> Source:
    if not isinstance(instance, dict):
        return _one_image(instance, image)
    if len(instance) != 1 or (key := next(iter(instance))) not in KEYS:
        found = ", ".join(map(repr, sorted(instance)[:5])) or "nothing"
        raise bad_request(f"an image in JSON has one of {', '.join(KEYS)}; this one has {found}")
    value = instance[key]
    if key == "pixels":
        return _one_image(value, image)
    if key != "url" and isinstance(value, dict) and value.keys() == {"b64"}:
        value = value["b64"]
    if not isinstance(value, str) or not value:
        raise bad_request(f"{key!r} must be a text")
    return Link(value) if key == "url" else Encoded(_decoded(value, key))


def _one_image(value: Any, image: Image) -> NDArray[Any]:
    pixels = _array(value)
    if pixels.ndim == 4:
        raise bad_request(f"an image's pixels are of shape {pixels.shape}: send each image as an instance of its own")
    return checked_pixels(pixels, image)[0]


def _array(value: Any) -> NDArray[Any]:
    """Return nested lists of numbers as an array. numpy.array would make all texts as long as the longest one."""
    shape: list[int] = []
    inner, level = value, [value]
    while isinstance(inner, list):
        if len(shape) == max(AXES):
            raise bad_request("the lists of pixels are too deep: images, height, width, channels")
        size = len(inner)
        if not all(isinstance(part, list) and len(part) == size for part in level):
            raise bad_request("pixels must be lists of equal lengths: height, width, channels")
        shape.append(size)
        level = list(chain.from_iterable(level))
        inner = inner[0] if inner else None
    types = set(map(type, level))
    if list in types:
        raise bad_request("pixels must be lists of equal lengths: height, width, channels")
    if not types <= {int, float}:
        raise bad_request("pixels must be numbers from 0 to 255")
    try:
        return np.array(level, np.float64 if float in types else np.int64).reshape(shape)
    except OverflowError:
        raise bad_request("pixels must be numbers from 0 to 255") from None


def _decoded(text: str, key: str) -> bytes:
    try:
        # Programs that write base64 break its lines.
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        raise bad_request(f"{key!r} must be an image's file in base64") from None


def _of_lines(body: bytes, image: Image) -> Iterator[Source]:
    lines = [line for line in body.split(b"\n") if line.strip()]
    if not lines:
        raise bad_request("the body has no line")
    for number, line in enumerate(lines, start=1):
        yield _instance(_json(line, f"line {number}"), image)


def _of_table(body: bytes, image: Image) -> Iterator[Source]:
    shape = (image.height, image.width, image.channels)
    count, size = 0, image.height * image.width * image.channels
    try:
        for number, row in enumerate(csv.reader(io.StringIO(body.decode())), start=1):
            if not row:
                continue
            if len(row) != size:
                raise bad_request(
                    f"row {number} has {len(row):,} values; an image has {size:,}: {shape[0]} rows of {shape[1]} "
                    f"pixels of {shape[2]} channels"
                )
            yield checked_pixels(np.array(row, np.float64).reshape(shape), image)[0]
            count += 1
    except (ValueError, OverflowError, csv.Error) as error:
        raise bad_request(f"the body is no CSV of numbers: {error}") from None
    if not count:
        raise bad_request("the body has no row")


def _npy_array(body: bytes, image: Image) -> NDArray[Any]:
    """Return the array of a NumPy file. numpy.load would first make room for whatever the header claims."""
    file = io.BytesIO(body)
    try:
        shape, is_fortran, dtype = _npy_header(file)
    # NumPy parses the header as Python, and tells what its parser raises.
    except Exception as error:
        raise bad_request(f"the body is no NumPy file: {error}") from None
    if dtype.kind not in "uif":
        raise bad_request(f"the NumPy file holds {dtype}; pixels must be numbers from 0 to 255")
    # NumPy makes no array of more than 64 axes.
    if len(shape) not in AXES:
        raise _wrong_shape(shape, image)
    content = memoryview(body)[file.tell() :]
    if min(shape, default=0) <= 0 or math.prod(shape) * dtype.itemsize != len(content):
        raise bad_request(f"the NumPy file says that it holds {shape} of {dtype}, but has {len(content):,} bytes of it")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if is_fortran else "C")


def _npy_header(file: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file, max_header_size=MAX_NPY_HEADER)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file, max_header_size=MAX_NPY_HEADER)
    raise ValueError(f"it is of version {version[0]}.{version[1]}, which plain numbers do not need")
