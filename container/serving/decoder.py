"""From the file of an image to the model's pixels, by the evaluation's own function."""

import re
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from container.modeling.container_settings import Image
from container.modeling.decoding import decode_image
from container.serving.errors import bad_request
from container.serving.image_sizes import check_size

# How much of TensorFlow's text a client reads, in characters.
MAX_REASON = 200
# Names of operations, which TensorFlow puts around its message.
WRAPPING = r"\{\{.*?\}\}|\[\[.*?\]\]|\[Op:[^\]]*\](?: name:)?|\x1b\[\d*m"


class Decoder:
    """Decodes images; threads may use it side by side."""

    def __init__(self, image: Image, max_pixels: int) -> None:
        """Args:
        image: what every image becomes.
        max_pixels: what an image may have before.
        """
        self._max_pixels = max_pixels
        # The processor decodes, in training as well: a GPU would have to be given each photo as a whole.
        with tf.device("/CPU:0"):
            decode = tf.function(lambda encoded: decode_image(encoded, image), autograph=False)
            self._decode = decode.get_concrete_function(tf.TensorSpec((), tf.string))

    def warm_up(self) -> None:
        """Decode an image, so that the first request need not wait for what TensorFlow does once."""
        black = np.zeros((16, 16, 3), np.uint8)
        self(tf.io.encode_jpeg(black).numpy())

    def __call__(self, content: bytes) -> NDArray[np.uint8]:
        """Return the pixels of an image's file, shape (height, width, channels).

        Raises:
            RefusedError: it is no image, has too many pixels, or cannot be decoded.
        """
        check_size(content, self._max_pixels)
        try:
            pixels: Any = self._decode(tf.constant(content))
        except tf.errors.OpError as error:
            raise bad_request(f"the image cannot be decoded: {_reason(error)}") from None
        return np.asarray(pixels.numpy())


def _reason(error: Any) -> str:
    text = re.sub(WRAPPING, " ", str(error.message or type(error).__name__), flags=re.DOTALL)
    return " ".join(text.partition("Detected at node")[0].split())[:MAX_REASON]
