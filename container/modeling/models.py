"""Builds the networks that model.name chooses from.

Each takes float32 pixels, 0 to 255, of shape (batch, height, width, channels), rescales them itself, and returns the
probability of each class, of shape (batch, classes).
"""

import inspect
from pathlib import Path
from typing import Any

import keras
import numpy as np

from container.errors import SettingsError
from container.modeling.overrides import did_you_mean
from container.modeling.settings import ContainerSettings, FineTuning, Image, Model

# Batch normalization's usual 0.99 needs thousands of steps before its averages mean something; small data has fewer.
BATCH_NORMALIZATION_MOMENTUM = 0.9
# The largest map, in pixels a side, that is flattened into the dense layer: larger ones would give it too many weights.
MAX_FLATTENED_SIDE = 8


def build_model(settings: ContainerSettings, class_count: int) -> keras.Model:
    """Return the network that the settings ask for, with its first weights; not compiled.

    Raises:
        SettingsError: the backbone is unknown, takes no images of this size, or has no such weights.
    """
    pixels = keras.Input((settings.image.height, settings.image.width, settings.image.channels), name="pixels")
    if settings.model.name == "baseline":
        features = _convolutions(pixels, settings.model)
    else:
        features = _backbone(pixels, settings.image, settings.fine_tuning)
    probabilities = _head(features, settings.model, class_count)
    return keras.Model(pixels, probabilities, name=settings.model.name)


def release_last_layers(model: keras.Model, settings: FineTuning) -> None:
    """Let the last layers of a `fine_tune` model's backbone learn; its batch normalization stays frozen.

    The model must be compiled again to make this count.
    """
    backbone = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    backbone.trainable = True
    first_released = max(len(backbone.layers) - settings.released_layers, 0)
    for position, layer in enumerate(backbone.layers):
        layer.trainable = position >= first_released and not isinstance(layer, keras.layers.BatchNormalization)


def _convolutions(pixels: Any, model: Model) -> Any:
    maps = keras.layers.Rescaling(1 / 255)(pixels)
    for filters in model.filters:
        maps = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(maps)
        maps = keras.layers.BatchNormalization(momentum=BATCH_NORMALIZATION_MOMENTUM)(maps)
        maps = keras.layers.Activation("relu")(maps)
        maps = _pooled(maps, [2 if side >= 4 else 1 for side in maps.shape[1:3]])
    maps = _pooled(maps, [-(-side // MAX_FLATTENED_SIDE) for side in maps.shape[1:3]])
    return keras.layers.Flatten()(maps)


def _pooled(maps: Any, pool_size: list[int]) -> Any:
    return maps if max(pool_size) == 1 else keras.layers.MaxPooling2D(tuple(pool_size))(maps)


def _head(features: Any, model: Model, class_count: int) -> Any:
    for units, dropout in model.head:
        features = keras.layers.Dense(units, use_bias=False)(features)
        features = keras.layers.BatchNormalization(momentum=BATCH_NORMALIZATION_MOMENTUM)(features)
        features = keras.layers.Activation("relu")(features)
        features = keras.layers.Dropout(dropout)(features)
    # Probabilities stay float32 where the rest computes in a lower precision.
    return keras.layers.Dense(class_count, activation="softmax", dtype="float32", name="probabilities")(features)


def _backbone(pixels: Any, image: Image, settings: FineTuning) -> Any:
    build, preprocess = _application(settings.backbone)
    backbone = _with_weights(build, (image.height, image.width, 3), settings)
    backbone.trainable = False
    colors = keras.layers.Concatenate()([pixels] * 3) if image.channels == 1 else pixels
    # Batch normalization keeps its averages in both phases, as training=False says.
    return backbone(_preprocessed(colors, preprocess), training=False)


def _application(name: str) -> tuple[Any, Any]:
    """Return a backbone's builder and its preprocessing, which stands in the same module."""
    builders = dict(inspect.getmembers(keras.applications, inspect.isfunction))
    if name not in builders:
        hint = did_you_mean(name, list(builders))
        raise SettingsError(f"fine_tuning.backbone={name}: keras.applications has no such model{hint}")
    module: Any = inspect.getmodule(builders[name])
    return builders[name], module.preprocess_input


def _with_weights(build: Any, shape: tuple[int, int, int], settings: FineTuning) -> keras.Model:
    weights = None if settings.weights == "none" else settings.weights
    if weights not in (None, "imagenet") and not Path(weights).is_file():
        raise SettingsError(f"fine_tuning.weights={weights}: there is no such file in the container")
    try:
        return build(include_top=False, weights=weights, input_shape=shape, pooling="avg")
    except ValueError as error:
        raise SettingsError(f"{settings.backbone} cannot be built: {' '.join(str(error).split())}") from error
    except Exception as error:
        if weights != "imagenet":
            raise
        # Keras raises a plain Exception when a download fails.
        raise SettingsError(
            f"the imagenet weights of {settings.backbone} cannot be downloaded: give the job network access, or set "
            "fine_tuning.weights to a weights file in the container"
        ) from error


def _preprocessed(pixels: Any, preprocess: Any) -> Any:
    """Apply a backbone's own preprocessing as layers that can be saved: channels in its order, scaled and shifted."""
    # Each of them is such a map, and four colors tell which.
    probes = np.concatenate([np.zeros((1, 3)), 255 * np.eye(3)]).reshape((4, 1, 1, 3)).astype("float32")
    black, *primaries = np.asarray(preprocess(probes.copy())).reshape((4, 3))
    matrix = (np.stack(primaries) - black) / 255
    if matrix[0, 0] == 0:
        # No layer reorders channels but a convolution, and HDF5 knows layers only.
        reverse = keras.layers.Conv2D(3, 1, use_bias=False, trainable=False, name="reversed_channels")
        pixels, matrix = reverse(pixels), matrix[::-1]
        reverse.set_weights([np.eye(3)[::-1].reshape((1, 1, 3, 3))])
    return keras.layers.Rescaling(np.diag(matrix).tolist(), black.tolist())(pixels)
