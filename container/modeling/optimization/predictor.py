"""A model's predictions for a whole set of images, by all devices of all hosts."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from container.modeling.distribution import Distribution
from container.modeling.input_pipeline.batches import NO_IMAGE, Batches, rows_of
from container.modeling.networks.models import class_probabilities
from container.modeling.optimization.losses import LossFunction


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a model says of the images of a set that can be read, and what is true."""

    outputs: NDArray[np.float32]
    """As the model returns them, shape (images, outputs)."""
    labels: NDArray[np.int32]
    """Position of each image's class, shape (images,)."""
    names: tuple[str, ...]
    """Of the images; none where nobody asked for them."""
    class_count: int

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """Of each class, shape (images, classes)."""
        return np.asarray(class_probabilities(self.outputs))

    def loss(self, loss: LossFunction) -> float:
        """Return the mean loss, all images alike."""
        targets = tf.one_hot(self.labels, self.class_count)
        return float(loss(targets, tf.constant(self.outputs), tf.ones(len(self.labels))))


class Predictor:
    """Predicts sets of images; every host gets the predictions of all."""

    def __init__(self, model: keras.Model, class_count: int, distribution: Distribution) -> None:
        self._class_count, self._distribution = class_count, distribution
        self._width = model.output_shape[-1]
        self._forward = lambda pixels: model(tf.cast(pixels, tf.float32), training=False)
        pixels = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)
        # One trace for batches of all sizes.
        signature = [[pixels] * distribution.replicas.local]
        self._outputs = tf.function(self._outputs_of, input_signature=signature, autograph=False)

    def __call__(
        self, batches: Batches, is_in_vain: Callable[[], bool] = lambda: False, with_names: bool = False
    ) -> Outputs | None:
        """Predict the images of a set, in order; with several hosts that have different ones, host by host.

        Args:
            batches: of the set.
            is_in_vain: asked before each batch; where it is, None is returned. All hosts must answer alike.
            with_names: whether the names are wanted too.

        Raises:
            DataError: too many images cannot be read.
        """
        positions = self._share(batches)
        local = self._distribution.replicas.local
        rows = rows_of(positions, batches.batch_size)
        rows = np.pad(rows, ((0, -len(rows) % local), (0, 0)), constant_values=NO_IMAGE)
        calls = int(self._distribution.gather(np.array([len(rows) // local])).max())
        found, outputs, labels = iter(batches.iterate(rows)), [], []
        for number in range(calls):
            if is_in_vain():
                return None
            if number < len(rows) // local:
                parts = [next(found) for _ in range(local)]
                outputs += self._outputs([pixels for pixels, _, _ in parts])
                labels += [batch_labels for _, batch_labels, _ in parts]
        batches.check_broken(self._distribution.gather)
        return self._of_all_hosts(batches, positions, outputs, labels, with_names)

    def _share(self, batches: Batches) -> NDArray[np.int64]:
        """Return the positions of the images that are this host's to predict."""
        positions = np.arange(len(batches.images))
        replicas = self._distribution.replicas
        return positions if batches.images.is_share else positions[replicas.host :: replicas.hosts]

    def _of_all_hosts(
        self, batches: Batches, positions: NDArray[np.int64], outputs: list[Any], labels: list[Any], with_names: bool
    ) -> Outputs:
        found = np.concatenate([np.empty(0, np.int32), *labels])
        predicted = np.concatenate([np.empty((0, self._width), np.float32), *outputs])[found != NO_IMAGE]
        # In place of each image that is broken stands another one without a label, and at the end may be fillers.
        positions, found = positions[found[: len(positions)] != NO_IMAGE], found[found != NO_IMAGE]
        names: list[str] = []
        if with_names:
            own = json.dumps([batches.images.names[position] for position in positions])
            names = [name for host in self._distribution.gather_texts(own) for name in json.loads(host)]
        predicted, found, positions = map(self._distribution.gather, (predicted, found, positions))
        order = np.arange(len(found)) if batches.images.is_share else np.argsort(positions)
        return Outputs(
            predicted[order], found[order], tuple(names[position] for position in order if names), self._class_count
        )

    def _outputs_of(self, parts: list[Any]) -> list[Any]:
        return self._distribution.local_values(self._distribution.run(self._forward, parts))
