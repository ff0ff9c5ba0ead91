"""What the one decoder makes of each kind of image, against Pillow."""

import io
from collections.abc import Callable
from dataclasses import dataclass
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
JFIF_SEGMENT = slice(2, 20)


@dataclass(frozen=True)
class Decoder:
    """The decoder as a graph, as tf.data and the SavedModel run it."""

    image: settings.Image
    fast: bool
    function: Callable[[bytes], Any]

    def __call__(self, encoded: bytes) -> Any:
        pixels = self.function(encoded).numpy()
        assert pixels.dtype == np.uint8
        return pixels

    def assert_near(self, encoded: bytes, wanted: Any) -> None:
        """Decoders and resizers may round differently, by one shade each; the fast way changes edges more."""
        pixels = self(encoded)
        assert pixels.shape == wanted.shape
        differences = np.abs(pixels.astype(int) - wanted)
        assert differences.max() <= (15 if self.fast else 2)
        assert differences.mean() <= 1.8


@pytest.fixture(scope="module", params=[1, 3], ids=["grey", "rgb"])
def channels(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module", params=[False, True], ids=["accurate", "fast"])
def decode(channels: int, request: pytest.FixtureRequest) -> Decoder:
    return decoder(request.param, height=HEIGHT, width=WIDTH, channels=channels)


def decoder(fast: bool = False, **changes: Any) -> Decoder:
    image = settings.Image(**changes)
    signature = [tf.TensorSpec((), tf.string)]
    return Decoder(
        image, fast, tf.function(lambda encoded: decode_image(encoded, image, fast), input_signature=signature)
    )


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def expected(image: Image.Image, channels: int) -> Any:
    colors = image.convert("RGB").convert("L" if channels == 1 else "RGB")
    return np.asarray(colors.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)).reshape((HEIGHT, WIDTH, channels))


LARGE = encode(PHOTO.resize((400, 480)), "JPEG")


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
def test_each_mode_becomes_the_pixels_that_pillow_sees(decode: Decoder, mode: str, kind: str, options: Any) -> None:
    encoded = encode(PHOTO.convert(mode), kind, **options)
    decode.assert_near(encoded, expected(Image.open(io.BytesIO(encoded)), decode.image.channels))


def test_of_16_bits_the_upper_8_stay(decode: Decoder) -> None:
    grey = np.asarray(PHOTO.convert("L"))
    deep = Image.fromarray(grey.astype(np.uint16) * 256 + 99)
    decode.assert_near(encode(deep, "PNG"), expected(Image.fromarray(grey), decode.image.channels))


def test_an_animated_gif_gives_its_first_frame(decode: Decoder) -> None:
    frames = [PHOTO.convert("P"), PHOTO.rotate(180).convert("P")]
    encoded = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    decode.assert_near(encoded, expected(frames[0], decode.image.channels))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("scale", [1, 5])
def test_photos_are_turned_upright(decode: Decoder, orientation: int, byte_order: str, scale: int) -> None:
    exif = Image.Exif()
    exif.endian = byte_order
    exif[0x010E] = "a description, which stands before the orientation"
    exif[0x0112] = orientation
    encoded = encode(PHOTO.resize((40 * scale, 48 * scale)), "JPEG", quality=95, exif=exif)
    assert (b"Exif\0\0MM" in encoded) == (byte_order == ">")
    upright = expected(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))), decode.image.channels)
    decode.assert_near(encoded, upright)
    # A camera writes EXIF alone.
    assert encoded[JFIF_SEGMENT].startswith(b"\xff\xe0")
    decode.assert_near(encoded[: JFIF_SEGMENT.start] + encoded[JFIF_SEGMENT.stop :], upright)


@pytest.mark.parametrize("scale", [0.5, 2, 3, 4, 8, 16, 30])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_photos_of_all_sizes_become_the_input_size(decode: Decoder, scale: float, subsampling: int) -> None:
    encoded = encode(PHOTO.resize((int(40 * scale), int(48 * scale))), "JPEG", quality=95, subsampling=subsampling)
    decode.assert_near(encoded, expected(Image.open(io.BytesIO(encoded)), decode.image.channels))


@pytest.mark.parametrize("size", [(460, 460), (700, 500), (1200, 880), (300, 900)], ids=str)
@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_the_fast_way_is_nearer_to_the_accurate_one_than_a_plain_resize(size: tuple[int, int], resize: Any) -> None:
    encoded = encode(landscape(size), "JPEG", quality=90)
    image = settings.Image(height=224, width=224, resize=resize)
    accurate, fast = (decode_image(encoded, image, fast=fast).numpy().astype(int) for fast in (False, True))
    whole = tf.io.decode_jpeg(encoded).numpy()
    fitted = {"stretch": lambda: whole, "crop": lambda: center_square(whole), "pad": lambda: black_to_square(whole)}
    plain = tf.image.resize(fitted[resize](), (224, 224)).numpy()
    assert np.abs(accurate - fast).mean() < 0.9 * np.abs(accurate - plain).mean()


def test_broken_exif_leaves_a_photo_as_it_is(decode: Decoder) -> None:
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


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("scale", [1, 4])
class TestProportions:
    def test_crop_cuts_out_the_center(self, fast: bool, kind: str, scale: int) -> None:
        encoded = encode(PHOTO.resize((40 * scale, 48 * scale)), kind, quality=95, subsampling=0)
        center = Image.open(io.BytesIO(encoded)).crop((0, 4 * scale, 40 * scale, 44 * scale))
        wanted = np.asarray(center.resize((20, 20), Image.Resampling.BILINEAR))
        decoder(fast, height=20, width=20, resize="crop").assert_near(encoded, wanted)

    @pytest.mark.slow
    def test_pad_puts_black_around(self, fast: bool, kind: str, scale: int) -> None:
        encoded = encode(PHOTO.resize((40 * scale, 48 * scale)), kind, quality=95, subsampling=0)
        wanted = ImageOps.pad(Image.open(io.BytesIO(encoded)), (24, 24), Image.Resampling.BILINEAR)
        decoder(fast, height=24, width=24, resize="pad").assert_near(encoded, np.asarray(wanted))


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_extreme_shapes_become_the_input_size(fast: bool, resize: Any) -> None:
    fit = decoder(fast, height=8, width=16, resize=resize)
    for size in ((1, 2000), (2000, 1), (2000, 7), (1, 1)):
        for kind in ("PNG", "JPEG"):
            assert fit(encode(PHOTO.resize(size), kind)).shape == (8, 16, 3)


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
        LARGE[: len(LARGE) // 2],
        LARGE[:40],
        encode(PHOTO, "PNG")[:300],
        encode(PHOTO, "TIFF"),
        encode(PHOTO.convert("1"), "BMP"),
        encode(PHOTO, "WEBP", lossless=True, save_all=True, append_images=[PHOTO.rotate(180)]),
    ],
    ids=[
        "empty",
        "bmp",
        "riff",
        "jpeg",
        "gif",
        "text",
        "cut-jpeg",
        "half-photo",
        "photo-start",
        "cut-png",
        "tiff",
        "1-bit-bmp",
        "animated-webp",
    ],
)
def test_what_is_no_image_is_refused(decode: Decoder, encoded: bytes) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(encoded)


def landscape(size: tuple[int, int]) -> Image.Image:
    """Return a picture whose details are as strong, for their sizes, as those of photos are in the mean."""
    width, height = size
    noise = np.fft.rfft2(np.random.default_rng(0).standard_normal((3, height, width)))
    frequency = np.hypot(np.fft.fftfreq(height)[:, np.newaxis], np.fft.rfftfreq(width))
    frequency[0, 0] = 1
    waves = np.fft.irfft2(noise / frequency**1.2, (height, width)).transpose(1, 2, 0)
    return Image.fromarray(np.clip(128 + 50 * (waves - waves.mean()) / waves.std(), 0, 255).astype(np.uint8))


def center_square(pixels: Any) -> Any:
    side = min(pixels.shape[:2])
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def black_to_square(pixels: Any) -> Any:
    side = max(pixels.shape[:2])
    top, left = ((side - length) // 2 for length in pixels.shape[:2])
    return tf.image.pad_to_bounding_box(pixels, top, left, side, side)
