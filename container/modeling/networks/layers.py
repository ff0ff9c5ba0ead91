"""What is done with Keras's networks: their layers one by one, copies, what stands before the head."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

HEAD_LAYERS = (
    keras.layers.Activation,
    keras.layers.BatchNormalization,
    keras.layers.Dense,
    keras.layers.Dropout,
    keras.layers.ReLU,
    keras.layers.Softmax,
)


class DifferentNetworksError(Exception):
    """The weights of one network do not fit another; the text says where."""


def leaves(network: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yield a network's layers in their order; in the place of a network within it, the layers of that one."""
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from leaves(layer)
        else:
            yield layer


def weighted(network: keras.Model) -> list[keras.layers.Layer]:
    """Return the layers that have weights."""
    return [layer for layer in leaves(network) if layer.weights]


def set_weights(layer: keras.layers.Layer, weights: list[Any]) -> None:
    """Set a layer's weights; unlike its own method, also what it derives from them."""
    layer.set_weights(weights)
    if isinstance(layer, keras.layers.Normalization):
        layer.finalize_state()


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Give a network the weights of one of the same architecture.

    Raises:
        DifferentNetworksError: their layers' weights have other shapes; nothing was copied.
    """
    sources, targets = weighted(source), weighted(target)
    check_alike(sources, targets)
    for one, other in zip(sources, targets, strict=True):
        set_weights(other, one.get_weights())


def check_alike(sources: list[keras.layers.Layer], targets: list[keras.layers.Layer]) -> None:
    """See that layers have weights of the same shapes.

    Raises:
        DifferentNetworksError: they have not.
    """
    for number, (one, other) in enumerate(zip(sources, targets, strict=False), start=1):
        if _shapes(one) != _shapes(other):
            raise DifferentNetworksError(
                f"of its layers with weights, number {number} ({type(one).__name__}) has {_written(one)}, but here "
                f"({type(other).__name__}) {_written(other)}"
            )
    if len(sources) != len(targets):
        raise DifferentNetworksError(f"it has {len(sources)} layers with weights, but here are {len(targets)}")


def in_plain_layers(network: keras.Model) -> keras.Model:
    """Return a network of keras.applications made of Keras's public layers only, with the same weights.

    Keras saves others as HDF5, but cannot load them: MobileNetV3, ConvNeXt and InceptionResNetV2 have some.
    """

    def call(layer: Any, *inputs: Any, **options: Any) -> Any:
        kind = type(layer).__name__
        if kind == "CustomScaleLayer":
            first, second = inputs[0]
            return keras.layers.Add()([first, keras.layers.Rescaling(layer.scale)(second)])
        if kind == "LayerScale":
            return _scaled_per_channel(layer, inputs[0])
        if isinstance(layer, keras.layers.Layer) or kind not in ("Add", "Multiply"):
            return layer(*inputs, **options)
        # What `a + b` and `a * b` became, of two maps or of one and a number.
        if not np.isscalar(inputs[1]):
            return getattr(keras.layers, kind)()(list(inputs))
        return keras.layers.Rescaling(*((1.0, inputs[1]) if kind == "Add" else (inputs[1],)))(inputs[0])

    plain = keras.models.clone_model(network, clone_function=lambda layer: layer, call_function=call)
    return keras.Model(plain.input, plain.output, name=network.name)


def _scaled_per_channel(layer: Any, maps: Any) -> Any:
    scale = keras.layers.EinsumDense("bhwc,c->bhwc", maps.shape[1:], name=layer.name)
    scaled = scale(maps)
    scale.set_weights(layer.get_weights())
    return scaled


def under_present_policy(network: keras.Model) -> keras.Model:
    """Return a network that computes with the numbers of the present dtype policy, with the same weights."""
    policy = keras.config.dtype_policy().name
    if all(layer.dtype_policy.name == policy for layer in leaves(network)):
        return network

    def copied(layer: Any) -> Any:
        return type(layer).from_config(layer.get_config() | {"dtype": policy})

    copy = keras.models.clone_model(network, clone_function=copied, recursive=True)
    copy_weights(network, copy)
    return copy


def before_head(network: keras.Model) -> Any:
    """Return what the network's head begins with, shape (batch, features).

    The head is all at the end that a head is made of: dense layers, and what stands between them. Where nothing
    that learns would be left, it is the last dense layer and what follows.

    Raises:
        DifferentNetworksError: the network has no dense layer at its end.
    """
    layers = list(network.layers)
    first = len(layers)
    while first > 0 and isinstance(layers[first - 1], HEAD_LAYERS):
        first -= 1
    head = layers[first:]
    if not any(layer.weights for layer in layers[:first]):
        head = [layer for layer in head if isinstance(layer, keras.layers.Dense)][-1:]
    if not any(isinstance(layer, keras.layers.Dense) for layer in head):
        raise DifferentNetworksError("it has no dense layer at its end")
    features = head[0].input
    if len(features.shape) == 4:
        return keras.layers.GlobalAveragePooling2D()(features)
    return features if len(features.shape) == 2 else keras.layers.Flatten()(features)


def _shapes(layer: keras.layers.Layer) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in layer.weights]


def _written(layer: keras.layers.Layer) -> str:
    return ", ".join("x".join(map(str, shape)) or "a number" for shape in _shapes(layer))


def synchronize_batch_normalization(model: keras.Model, is_synchronized: bool) -> None:
    """Let batch normalization take its statistics from all devices, or from each alone; before anything is traced."""
    for layer in leaves(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = is_synchronized
