"""The compiled training step: augment, predict, compare, change the weights; and predictions for a whole set."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from container.modeling.networks.models import class_probabilities
from container.modeling.optimization.losses import LossFunction

# Random numbers that a layer may draw in a step before it meets those of the next one.
DRAWS_PER_STEP = 1024

BatchAugmentor = Callable[[Any, Any], tuple[Any, Any]]
"""Changes pixels (batch, height, width, channels) and targets (batch, classes), both float32."""


@dataclass(frozen=True)
class Totals:
    """What the steps of an epoch came to so far."""

    loss: float
    """Mean over the images."""
    accuracy: float
    """Share of the images, as they were augmented."""


class TrainingSteps:
    """The training steps of a phase: of one model with one optimizer.

    Randomness is a function of (seeds, step): the state of each random generator in the model and the augmentor is set
    before each step, so that a step is the same whether or not training was interrupted before it.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        loss: LossFunction,
        augmentor: BatchAugmentor,
        class_count: int,
        xla: bool,
    ) -> None:
        self._model, self.optimizer, self._loss, self._augmentor = model, optimizer, loss, augmentor
        self._class_count = class_count
        optimizer.build(model.trainable_variables)
        self._generators = _seed_states(model) + _seed_states(augmentor)
        # Sums over the images of the epoch: loss, correct predictions, images.
        self._sums = tf.Variable(tf.zeros(3, tf.float64), trainable=False)
        self._update = tf.function(self._change_weights, jit_compile=xla or None)
        self._run = tf.function(self._several)

    def run(self, batches: Any, first: int, count: int, seed: int, epoch: int) -> None:
        """Take `count` batches from an iterator and train on them; `first` is the first one's number in its epoch."""
        self._run(batches, tf.constant(first), tf.constant(count), tf.constant(self._seeds(seed, epoch)))

    @property
    def totals(self) -> Totals:
        """What the epoch's steps came to so far."""
        loss, correct, images = self._sums.numpy()
        return Totals(loss / max(images, 1), correct / max(images, 1))

    def reset(self) -> None:
        """Begin an epoch."""
        self._sums.assign(tf.zeros_like(self._sums))

    @property
    def variables(self) -> list[Any]:
        """What the steps go on by, beside the model's weights: the optimizer's variables, the epoch's sums."""
        return [*self.optimizer.variables, self._sums]

    def _seeds(self, seed: int, epoch: int) -> NDArray[np.uint32]:
        """Return a seed for each random generator, all of them different in each epoch."""
        sequence = np.random.SeedSequence((seed, epoch))
        return sequence.generate_state(max(len(self._generators), 1)).astype(np.uint32)

    def _several(self, batches: Any, first: Any, count: Any, seeds: Any) -> None:
        for number in tf.range(count):
            pixels, labels, weights = next(batches)
            self._set_generators(seeds, first + number)
            targets = tf.one_hot(labels, self._class_count)
            pixels, targets = self._augmentor(tf.cast(pixels, tf.float32), targets)
            self._update(pixels, targets, weights)

    def _set_generators(self, seeds: Any, step: Any) -> None:
        counter = tf.cast(step * DRAWS_PER_STEP, tf.uint32)
        for position, state in enumerate(self._generators):
            state.assign(tf.stack([seeds[position], counter]))

    def _change_weights(self, pixels: Any, targets: Any, weights: Any) -> None:
        with tf.GradientTape() as tape:
            outputs = self._model(pixels, training=True)
            loss = self._loss(targets, outputs, weights)
            # What a model of the user's own adds, such as a penalty on large weights.
            total = tf.add_n([loss, *self._model.losses])
            scaled = self.optimizer.scale_loss(total)
        variables = self._model.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(scaled, variables), variables, strict=True))
        predicted = tf.argmax(class_probabilities(outputs), axis=-1)
        images = tf.cast(tf.shape(pixels)[0], tf.float64)
        correct = tf.reduce_sum(tf.cast(predicted == tf.argmax(targets, axis=-1), tf.float64))
        self._sums.assign_add(tf.stack([tf.cast(loss, tf.float64) * images, correct, images]))


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a model says of a set of images, and what is true."""

    outputs: Any
    """As the model returns them."""
    targets: Any
    """Shape (images, classes)."""

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """Of each class, shape (images, classes)."""
        return np.asarray(class_probabilities(self.outputs))

    def loss(self, loss: LossFunction) -> float:
        """Return the mean loss, all images alike."""
        return float(loss(self.targets, self.outputs, tf.ones(len(self.targets))))


class Predictor:
    """A model's predictions for a set of images."""

    def __init__(self, model: keras.Model, class_count: int) -> None:
        self._class_count = class_count
        self._outputs = tf.function(lambda pixels: model(tf.cast(pixels, tf.float32), training=False))

    def __call__(self, batches: Any, is_in_vain: Callable[[], bool] = lambda: False) -> Outputs | None:
        """Predict what an iterator of pixels, labels and weights has, as `Batches.iterate` returns it.

        Returns None as soon as `is_in_vain`, which is asked before each batch.
        """
        found = []
        for pixels, labels, _ in batches:
            if is_in_vain():
                return None
            found.append((self._outputs(pixels), labels))
        outputs, labels = (tf.concat(parts, axis=0) for parts in zip(*found, strict=True))
        return Outputs(outputs, tf.one_hot(labels, self._class_count))


def _seed_states(layer: Any) -> list[Any]:
    """Return the states of a layer's random generators; none where it is a plain function."""
    variables = getattr(layer, "non_trainable_variables", [])
    return [variable for variable in variables if variable.name == "seed_generator_state"]
