"""How large an image will be once it is decoded, read from its header: what is too large is never decoded."""

import io
import struct
from collections.abc import Iterator

from PIL import Image as Picture
from PIL import UnidentifiedImageError

from container.serving.errors import RefusedError, bad_request, too_large

# How the files begin that TensorFlow decodes, and what Pillow calls them.
FORMATS = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"GIF8": "GIF", b"BM": "BMP", b"RIFF": "WEBP"}
# A progressive JPEG has some ten scans. Each one passes over all pixels, however few bytes it has.
START_OF_SCAN, MOST_SCANS = b"\xff\xda", 100


def check_size(content: bytes, max_pixels: int) -> None:
    """See that an image's file begins like one, and is not too large once it is decoded.

    Raises:
        RefusedError: it is no image, or has too many pixels.
    """
    kind = next((name for start, name in FORMATS.items() if content.startswith(start)), None)
    if kind is None:
        known = ", ".join(FORMATS.values())
        raise bad_request(f"this is no image: its first bytes are those of none of {known}")
    width, height = _size(content, kind)
    if width * height > max_pixels:
        raise too_large(f"the image has {width}x{height} pixels; {max_pixels:,} are taken")
    if kind == "JPEG" and content.count(START_OF_SCAN) > MOST_SCANS:
        raise too_large(f"the JPEG has more than {MOST_SCANS} scans: save it again")
    if kind == "GIF":
        _check_frames(content, width, height, max_pixels)


def _size(content: bytes, kind: str) -> tuple[int, int]:
    try:
        with Picture.open(io.BytesIO(content), formats=(kind,)) as picture:
            return picture.size
    except Picture.DecompressionBombError:
        raise too_large("the image has too many pixels") from None
    # Pillow's readers raise whatever a broken file makes them raise.
    except Exception as error:
        raise _undecodable(kind, error) from None


def _undecodable(kind: str, error: Exception) -> RefusedError:
    # Pillow's own text names an object in memory.
    reason = "" if isinstance(error, UnidentifiedImageError) else f": {error}"
    return bad_request(f"the image begins like a {kind}, but cannot be read{reason}")


def _check_frames(content: bytes, screen_width: int, screen_height: int, max_pixels: int) -> None:
    """See that the frames of a GIF are not too large.

    TensorFlow decodes all of them before it takes the first one, into an image that is as wide as the widest and as
    high as the highest:
    https://github.com/tensorflow/tensorflow/blob/v2.21.0/tensorflow/core/lib/gif/gif_io.cc
    """
    frames = list(_frames(content))
    if (pixels := sum(width * height for width, height in frames)) > max_pixels:
        raise too_large(f"the frames of the GIF have {pixels:,} pixels; {max_pixels:,} are taken")
    widest = max([screen_width, *(width for width, _ in frames)])
    highest = max([screen_height, *(height for _, height in frames)])
    if widest * highest > max_pixels:
        raise too_large(f"the frames of the GIF need {widest}x{highest} pixels; {max_pixels:,} are taken")


def _frames(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield the width and the height of each frame of a GIF, as far as its blocks can be followed.

    The format: https://www.w3.org/Graphics/GIF/spec-gif89a.txt
    """
    try:
        position = 13 + _color_table(content[10])
        while (block := content[position]) != 0x3B:
            if block == 0x2C:
                yield struct.unpack_from("<HH", content, position + 5)
                # Of the frame's header there is one byte more: the least size of a code.
                position += 10 + _color_table(content[position + 9]) + 1
            elif block == 0x21:
                position += 2
            else:
                break
            while length := content[position]:
                position += 1 + length
            position += 1
    except (IndexError, struct.error):
        return


def _color_table(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
