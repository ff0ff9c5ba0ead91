"""What decoding an image once tells of it. Runs in processes of its own, so it imports little."""

import re
import struct
import warnings
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

import xxhash
from PIL import (
    Image,
    WebPImagePlugin,  # noqa: F401 (else Pillow finds this reader only after it has loaded all of its readers)
)

from container.dataset.pixels import UPRIGHT, eight_bits, is_turned, orientation_of

# What tf.io.decode_image decodes, and WebP, which the job decodes as well.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "WEBP")
HEAD_BYTES = 32
# Where a PNG file tells its bits per channel: https://www.w3.org/TR/png-3/#11IHDR.
PNG_START, PNG_DEPTH = b"\x89PNG\r\n\x1a\n", 24
# The sides of the picture by which images are compared.
SIDE = 9
# With less, the same photo at half its size has another picture; with more, it takes longer.
REDUCING_GAP = 3.0
DIGEST_BYTES, PICTURE_BYTES = 16, SIDE * SIDE * 3


class Look(NamedTuple):
    """What one decode tells of an image. A tuple, because there are many."""

    trouble: str
    """Why there are no pixels: `empty`, `unreadable`, `truncated`, `undecodable` or `too_many_pixels`; else empty."""
    detail: str
    """What the system or the decoder says of the trouble."""
    format: str = ""
    """Pillow's name of the format; empty: unknown."""
    width: int = 0
    height: int = 0
    mode: str = ""
    """Pillow's name of the kind of pixels, as they lie in the file."""
    bits: int = 0
    """Of each channel."""
    is_animated: bool = False
    orientation: int = 1
    """EXIF's; 1: upright."""
    picture: bytes = b""
    """The image in SIDE x SIDE pixels of RGB."""


def look_at_files(files: Sequence[str], most_pixels: int) -> list[Look]:
    """Return what each file is; a file that is no image is told of, not raised.

    Args:
        files: paths.
        most_pixels: images with more are not decoded.

    Raises:
        MemoryError: there is not enough to decode one of them.
    """
    with warnings.catch_warnings():
        # Of what is odd in a file, these findings tell.
        warnings.simplefilter("ignore")
        return [look_at(file, most_pixels) for file in files]


def digests_of_files(files: Sequence[str]) -> list[bytes]:
    """Return 16 bytes for the pixels of each file, as they look: images that look the same have the same.

    A file that cannot be decoded any more has none.

    Args:
        files: paths of images that `look_at_files` found pixels in.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [_digest_of(file) for file in files]


def look_at(path: str, most_pixels: int) -> Look:
    """Return what a file is; see `look_at_files`."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return look_into(file, most_pixels)
    except OSError as error:
        return Look("unreadable", error.strerror or str(error))


def look_into(file: BinaryIO, most_pixels: int) -> Look:
    """Return what an open file is; see `look_at_files`.

    Raises:
        OSError: it cannot be read, which says nothing of the image: another time it may be.
    """
    head = file.read(HEAD_BYTES)
    if not head:
        return Look("empty", "it has no bytes")
    file.seek(0)
    try:
        with Image.open(file, formats=FORMATS) as image:
            return _decoded(image, head, most_pixels)
    except Image.DecompressionBombError as error:
        # Pillow's text tells of its own limit, and of an attack.
        return Look("too_many_pixels", f"{int(re.findall(r'[0-9]+', str(error))[0]):,} pixels")
    except MemoryError:
        raise
    # Pillow's readers raise whatever a damaged file leads them to.
    except Exception as error:
        # Pillow's own errors are OSErrors too, but without the system's number.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        return _damage(error)


def plain_image(image: Image.Image, orientation: int) -> Image.Image:
    """Return the image upright, in 8 bits of RGB, or RGBA where it is transparent."""
    image = eight_bits(image)
    if orientation in UPRIGHT:
        image = image.transpose(UPRIGHT[orientation])
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            return image
    return image if image.mode == "RGB" else image.convert("RGB")


def _damage(error: Exception) -> Look:
    said = " ".join(str(error).split()) or type(error).__name__
    if "out of memory" in said:
        raise MemoryError(said) from error
    is_short = "truncated" in said.lower() or isinstance(error, EOFError | struct.error)
    # Pillow's text on this names an object of Python's.
    said = "its content is no known image's" if said.startswith("cannot identify image file") else said
    return Look("truncated" if is_short else "undecodable", said)


def _decoded(image: Image.Image, head: bytes, most_pixels: int) -> Look:
    width, height = image.size
    known = Look(
        "",
        "",
        # A camera's file of several pictures, of which the first one is a JPEG like any other.
        "JPEG" if image.format == "MPO" else image.format or "",
        width,
        height,
        image.mode,
        head[PNG_DEPTH] if head.startswith(PNG_START) else 8,
        image.format != "MPO" and getattr(image, "is_animated", False),
    )
    if width * height > most_pixels:
        return known._replace(trouble="too_many_pixels")
    image.load()
    orientation = orientation_of(image)
    pixels = plain_image(image, orientation if is_turned(image) else 1)
    small = _on_white(pixels).resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=REDUCING_GAP)
    return known._replace(orientation=orientation, picture=small.tobytes())


def _digest_of(path: str) -> bytes:
    try:
        with Image.open(path, formats=FORMATS) as image:
            image.load()
            pixels = plain_image(image, orientation_of(image) if is_turned(image) else 1)
    except MemoryError:
        raise
    # Pillow's readers raise whatever a damaged file leads them to.
    except Exception:
        return b""
    digest = xxhash.xxh3_128(struct.pack("<II", *pixels.size))
    digest.update(pixels.tobytes())
    return digest.digest()


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
