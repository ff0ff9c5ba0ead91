"""Builds the function that training makes small."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import keras

from container.modeling.container_settings import Loss

LossFunction = Callable[[Any, Any, Any], Any]
"""Takes targets (batch, classes), the model's outputs and weights (batch,), all float32; returns a scalar."""


def build_loss(settings: Loss, output: Literal["softmax", "sigmoid"]) -> LossFunction:
    """Return a function that compares a model's outputs with the targets.

    The targets are the share of each class in an image; after MixUp or CutMix, one may be of several. The outputs are
    the classes' probabilities; with `sigmoid` that of the second of two classes alone, shape (batch, 1), and the loss
    is the one that both probabilities would have. With weights of 1 it is the plain loss, as validation wants it.

    Weighted losses are summed and divided by the number of images, as Keras does with `sample_weight`: divided by the
    sum of the weights instead, an image would count more or less by chance, by which others share its batch.
    """
    if settings.name == "focal":
        # Its factor alpha, which weighs classes, is left at 1: `loss.balance` and `loss.class_weights` do that, and are
        # an option of focal loss's authors too (https://arxiv.org/abs/1708.02002, section 3.1).
        compare = partial(
            keras.losses.categorical_focal_crossentropy,
            alpha=1.0,
            gamma=settings.focal_gamma,
            label_smoothing=settings.label_smoothing,
        )
        # Keras's binary focal loss is another one for mixed targets, and its gradient is infinite at a probability of 1
        # where gamma is below 1.
        losses = _of_both_classes(compare) if output == "sigmoid" else compare
    elif output == "sigmoid":
        losses = _of_second_class(partial(keras.losses.binary_crossentropy, label_smoothing=settings.label_smoothing))
    else:
        losses = partial(keras.losses.categorical_crossentropy, label_smoothing=settings.label_smoothing)

    def loss(targets: Any, outputs: Any, weights: Any) -> Any:
        return keras.ops.mean(losses(targets, outputs) * weights)

    return loss


def _of_both_classes(compare: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda targets, outputs: compare(targets, keras.ops.concatenate([1 - outputs, outputs], axis=-1))


def _of_second_class(compare: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    # The outputs go on untouched: Keras finds the sigmoid's input by them, and is exact where they round to 0 or 1.
    return lambda targets, outputs: compare(targets[:, 1:], outputs)
