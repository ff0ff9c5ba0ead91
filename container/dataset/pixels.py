"""What training sees of an image's pixels: photos upright, and 8 bits a channel."""

from PIL import Image

# Where EXIF tells how a photo lies, and what turns it upright.
ORIENTATION_TAG = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orientation_of(image: Image.Image) -> int:
    """Return the orientation that EXIF tells, 2 to 8; 1: upright, or not told."""
    # Without a block of EXIF, Pillow would look for one in other kinds of metadata.
    found = image.getexif().get(ORIENTATION_TAG, 1) if "exif" in image.info else 1
    return found if found in UPRIGHT else 1


def is_turned(image: Image.Image) -> bool:
    """Tell whether training heeds the orientation: that of a JPEG, also as the first picture of a camera's several."""
    return image.format in ("JPEG", "MPO")


def eight_bits(image: Image.Image) -> Image.Image:
    """Return the image with at most 8 bits a channel: of 16 the upper 8 stay, as TensorFlow decodes it."""
    if not image.mode.startswith("I"):
        return image
    # Pillow's own way to 8 bits would cut off what is above 255.
    return image.convert("I").point(lambda value: value / 256).convert("L")
