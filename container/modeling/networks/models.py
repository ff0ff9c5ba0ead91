"""Builds the networks that model.name chooses from.

Each takes float32 pixels, 0 to 255, of shape (batch, height, width, channels), rescales them itself, and returns
float32 probabilities: of each class, shape (batch, classes), or of the second of two, shape (batch, 1), where
model.output is sigmoid.
"""

import math
from typing import Any

import keras
import numpy as np

from container.errors import SettingsError
from container.modeling.networks.backbones import BACKBONE, REVERSED_CHANNELS, WeightFolders, on_backbone
from container.modeling.networks.layers import leaves
from container.modeling.own_parts.parts import ModelBuilder
from container.modeling.settings import ContainerSettings, FineTuning, Model

# Batch normalization's usual 0.99 needs thousands of steps before its averages mean something; small data has fewer.
BATCH_NORMALIZATION_MOMENTUM = 0.9
# The smallest map that halving aims at, in pixels a side.
SMALLEST_SIDE = 4
# The largest map, in pixels a side, that is flattened into the dense layer: larger ones would give it too many weights.
MAX_FLATTENED_SIDE = 8
# Where the image has weights from ImageNet, and nothing else.
NO_CHANNEL = WeightFolders()


def build_model(
    settings: ContainerSettings,
    class_count: int,
    preprocessor: keras.Layer | None = None,
    builder: ModelBuilder | None = None,
    folders: WeightFolders = NO_CHANNEL,
) -> keras.Model:
    """Return the network that the settings ask for, with its first weights; not compiled.

    Args:
        settings: which network, for which images.
        class_count: how many classes there are.
        preprocessor: a layer that the pixels pass first; it becomes a part of the model.
        builder: makes the network where model.name names a function.
        folders: where first weights may lie.

    Raises:
        SettingsError: the settings do not fit each other or the classes, there are no such weights, or the user's
            own part does not return what it should.
    """
    if settings.model.output == "sigmoid" and class_count != 2:
        raise SettingsError(f"model.output=sigmoid is for two classes, and there are {class_count}: set it to softmax")
    shape = (settings.image.height, settings.image.width, settings.image.channels)
    pixels = keras.Input(shape, name="pixels")
    maps = pixels if preprocessor is None else _preprocessed(pixels, preprocessor)
    if builder is not None:
        network = builder(settings.image, class_count)
        return _of_builder(pixels, maps, network, settings.model, class_count)
    if settings.model.name == "baseline":
        features = _convolutions(maps, settings.model)
    elif settings.model.name == "fine_tune":
        features = on_backbone(maps, _first_weights(settings), folders)
    else:
        raise SettingsError(f"model.name={settings.model.name} is a function, which was not loaded")
    return keras.Model(pixels, _head(features, settings.model, class_count), name=settings.model.name)


def class_probabilities(outputs: Any) -> Any:
    """Return the probability of each class, shape (batch, classes), for what a model returns.

    A sigmoid's single column becomes two. A NumPy array stays one; of a tensor is made a tensor.
    """
    if outputs.shape[-1] != 1:
        return outputs
    join = np.concatenate if isinstance(outputs, np.ndarray) else keras.ops.concatenate
    return join([1 - outputs, outputs], axis=-1)


def release_last_layers(model: keras.Model, settings: FineTuning) -> None:
    """Let the last layers of a `fine_tune` model's backbone learn; its batch normalization stays frozen."""
    backbone = model.get_layer(BACKBONE)
    backbone.trainable = True
    layers = list(leaves(backbone))
    first_released = max(len(layers) - settings.released_layers, 0)
    for position, layer in enumerate(layers):
        is_fixed = isinstance(layer, keras.layers.BatchNormalization) or layer.name == REVERSED_CHANNELS
        layer.trainable = position >= first_released and not is_fixed


def _first_weights(settings: ContainerSettings) -> FineTuning:
    """Return the backbone's settings: it needs no weights of its own where the whole model gets others."""
    return settings.fine_tuning.model_copy(update={"weights": "none"} if settings.model.initial_weights else {})


def _preprocessed(pixels: Any, preprocessor: keras.Layer) -> Any:
    maps = preprocessor(pixels)
    if len(maps.shape) != 4 or None in maps.shape[1:]:
        raise SettingsError(
            f"parts.preprocessor makes {maps.shape} of pixels of shape {pixels.shape}: it must make maps of one size, "
            "of shape (batch, height, width, channels)"
        )
    return maps


def _of_builder(pixels: Any, maps: Any, network: keras.Model, settings: Model, class_count: int) -> keras.Model:
    """Return a network of the user's own with what comes before it.

    Raises:
        SettingsError: it takes or returns something else than it should.
    """
    if settings.output == "sigmoid":
        raise SettingsError(
            f"model.output=sigmoid is for baseline and fine_tune: {settings.name} returns the probability of each "
            "class; leave model.output at softmax"
        )
    try:
        outputs = network(maps)
    # The network is the user's own, and raises what it likes.
    except Exception as error:
        raise SettingsError(
            f"the model of {settings.name} must take pixels of shape {maps.shape}: {type(error).__name__}: "
            f"{' '.join(str(error).split())}"
        ) from error
    if getattr(outputs, "shape", None) != (None, class_count):
        found = f"shape {outputs.shape}" if hasattr(outputs, "shape") else "several outputs"
        raise SettingsError(
            f"the model of {settings.name} must return the probabilities of {class_count} classes, shape "
            f"{(None, class_count)}, but returns {found}"
        )
    return network if maps is pixels else keras.Model(pixels, outputs, name=network.name)


def _convolutions(pixels: Any, model: Model) -> Any:
    maps = keras.layers.Rescaling(1 / 255)(pixels)
    for filters, halves in zip(model.filters, _halvings(min(maps.shape[1:3])), strict=True):
        maps = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(maps)
        maps = keras.layers.BatchNormalization(momentum=BATCH_NORMALIZATION_MOMENTUM)(maps)
        maps = keras.layers.Activation("relu")(maps)
        maps = _pooled(maps, [2 if side >= 4 else 1 for side in maps.shape[1:3]]) if halves else maps
    maps = _pooled(maps, [-(-side // MAX_FLATTENED_SIDE) for side in maps.shape[1:3]])
    return keras.layers.Flatten()(maps)


def _halvings(side: int) -> tuple[bool, ...]:
    """Return after which of the five layers maps of so many pixels a side are halved.

    Small images are halved so often that about 4 pixels a side remain, and late: there is little to see in fewer.
    """
    count = min(max(round(math.log2(side / SMALLEST_SIDE)), 0), 5)
    after = {0: (), 1: (4,), 2: (1, 3), 3: (1, 3, 4), 4: (0, 1, 3, 4), 5: (0, 1, 2, 3, 4)}[count]
    return tuple(layer in after for layer in range(5))


def _pooled(maps: Any, pool_size: list[int]) -> Any:
    return maps if max(pool_size) == 1 else keras.layers.MaxPooling2D(tuple(pool_size))(maps)


def _head(features: Any, model: Model, class_count: int) -> Any:
    for units, dropout in model.head:
        features = keras.layers.Dense(units, use_bias=False)(features)
        features = keras.layers.BatchNormalization(momentum=BATCH_NORMALIZATION_MOMENTUM)(features)
        features = keras.layers.Activation("relu")(features)
        features = keras.layers.Dropout(dropout)(features)
    units = 1 if model.output == "sigmoid" else class_count
    # Probabilities stay float32 where the rest computes in a lower precision.
    return keras.layers.Dense(units, activation=model.output, dtype="float32", name="probabilities")(features)
