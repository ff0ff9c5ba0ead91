"""What the one decoder makes of each kind of image, against Pillow."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from container.modeling import settings
from container.modeling.decoding import decode_image

HEIGHT, WIDTH = 24, 32
# 48 x 40 pixels of smooth colors.
PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)).resize((40, 48))
Decode = Callable[[bytes], Any]


@pytest.fixture(scope="module", params=[1, 3])
def decode(request: pytest.FixtureRequest) -> Decode:
    """The decoder as a graph, as tf.data and the SavedModel run it."""
    return graph(settings.Image(height=HEIGHT, width=WIDTH, channels=request.param))


def graph(image: settings.Image) -> Decode:
    function = tf.function(lambda encoded: decode_image(encoded, image), input_signature=[tf.TensorSpec((), tf.string)])
    return lambda encoded: function(encoded).numpy()


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def expected(image: Image.Image, channels: int) -> Any:
    colors = image.convert("RGB").convert("L" if channels == 1 else "RGB")
    return np.asarray(colors.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)).reshape((HEIGHT, WIDTH, channels))


@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        ("RGB", "PNG", {}),
        ("L", "PNG", {}),
        ("P", "PNG", {}),
        ("1", "PNG", {}),
        ("RGBA", "PNG", {}),
        ("LA", "PNG", {}),
        ("RGB", "JPEG", {"quality": 95}),
        ("L", "JPEG", {}),
        ("CMYK", "JPEG", {}),
        ("RGB", "JPEG", {"progressive": True}),
        ("P", "GIF", {}),
        ("RGB", "BMP", {}),
        ("RGBA", "BMP", {}),
        ("P", "BMP", {}),
        ("L", "BMP", {}),
        ("RGB", "WEBP", {}),
        ("RGBA", "WEBP", {"lossless": True}),
    ],
)
def test_each_mode_becomes_the_pixels_that_pillow_sees(decode: Decode, mode: str, kind: str, options: Any) -> None:
    encoded = encode(PHOTO.convert(mode), kind, **options)
    pixels = decode(encoded)
    assert pixels.dtype == np.uint8
    assert_near(pixels, expected(Image.open(io.BytesIO(encoded)), pixels.shape[-1]))


def test_of_16_bits_the_upper_8_stay(decode: Decode) -> None:
    grey = np.asarray(PHOTO.convert("L"))
    deep = Image.fromarray(grey.astype(np.uint16) * 256 + 99)
    pixels = decode(encode(deep, "PNG"))
    assert_near(pixels, expected(Image.fromarray(grey), pixels.shape[-1]))


def test_an_animated_gif_gives_its_first_frame(decode: Decode) -> None:
    frames = [PHOTO.convert("P"), PHOTO.rotate(180).convert("P")]
    pixels = decode(encode(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert_near(pixels, expected(frames[0], pixels.shape[-1]))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_photos_are_turned_upright(decode: Decode, orientation: int, byte_order: str) -> None:
    exif = Image.Exif()
    exif.endian = byte_order
    exif[0x010E] = "a description, which stands before the orientation"
    exif[0x0112] = orientation
    encoded = encode(PHOTO, "JPEG", quality=95, exif=exif)
    assert (b"Exif\0\0MM" in encoded) == (byte_order == ">")
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded)))
    pixels = decode(encoded)
    assert_near(pixels, expected(upright, pixels.shape[-1]))


def test_broken_exif_leaves_a_photo_as_it_is(decode: Decode) -> None:
    exif = Image.Exif()
    exif.endian = ">"
    exif[0x0112] = 6
    plain = decode(encode(PHOTO, "JPEG", quality=95))
    whole = encode(PHOTO, "JPEG", quality=95, exif=exif)
    start = whole.index(b"Exif\0\0") + 6
    for position, value in ((start + 4, 0xFF), (start + 7, 0xFF), (start + 11, 0), (start + 18, 77)):
        damaged = bytearray(whole)
        damaged[position] = value
        np.testing.assert_array_equal(decode(bytes(damaged)), plain)


def test_crop_cuts_out_the_center() -> None:
    crop = graph(settings.Image(height=20, width=20, resize="crop"))
    center = PHOTO.crop((0, 4, 40, 44)).resize((20, 20), Image.Resampling.BILINEAR)
    assert_near(crop(encode(PHOTO, "PNG")), np.asarray(center))


def test_pad_puts_black_around() -> None:
    pad = graph(settings.Image(height=24, width=24, resize="pad"))
    wanted = ImageOps.pad(PHOTO, (24, 24), Image.Resampling.BILINEAR)
    assert_near(pad(encode(PHOTO, "PNG")), np.asarray(wanted))


@pytest.mark.parametrize("resize", ["crop", "pad"])
@pytest.mark.parametrize("size", [(1, 500), (500, 1), (1, 1)])
def test_extreme_shapes_become_the_input_size(resize: Any, size: tuple[int, int]) -> None:
    fit = graph(settings.Image(height=8, width=16, resize=resize))
    assert fit(encode(PHOTO.resize(size), "PNG")).shape == (8, 16, 3)


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"BM",
        b"RIFF",
        b"\xff\xd8\xff",
        b"GIF89a",
        b"hello, world",
        encode(PHOTO, "JPEG")[:300],
        encode(PHOTO, "PNG")[:300],
        encode(PHOTO, "TIFF"),
        encode(PHOTO.convert("1"), "BMP"),
        encode(PHOTO, "WEBP", lossless=True, save_all=True, append_images=[PHOTO.rotate(180)]),
    ],
    ids=["empty", "bmp", "riff", "jpeg", "gif", "text", "cut-jpeg", "cut-png", "tiff", "1-bit-bmp", "animated-webp"],
)
def test_what_is_no_image_is_refused(decode: Decode, encoded: bytes) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(encoded)


def assert_near(pixels: Any, wanted: Any) -> None:
    """Decoders and resizers may round differently, by one shade each."""
    np.testing.assert_allclose(pixels.astype(int), wanted.astype(int), atol=2)
