"""Random changes of training batches by Keras's preprocessing layers, as the setting augmentation.layers names them."""

import inspect
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from container.modeling.augmentation import layers as augmentation_layers
from container.modeling.augmentation.checks import augmenting_layers, check_layer, reason_of, refused
from container.modeling.augmentation.layers import AFFINE, Affine, affine_fill
from container.modeling.settings import Augmentation, Image

logger = logging.getLogger(__name__)

# Images that each layer is tried on.
TRIED_IMAGES = 2


class Augmentor(keras.Model):
    """Changes a batch of images, each in a way of its own, and their targets where images are mixed.

    What it draws derives from the states of its seed generators alone, which are its `non_trainable_variables`.
    Rotation, zoom and others that move pixels have no XLA kernel, nor have MixUp and CutMix: call it outside of what
    XLA compiles.
    """

    def __init__(self, steps: list[keras.Layer]) -> None:
        super().__init__(name="augmentation")
        self.steps = steps

    def build(self, input_shape: Any) -> None:
        """Do nothing: no layer that augments has weights."""

    def call(self, pixels: Any, targets: Any = None, training: bool = True) -> Any:
        """Return changed pixels, float32 from 0 to 255; with targets, (pixels, targets).

        Shapes: pixels (batch, height, width, channels), 0 to 255; targets (batch, classes), float32.

        Raises:
            ValueError: MixUp or CutMix is among the layers, and no targets are given.
        """
        pixels = tf.cast(pixels, tf.float32)
        if training and self.steps:
            for step in self.steps:
                pixels, targets = _applied(step, pixels, targets)
            pixels = tf.clip_by_value(pixels, 0.0, 255.0)
        return pixels if targets is None else (pixels, targets)


@dataclass(frozen=True)
class AugmentationModel:
    """Keras's layers that augment images, by name and with their arguments, in the order in which they are applied."""

    aug_params: Mapping[str, Mapping[str, Any]]
    """For example `{"RandomFlip": {"mode": "horizontal"}, "RandomRotation": {"factor": 0.1}}`."""
    image: Image = field(default_factory=Image)
    """Size and channels of the images."""
    seed: int = 0
    """Seed of all that is drawn, 0 or more."""

    def build_augmented_model(self) -> Augmentor:
        """Return what changes batches; it computes in float32, also under a policy of mixed precision.

        Raises:
            SettingsError: a layer or an argument is unknown, wrong, or not for such images.
        """
        with _float32():
            for name, arguments in self.aug_params.items():
                check_layer(name, arguments, self.image)
                _try(name, arguments, self.image)
            layers = [
                _build(name, arguments, _seed(self.seed, position))
                for position, (name, arguments) in enumerate(self.aug_params.items())
            ]
            return Augmentor(_merged(layers))


def build_augmentor(settings: Augmentation, image: Image, seed: int) -> Augmentor:
    """Return what changes the batches of training steps; see `Augmentor.call`.

    Raises:
        SettingsError: a layer or an argument is unknown, wrong, or not for such images.
    """
    augmentor = AugmentationModel(settings.layers, image, seed).build_augmented_model()
    for name in settings.layers:
        if not _is_random(name):
            logger.warning("%s is no random change: the model learns from images unlike those that it will meet", name)
    return augmentor


@contextmanager
def _float32() -> Iterator[None]:
    """Give layers that are built inside this precision: Keras hands it on to the parts of some, but not of all."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


def _try(name: str, arguments: Mapping[str, Any], image: Image) -> None:
    """Augment images of noise: many a wrong argument shows only then."""
    shape = (TRIED_IMAGES, image.height, image.width, image.channels)
    noise = tf.constant(np.random.default_rng(0).uniform(0, 255, shape).astype("float32"))
    try:
        pixels, _ = _applied(_build(name, arguments, seed=0), noise, tf.eye(TRIED_IMAGES))
    except (ValueError, TypeError, NotImplementedError, tf.errors.OpError) as error:
        raise refused(name, reason_of(error), arguments) from error
    if pixels.shape != shape:
        raise refused(name, f"makes images of the shape {tuple(pixels.shape[1:])}, not {shape[1:]}", arguments)
    if not np.isfinite(pixels).all():
        raise refused(name, "makes pixels that are no numbers: change its arguments", arguments)


def _build(name: str, arguments: Mapping[str, Any], seed: int) -> keras.Layer:
    mended = getattr(augmentation_layers, name, None)
    layer = (mended or augmenting_layers()[name])(**arguments, **({"seed": seed} if _is_random(name) else {}))
    for part in (layer, getattr(layer, "random_saturation", None)):
        if isinstance(part, keras.layers.RandomSaturation):
            # Keras limits the saturation by it, which is a share whatever the range of the pixels.
            part.value_range = (0, 1)
    return layer


def _is_random(name: str) -> bool:
    return "seed" in inspect.signature(augmenting_layers()[name]).parameters


def _seed(seed: int, position: int) -> int:
    return int(np.random.SeedSequence((seed, position)).generate_state(1)[0])


def _applied(layer: keras.Layer, pixels: Any, targets: Any) -> tuple[Any, Any]:
    if not isinstance(layer, keras.layers.MixUp | keras.layers.CutMix):
        return layer(pixels, training=True), targets
    if targets is None:
        raise ValueError(f"{layer.name} changes targets too: call the augmentor with pixels and targets")
    mixed = layer({"images": pixels, "labels": targets}, training=True)
    return mixed["images"], mixed["labels"]


def _merged(layers: list[keras.Layer]) -> list[keras.Layer]:
    """Return the layers, each run of affine ones that fill up images in the same way as one."""
    runs: list[list[keras.Layer]] = []
    for layer in layers:
        if runs and _are_one_map([*runs[-1], layer]):
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return [run[0] if len(run) == 1 else Affine(run) for run in runs]


def _are_one_map(layers: list[keras.Layer]) -> bool:
    return (
        all(isinstance(layer, AFFINE) for layer in layers) and len({affine_fill(layer) for layer in layers} - {()}) < 2
    )
