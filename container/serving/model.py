"""The model in memory, and its step: from the pixels of a batch of images to probabilities."""

import logging
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from container.modeling.container_settings import Image
from container.modeling.networks.models import class_probabilities
from container.modeling.own_parts.errors import PartError
from container.modeling.own_parts.parts import imported
from container.modeling.own_parts.sources import MODEL_BUILDER, PREPROCESSOR, chosen_functions
from container.serving.model_folder import ModelFolder, ModelFolderError
from container.serving.step_sizes import StepSizes

logger = logging.getLogger(__name__)

# How often a step is taken to see how long it takes; the quickest counts, which nothing else delayed.
MEASURED_STEPS = 3


def load_model(folder: ModelFolder) -> keras.Model:
    """Return the model that the training job saved.

    Raises:
        ModelFolderError: Keras cannot load it.
    """
    _import_own_layers(folder)
    try:
        return keras.models.load_model(folder.keras_file, compile=False, safe_mode=True)
    # Keras raises whatever its layers do.
    except Exception as error:
        logger.error("%s cannot be loaded", folder.keras_file, exc_info=error)
        raise ModelFolderError(f"{folder.keras_file} cannot be loaded: {' '.join(str(error).split())}") from error


class ModelStep:
    """Runs the model on batches of images, in one trace for batches of all sizes."""

    def __init__(self, model: keras.Model, image: Image, class_count: int, batch_size: int) -> None:
        """Args:
        model: takes pixels, 0 to 255.
        image: the pixels that it takes.
        class_count: how many classes there are.
        batch_size: images of a step, at most.

        Raises:
            ModelFolderError: the model takes other pixels, or gives other probabilities.
        """
        shape = (image.height, image.width, image.channels)
        _check_input(model, shape)
        self._shape, self._class_count = shape, class_count
        self.sizes = StepSizes(batch_size)
        forward = tf.function(
            lambda pixels: class_probabilities(model(tf.cast(pixels, tf.float32), training=False)), autograph=False
        )
        self._forward = {
            dtype: forward.get_concrete_function(tf.TensorSpec((None, *shape), dtype)) for dtype in ("uint8", "float32")
        }

    def warm_up(self) -> None:
        """Take steps of several sizes, so that the first requests need not wait for what TensorFlow does once.

        Raises:
            ModelFolderError: the model does not give the probability of each class.
        """
        for dtype, sizes in (("uint8", self.sizes.all), ("float32", self.sizes.all[:1])):
            for size in sizes:
                probabilities = self([np.zeros(self._shape, dtype)] * size)
                if probabilities.shape != (size, self._class_count) or not np.isfinite(probabilities).all():
                    raise ModelFolderError(
                        f"the model must give the finite probabilities of {self._class_count} classes, but for "
                        f"{size} black images it gives an array of shape {probabilities.shape}"
                    )
        self.sizes.learn(self._seconds(self.sizes.all[0]), self._seconds(self.sizes.all[-1]))

    def __call__(self, images: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Return the probabilities of each class for each image, shape (images, classes).

        Args:
            images: pixels of shape (height, width, channels), 0 to 255, uint8 or float32; as many as a step may have.
        """
        dtype = "uint8" if all(pixels.dtype == np.uint8 for pixels in images) else "float32"
        size = self.sizes.filled_up(len(images))
        # What is added to the images is predicted in vain: any pixels will do.
        batch = np.empty((size, *self._shape), dtype)
        for position, pixels in enumerate(images):
            batch[position] = pixels
        batch[len(images) :] = 0
        probabilities: Any = self._forward[dtype](tf.constant(batch))
        return np.asarray(probabilities.numpy(), np.float32)[: len(images)]

    def _seconds(self, size: int) -> float:
        """Return how long a step of a size takes that was taken before."""
        images, taken = [np.zeros(self._shape, np.uint8)] * size, []
        for _ in range(MEASURED_STEPS):
            began = time.perf_counter()
            self(images)
            taken.append(time.perf_counter() - began)
        return min(taken)


def _import_own_layers(folder: ModelFolder) -> None:
    """Import the modules that may define layers of the model: Keras finds them by their registered names."""
    for choice in chosen_functions(folder.settings):
        if choice.kind not in (MODEL_BUILDER, PREPROCESSOR):
            continue
        try:
            imported(choice)
        except PartError as error:
            logger.warning("%s; the model is loaded without it", error)


def _check_input(model: Any, shape: tuple[int, int, int]) -> None:
    if not isinstance(model, keras.Model):
        raise ModelFolderError(
            f"serving.model_fn returned a {type(model).__name__}: return a keras.Model, or set serving.predict_fn, "
            "which is given whatever it returns"
        )
    inputs = getattr(model, "inputs", None) or []
    sizes = tuple(inputs[0].shape[1:]) if len(inputs) == 1 else ()
    fits = len(sizes) == len(shape) and all(size in (None, wanted) for size, wanted in zip(sizes, shape, strict=True))
    if not fits:
        raise ModelFolderError(
            f"the model takes {[tuple(tensor.shape) for tensor in inputs]}, but config.json says images of {shape} "
            "(height, width, channels)"
        )
