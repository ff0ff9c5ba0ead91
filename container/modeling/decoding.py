"""The one way from an encoded image to the model's pixels, shared by training, evaluation and serving.

All of it is TensorFlow's graph operations, so that the same function runs in tf.data's threads and inside the
exported SavedModel. Images become 8 bits deep: of 16 bits the upper 8 stay. Transparency is dropped, CMYK becomes
RGB, an animated GIF gives its first frame, and a photo is turned upright by its EXIF orientation.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from container.modeling.settings import Image

JPEG_START = b"\xff\xd8\xff"
# A JFIF segment of 16 bytes, without a thumbnail, stands at the start of most photos of data sets.
JFIF_START, AFTER_JFIF, EXIF_START = b"\xff\xd8\xff\xe0\x00\x10", 20, b"\xff\xe1"
JFIF_MARKER, EXIF_MARKER, ORIENTATION_TAG = 0xFFE0, 0xFFE1, 0x0112
# The formula of ITU-R BT.601, which JPEG and Pillow use as well.
LUMINANCE = (0.299, 0.587, 0.114)
# By what libjpeg can divide a photo's sides while it decodes.
RATIOS = (1, 2, 4, 8)
# Shares of the wanted pixels, and of those of each side, that must then be left. A picture that is somewhat too small
# is nearer to the accurate one than a large one whose finest details a plain resize turns into noise.
PIXELS_LEFT, SIDE_LEFT = 0.75, 0.65
# When photos shrink by more than this, a plain resize skips too many pixels.
MAX_PLAIN_SHRINKING = 2.5

Resize = Callable[[Any, Any], Any]
"""From pixels of any height and width, and the size wanted, to pixels of that size, float32."""


def decode_image(encoded: Any, image: Image, fast: bool = False) -> Any:
    """Return the pixels of one encoded image: uint8, shape (height, width, channels).

    Args:
        encoded: the bytes of the image's file, a scalar string tensor.
        image: the size and the channels of the result, and how an image is brought to them.
        fast: what training may take. A JPEG is decoded at about the wanted size, and resized by plain bilinear
            interpolation. The result is nearer to that of the accurate way than if the whole photo were resized so.
            Images of other kinds become the same, but for rounding.

    Raises:
        tf.errors.InvalidArgumentError: the bytes are no image that TensorFlow can decode.
    """
    return _decode_fast(encoded, image) if fast else _decode_accurately(encoded, image)


def to_input_size(pixels: Any, image: Image) -> Any:
    """Return RGB pixels (float32, 0 to 255, of any height and width) as the model's: uint8, its size and channels."""
    if image.channels == 1:
        pixels = _luminance(pixels)
    return _rounded(_fitted(pixels, image, _resize_filtered))


def _decode_accurately(encoded: Any, image: Image) -> Any:
    pixels = _turn_upright(_decode_rgb(encoded), _orientation(encoded))
    return to_input_size(tf.cast(pixels, tf.float32), image)


def _decode_fast(encoded: Any, image: Image) -> Any:
    after = tf.strings.substr(encoded, tf.minimum(AFTER_JFIF, tf.strings.length(encoded)), len(EXIF_START))
    is_plain = _starts_with(encoded, JFIF_START) & (after != EXIF_START)
    is_photo = _starts_with(encoded, JPEG_START)
    if image.channels == 1:
        is_photo = tf.cond(is_photo, lambda: _has_luminance(encoded), lambda: False)
    return tf.cond(
        is_plain & is_photo,
        lambda: _fitted_fast(_decode_scaled(encoded, _size(encoded), image), image, MAX_PLAIN_SHRINKING),
        lambda: tf.cond(
            is_photo, lambda: _apart(_decode_exif_photo)(encoded, image), lambda: _apart(_decode_other)(encoded, image)
        ),
    )


def _apart(function: Callable[..., Any]) -> Any:
    """Return what few images need as one operation: TensorFlow visits each one of a branch that it does not take."""
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})


def _decode_exif_photo(encoded: Any, image: Image) -> Any:
    orientation, size = _orientation(encoded), _size(encoded)
    pixels = _decode_scaled(encoded, tf.where(orientation >= 5, size[::-1], size), image)
    return _fitted_fast(_turn_upright(pixels, orientation), image, MAX_PLAIN_SHRINKING)


def _decode_other(encoded: Any, image: Image) -> Any:
    pixels = _decode_rgb(encoded)
    if image.channels == 1:
        # It may be a photo in CMYK.
        pixels = _luminance(tf.cast(_turn_upright(pixels, _orientation(encoded)), tf.float32))
    return _fitted_fast(pixels, image, 1.0)


def _has_luminance(encoded: Any) -> Any:
    """Tell whether libjpeg can decode a JPEG to grey: it knows no way from CMYK."""
    return tf.io.extract_jpeg_shape(encoded)[2] < 4


def _size(encoded: Any) -> Any:
    """Return height and width of a JPEG as it lies, float32."""
    return tf.cast(tf.io.extract_jpeg_shape(encoded)[:2], tf.float32)


def _decode_scaled(encoded: Any, size: Any, image: Image) -> Any:
    """Decode a JPEG, whose height and width will be `size` once it is upright, to about the wanted size."""
    choice = tf.math.count_nonzero(_divisor(size, image) >= tf.constant(RATIOS[1:], tf.float32), dtype=tf.int32)
    decoders = [lambda ratio=ratio: _decode_jpeg(encoded, image.channels, ratio) for ratio in RATIOS]
    return tf.switch_case(choice, decoders)


def _fitted_fast(pixels: Any, image: Image, max_shrinking: Any) -> Any:
    fitted = _fitted(pixels, image, lambda pixels, size: _resize_plainly(pixels, size, max_shrinking))
    # Rounds, limits and casts in one pass over the pixels.
    quantized = tf.raw_ops.QuantizeV2(input=fitted, min_range=0.0, max_range=255.0, T=tf.quint8)
    return tf.bitcast(quantized.output, tf.uint8)


def _divisor(size: Any, image: Image) -> Any:
    """Return by what the sides of a photo of this size (height, width) may be divided before it is resized."""
    by_side = size / (image.height, image.width)
    if image.resize != "stretch":
        by_side = tf.fill((2,), (tf.reduce_max if image.resize == "pad" else tf.reduce_min)(by_side))
    return tf.minimum(tf.sqrt(tf.reduce_prod(by_side) / PIXELS_LEFT), tf.reduce_min(by_side) / SIDE_LEFT)


def _luminance(pixels: Any) -> Any:
    return tf.reduce_sum(pixels * tf.constant(LUMINANCE), axis=-1, keepdims=True)


def _rounded(pixels: Any) -> Any:
    return tf.saturate_cast(tf.round(pixels), tf.uint8)


def _decode_rgb(encoded: Any) -> Any:
    kinds = (
        (_starts_with(encoded, JPEG_START), _decode_jpeg),
        (_starts_with(encoded, b"BM"), _decode_bmp),
        (_starts_with(encoded, b"RIFF"), _decode_webp),
    )
    cases = [(condition, lambda decode=decode: decode(encoded)) for condition, decode in kinds]
    pixels = tf.case(cases, default=lambda: _decode_any(encoded))
    pixels.set_shape((None, None, 3))
    return pixels


def _starts_with(encoded: Any, prefix: bytes) -> Any:
    return tf.strings.substr(encoded, 0, len(prefix)) == prefix


def _decode_any(encoded: Any) -> Any:
    return tf.io.decode_image(encoded, channels=3, expand_animations=False)


def _decode_jpeg(encoded: Any, channels: int = 3, ratio: int = 1) -> Any:
    return tf.io.decode_jpeg(encoded, channels=channels, ratio=ratio, dct_method="INTEGER_ACCURATE")


def _decode_webp(encoded: Any) -> Any:
    # TensorFlow 2.21 writes beyond its buffer when asked for the first frame of an animation.
    header = tf.strings.substr(encoded, 12, 9)
    is_animation = _starts_with(header, b"VP8X") & (tf.bitwise.bitwise_and(_bytes(header, 8, 1)[0], 2) != 0)
    with tf.control_dependencies([tf.debugging.Assert(~is_animation, ["an animated WebP cannot be decoded"])]):
        return _decode_any(tf.identity(encoded))


def _decode_bmp(encoded: Any) -> Any:
    """Decode what Windows bitmaps there are: TensorFlow takes the palette's indices for shades of grey."""
    header = tf.cond(tf.strings.length(encoded) >= 54, lambda: _bytes(encoded, 0, 54), lambda: tf.zeros(54, tf.int32))
    bits, compression = _little_endian(header[28:30]), _little_endian(header[30:34])
    known = tf.reduce_any(bits == tf.constant([8, 24, 32])) & tf.reduce_any(compression == tf.constant([0, 3]))
    with tf.control_dependencies([tf.debugging.Assert(known, ["a BMP must have 8, 24 or 32 bits and no compression"])]):
        encoded = tf.identity(encoded)

    def with_palette() -> Any:
        start = 14 + _little_endian(header[14:18])
        palette = tf.reshape(_bytes(encoded, start, _little_endian(header[10:14]) - start), (-1, 4))
        indices = tf.cast(tf.io.decode_bmp(encoded)[..., 0], tf.int32)
        blue_green_red = tf.gather(palette, tf.minimum(indices, tf.shape(palette)[0] - 1))[..., :3]
        return tf.cast(blue_green_red[..., ::-1], tf.uint8)

    return tf.cond(bits == 8, with_palette, lambda: tf.io.decode_bmp(encoded)[..., :3])


def _turn_upright(pixels: Any, orientation: Any) -> Any:
    """Turn a photo by its EXIF orientation, 1 to 8."""

    def turned() -> Any:
        lies = tf.transpose(pixels, tf.where(orientation >= 5, [1, 0, 2], [0, 1, 2]))
        is_upside_down = tf.reduce_any(orientation == tf.constant([3, 4, 7, 8]))
        is_mirrored = tf.reduce_any(orientation == tf.constant([2, 3, 6, 7]))
        return tf.reverse(lies, tf.where([is_upside_down, is_mirrored])[:, 0])

    upright = tf.cond(orientation == 1, lambda: pixels, turned)
    upright.set_shape(pixels.shape)
    return upright


def _orientation(encoded: Any) -> Any:
    """Return the orientation that the EXIF of a JPEG tells, 1 to 8, or 1."""
    # `Exif\0\0`, then a TIFF header and a directory of 12-byte entries. Zeros stand for what lies behind the end.
    exif = _exif(encoded)
    size, content = tf.strings.length(exif) - 6, tf.strings.join([exif, "\0" * 16])
    # Motorola's byte order: the most significant byte comes first.
    is_motorola = tf.strings.substr(content, 6, 1) == b"M"

    def numbers(position: Any, length: Any, kind: Any) -> Any:
        digits = tf.strings.substr(content, 6 + position, length)
        parts = (tf.io.decode_raw(digits, kind, little_endian=is_little) for is_little in (False, True))
        return tf.cast(tf.where(is_motorola, *parts), tf.int32)

    start = tf.reduce_sum(numbers(4, 4, tf.int32))
    has_directory = (start > 0) & (start <= size - 14)
    start = tf.where(has_directory, start, 0)
    count = tf.minimum(tf.reduce_sum(numbers(start, 2, tf.uint16)), (size - start - 2) // 12)
    length = tf.where(has_directory, 12 * count, 0)
    tags, _, _, _, values, _ = tf.unstack(tf.reshape(numbers(start + 2, length, tf.uint16), (-1, 6)), axis=1)
    is_orientation = (tags == ORIENTATION_TAG) & (values >= 1) & (values <= 8)
    return tf.concat([tf.gather(values, tf.where(is_orientation)[:, 0]), [1]], axis=0)[0]


def _exif(encoded: Any) -> Any:
    """Return what is in the EXIF segment of a JPEG, a string; empty without one."""
    # It is the first segment, or the one after JFIF's.
    marker, length = _segment(encoded, 2)
    position = tf.where(marker == JFIF_MARKER, 4 + length, 2)
    marker, length = _segment(encoded, position)
    is_whole = (marker == EXIF_MARKER) & (length >= 32) & (position + 2 + length <= tf.strings.length(encoded))
    is_whole &= _starts_with(encoded, JPEG_START)
    content = tf.strings.substr(encoded, tf.where(is_whole, position + 4, 0), tf.where(is_whole, length - 2, 0))
    return tf.where(_starts_with(content, b"Exif\0\0"), content, "")


def _segment(encoded: Any, position: Any) -> tuple[Any, Any]:
    """Return marker and length (bytes, without the marker's two) of the JPEG segment at a position."""
    start = tf.minimum(position, tf.strings.length(encoded))
    # Zeros stand for what lies behind the end.
    head = tf.strings.substr(tf.strings.join([tf.strings.substr(encoded, start, 4), "\0" * 4]), 0, 4)
    marker, length = tf.unstack(tf.cast(tf.io.decode_raw(head, tf.uint16, little_endian=False), tf.int32), 2)
    return marker, length


def _bytes(encoded: Any, start: Any, length: Any) -> Any:
    return tf.cast(tf.io.decode_raw(tf.strings.substr(encoded, start, length), tf.uint8), tf.int32)


def _little_endian(digits: Any) -> Any:
    return tf.reduce_sum(digits * 256 ** tf.range(tf.size(digits)))


def _fitted(pixels: Any, image: Image, resize: Resize) -> Any:
    fit = {"stretch": _stretch, "crop": _crop, "pad": _pad}[image.resize]
    fitted = fit(pixels, image.height, image.width, resize)
    fitted.set_shape((image.height, image.width, image.channels))
    return fitted


def _resize_filtered(pixels: Any, size: Any) -> Any:
    return tf.image.resize(pixels, size, antialias=True)


def _resize_plainly(pixels: Any, size: Any, max_shrinking: Any) -> Any:
    """Resize without a filter, unless a side shrinks by more than that."""
    # TensorFlow interpolates float32 so much faster that it makes up for the cast.
    pixels = tf.cast(pixels, tf.float32)
    shrinking = tf.cast(tf.shape(pixels)[:2] / tf.convert_to_tensor(size), tf.float32)
    return tf.cond(
        tf.reduce_all(shrinking <= max_shrinking),
        lambda: tf.image.resize(pixels, size),
        lambda: _resize_filtered(pixels, size),
    )


def _stretch(pixels: Any, height: int, width: int, resize: Resize) -> Any:
    return resize(pixels, (height, width))


def _crop(pixels: Any, height: int, width: int, resize: Resize) -> Any:
    """Cut out the largest centered part of the target's proportions, then resize it."""
    original = tf.cast(tf.shape(pixels)[:2], tf.float32)
    scale = tf.reduce_min(original / (height, width))
    size = tf.maximum(tf.cast(tf.round((scale * height, scale * width)), tf.int32), 1)
    top, left = tf.unstack((tf.shape(pixels)[:2] - size) // 2)
    return resize(pixels[top : top + size[0], left : left + size[1]], (height, width))


def _pad(pixels: Any, height: int, width: int, resize: Resize) -> Any:
    """Resize to fit inside the target, then put black around it."""
    original = tf.cast(tf.shape(pixels)[:2], tf.float32)
    scale = tf.reduce_min((height, width) / original)
    size = tf.clip_by_value(tf.cast(tf.round(original * scale), tf.int32), 1, (height, width))
    fitted = resize(pixels, size)
    top, left = tf.unstack(((height, width) - size) // 2)
    return tf.image.pad_to_bounding_box(fitted, top, left, height, width)
