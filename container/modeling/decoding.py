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
# The start of the many JPEGs that begin with a JFIF segment without a thumbnail, 16 bytes long.
JPEG_JFIF_START = b"\xff\xd8\xff\xe0\x00\x10"
EXIF_START = b"\xff\xe1"
JFIF_MARKER, EXIF_MARKER, ORIENTATION_TAG = 0xFFE0, 0xFFE1, 0x0112
# The formula of ITU-R BT.601, which JPEG and Pillow use as well.
LUMINANCE = (0.299, 0.587, 0.114)
# By what libjpeg can divide a photo's sides while it decodes.
RATIOS = (1, 2, 4, 8)
# Shares of the wanted pixels, and of those of each side, that must then be left. A picture that is somewhat too small
# is nearer to the accurate one than a large one whose finest details a plain resize turns into noise.
PIXELS_LEFT, SIDE_LEFT = 0.75, 0.7
# From this shrinking on, a plain resize would skip too many pixels.
MAX_PLAIN_SHRINKING = 2.5

# From pixels of any height and width, and the size wanted, to pixels of that size, float32.
Resize = Callable[[Any, Any], Any]


def decode_image(encoded: Any, image: Image, fast: bool = False) -> Any:
    """Return the pixels of one encoded image: uint8, shape (height, width, channels).

    Args:
        encoded: the image file's bytes, a scalar string tensor.
        image: the size and the channels of the result, and how an image is brought to them.
        fast: what training may take. Photos (JPEG, but for CMYK) are decoded at about the size that is wanted, and
            resized by plain bilinear interpolation; everything else as without it.

    Raises:
        tf.errors.InvalidArgumentError: the bytes are no image that TensorFlow can decode.
    """
    if not fast:
        return _decode_accurately(encoded, image)
    # A function of its own, because TensorFlow visits every operation of a branch that it does not take.
    decode_others = tf.function(
        lambda: _decode_other_fast(encoded, image), autograph=False, experimental_attributes={"_noinline": True}
    )
    return tf.cond(_is_plain_photo(encoded, image), lambda: _decode_photo_fast(encoded, image), decode_others)


def to_input_size(pixels: Any, image: Image) -> Any:
    """Return RGB pixels (float32, 0 to 255, of any height and width) as the model's: uint8, its size and channels."""
    if image.channels == 1:
        pixels = tf.reduce_sum(pixels * tf.constant(LUMINANCE), axis=-1, keepdims=True)
    return tf.saturate_cast(tf.round(_fitted(pixels, image, _resize_filtered)), tf.uint8)


def _decode_accurately(encoded: Any, image: Image) -> Any:
    orientation = tf.cond(_starts_with(encoded, JPEG_START), lambda: _orientation(encoded), lambda: tf.constant(1))
    return to_input_size(tf.cast(_turn_upright(_decode_rgb(encoded), orientation), tf.float32), image)


def _decode_other_fast(encoded: Any, image: Image) -> Any:
    return tf.cond(
        _is_photo(encoded, image),
        lambda: _decode_photo_fast(encoded, image, _orientation(encoded)),
        lambda: _decode_accurately(encoded, image),
    )


def _is_plain_photo(encoded: Any, image: Image) -> Any:
    """Tell whether this is a JPEG without EXIF, as most photos of data sets are; some such ones are not noticed."""
    segment = tf.strings.substr(encoded, tf.minimum(len(JPEG_JFIF_START) + 14, tf.strings.length(encoded)), 2)
    is_plain = _starts_with(encoded, JPEG_JFIF_START) & (segment != EXIF_START)
    return is_plain if image.channels == 3 else tf.cond(is_plain, lambda: _is_photo(encoded, image), lambda: False)


def _is_photo(encoded: Any, image: Image) -> Any:
    """Tell whether this is a JPEG that libjpeg can decode with these channels: there is no way from CMYK to grey."""
    is_jpeg = _starts_with(encoded, JPEG_START)
    if image.channels == 3:
        return is_jpeg
    return tf.cond(is_jpeg, lambda: tf.io.extract_jpeg_shape(encoded)[2] < 4, lambda: False)


def _decode_photo_fast(encoded: Any, image: Image, orientation: Any = None) -> Any:
    """Decode a JPEG that is not in CMYK; without an orientation, it is upright."""
    size = tf.cast(tf.io.extract_jpeg_shape(encoded)[:2], tf.float32)
    if orientation is not None:
        size = tf.cond(orientation >= 5, lambda: size[::-1], lambda: size)
    choice = tf.math.count_nonzero(_shrinking(size, image) >= tf.constant(RATIOS[1:], tf.float32), dtype=tf.int32)
    decoders = [lambda ratio=ratio: _decode_jpeg(encoded, image.channels, ratio) for ratio in RATIOS]
    pixels = tf.switch_case(choice, decoders)
    if orientation is not None:
        pixels = _turn_upright(pixels, orientation)
    resized = _fitted(pixels, image, _resize_plainly)
    # Rounds, limits and casts in one pass over the pixels.
    quantized = tf.raw_ops.QuantizeV2(input=resized, min_range=0.0, max_range=255.0, T=tf.quint8)
    return tf.bitcast(quantized.output, tf.uint8)


def _shrinking(size: Any, image: Image) -> Any:
    """Return by what the sides of a photo of this size (height, width) may be divided before it is resized."""
    by_side = size / (image.height, image.width)
    if image.resize != "stretch":
        by_side = tf.fill((2,), (tf.reduce_max if image.resize == "pad" else tf.reduce_min)(by_side))
    return tf.minimum(tf.sqrt(tf.reduce_prod(by_side) / PIXELS_LEFT), tf.reduce_min(by_side) / SIDE_LEFT)


def _fitted(pixels: Any, image: Image, resize: Resize) -> Any:
    fit = {"stretch": _stretch, "crop": _crop, "pad": _pad}[image.resize]
    fitted = fit(pixels, image.height, image.width, resize)
    fitted.set_shape((image.height, image.width, image.channels))
    return fitted


def _resize_filtered(pixels: Any, size: Any) -> Any:
    return tf.image.resize(pixels, size, antialias=True)


def _resize_plainly(pixels: Any, size: Any) -> Any:
    # Bilinear interpolation of float32 is faster by more than the cast takes.
    pixels = tf.cast(pixels, tf.float32)
    shrinking = tf.shape(pixels)[:2] / tf.convert_to_tensor(size)
    return tf.cond(
        tf.reduce_all(shrinking <= MAX_PLAIN_SHRINKING),
        lambda: tf.image.resize(pixels, size),
        lambda: _resize_filtered(pixels, size),
    )


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
        turn = tf.cond(orientation >= 5, lambda: tf.transpose(pixels, (1, 0, 2)), lambda: pixels)
        is_mirrored = tf.reduce_any(orientation == tf.constant([2, 3, 6, 7]))
        is_upside_down = tf.reduce_any(orientation == tf.constant([3, 4, 7, 8]))
        turn = tf.cond(is_mirrored, lambda: tf.reverse(turn, [1]), lambda: turn)
        return tf.cond(is_upside_down, lambda: tf.reverse(turn, [0]), lambda: turn)

    return tf.cond(orientation == 1, lambda: pixels, turned)


def _orientation(encoded: Any) -> Any:
    """Return the orientation that a JPEG's EXIF segment tells, or 1."""
    # EXIF is the first segment, or the one after JFIF's.
    marker, length = _segment(encoded, 2)
    position = tf.where(marker == JFIF_MARKER, 4 + length, 2)
    marker, length = _segment(encoded, position)
    has_exif = (marker == EXIF_MARKER) & (length >= 32) & (position + 2 + length <= tf.strings.length(encoded))
    return tf.cond(has_exif, lambda: _orientation_in(_bytes(encoded, position + 4, length - 2)), lambda: tf.constant(1))


def _segment(encoded: Any, position: Any) -> tuple[Any, Any]:
    """Return marker and length (bytes, without the marker's two) of the JPEG segment at a position."""
    start = tf.minimum(position, tf.strings.length(encoded))
    # Zeros stand for what lies behind the end.
    head = _bytes(tf.strings.join([tf.strings.substr(encoded, start, 4), "\0" * 4]), 0, 4)
    return head[0] * 256 + head[1], head[2] * 256 + head[3]


def _orientation_in(exif: Any) -> Any:
    """Return the orientation in EXIF: `Exif\\0\\0`, then a TIFF header and a directory of 12-byte entries."""
    tiff = exif[6:]
    swap = tiff[0] == ord("M")  # Motorola's byte order: the most significant byte comes first

    def number(part: Any) -> Any:
        return _little_endian(tf.cond(swap, lambda: part[::-1], lambda: part))

    start = number(tiff[4:8])
    directory = tiff[start:]

    def search() -> Any:
        count = tf.minimum(number(directory[:2]), (tf.size(directory) - 2) // 12)
        entries = tf.reshape(directory[2 : 2 + 12 * count], (-1, 12))
        tags, values = short(entries, 0), short(entries, 8)
        found = tf.boolean_mask(values, (tags == ORIENTATION_TAG) & (values >= 1) & (values <= 8))
        return tf.concat([found, [1]], axis=0)[0]

    def short(entries: Any, position: int) -> Any:
        low = tf.where(swap, 1, 0)
        return tf.gather(entries, position + low, axis=1) + 256 * tf.gather(entries, position + 1 - low, axis=1)

    is_exif = tf.reduce_all(exif[:6] == tf.constant(list(b"Exif\0\0"))) & (start > 0) & (tf.size(directory) >= 14)
    return tf.cond(is_exif, search, lambda: tf.constant(1))


def _bytes(encoded: Any, start: Any, length: Any) -> Any:
    return tf.cast(tf.io.decode_raw(tf.strings.substr(encoded, start, length), tf.uint8), tf.int32)


def _little_endian(digits: Any) -> Any:
    return tf.reduce_sum(digits * 256 ** tf.range(tf.size(digits)))


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
