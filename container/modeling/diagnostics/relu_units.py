"""Which units of a network are 0 whatever image it sees: of its layers with relu, from the first that learns on."""

import re
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from container.modeling.diagnostics.errors import NotCheckedError
from container.modeling.diagnostics.rules import LayerUnits
from container.modeling.input_pipeline.batches import Batches, rows_of
from container.modeling.networks.layers import leaves

# Images that are looked at, at most; and those without which a unit that is often 0 cannot be told from a dead one.
MOST_IMAGES, LEAST_IMAGES = 256, 64
# TensorFlow's operations that are 0 for all numbers below 0, whichever layer or function they come from.
RELUS = ("Relu", "Relu6")


class ReluUnits:
    """The units of a network's relus: of networks inside it too, and of a class or a function of the user's own.

    They are found in the graph that TensorFlow makes of the network. Frozen layers before the first one that learns are
    left out: training does not change what they say of an image.
    """

    def __init__(self, model: keras.Model, images: Batches) -> None:
        """Prepare.

        Raises:
            NotCheckedError: there are too few images.
        """
        if len(images.images) < LEAST_IMAGES:
            raise NotCheckedError(f"there are fewer than {LEAST_IMAGES} validation images")
        self._model, self._images = model, images
        self._layers: list[str] = []
        pixels = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)
        self._largest = tf.function(self._largest_outputs, input_signature=[pixels], autograph=False)
        count = len(images.images)
        # All over the set, which is in the order of its classes.
        self.positions = np.linspace(0, count - 1, min(count, MOST_IMAGES)).round().astype(np.int64)

    positions: NDArray[np.int64]
    """Those of the images that are looked at."""

    def look(self) -> tuple[LayerUnits, ...]:
        """Return the units of each relu of a layer that learns, or that follows one.

        Raises:
            NotCheckedError: there is none.
        """
        largest: list[NDArray[Any]] = []
        for pixels, _, _ in self._images.iterate(rows_of(self.positions, self._images.batch_size)):
            outputs = [np.asarray(output) for output in self._largest(pixels)]
            largest = [np.maximum(*pair) for pair in zip(largest, outputs, strict=True)] if largest else outputs
        frozen = self._frozen()
        units = tuple(
            LayerUnits(layer, len(values), int((values == 0).sum()))
            for layer, values in zip(self._layers, largest, strict=True)
            if layer not in frozen
        )
        if not units:
            raise NotCheckedError("no layer that learns has relu")
        return units

    def _largest_outputs(self, pixels: Any) -> list[Any]:
        """Return the largest output of each relu's units over all images, and places in them: shapes (units,)."""
        # Converted within the function, so that the graph is that of the network alone.
        self._model(tf.cast(pixels, tf.float32), training=False)
        operations = tf.compat.v1.get_default_graph().get_operations()
        relus = [relu for relu in operations if relu.type in RELUS and relu.outputs[0].shape[-1:].is_fully_defined()]
        self._layers = [self._layer_of(relu.name) for relu in relus]
        outputs = [relu.outputs[0] for relu in relus]
        return [tf.reduce_max(output, axis=range(len(output.shape) - 1)) for output in outputs]

    def _layer_of(self, operation: str) -> str:
        """Return the name of the layer that an operation is of, by the scopes in its name: `model_1/relu_3_1/Relu`."""
        scopes = operation.split("/")[:-1]
        # Keras enters a layer's scope more than once, so that TensorFlow adds a number to its name.
        if scopes and scopes[0] != self._model.name:
            scopes = [re.sub(r"_\d+$", "", scope) for scope in scopes]
        names = {layer.name for layer in leaves(self._model)}
        return next((scope for scope in reversed(scopes) if scope in names), "/".join(scopes[1:]) or operation)

    def _frozen(self) -> set[str]:
        """Return the names of the layers before the first one that learns."""
        names = set()
        for layer in leaves(self._model):
            if layer.trainable_variables:
                break
            names.add(layer.name)
        return names
