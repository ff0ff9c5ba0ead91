"""The compiled training step: augment, predict, compare, change the weights, on all devices."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from container.modeling.distribution import Distribution, expect_summed_gradients
from container.modeling.input_pipeline.batches import NO_IMAGE
from container.modeling.networks.models import class_probabilities
from container.modeling.optimization.losses import LossFunction
from container.modeling.optimization.measures import ExplodedStep, Measured, Measures

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
    measured: Measured


class TrainingSteps:
    """The training steps of a phase: of one model with one optimizer, on all devices of this host.

    Randomness is a function of (seeds, step, device): the state of each random generator in the model and the augmentor
    is set before each step, so that a step is the same whether or not training was interrupted before it.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        loss: LossFunction,
        augmentor: BatchAugmentor,
        class_count: int,
        batch_size: int,
        xla: bool,
        distribution: Distribution,
        exploding_gradient: float = math.inf,
    ) -> None:
        self._model, self.optimizer, self._loss, self._augmentor = model, optimizer, loss, augmentor
        self._class_count, self._distribution = class_count, distribution
        with distribution.scope():
            optimizer.build(model.trainable_variables)
            # Sums over the images of the epoch: loss, correct predictions, images.
            self._sums = tf.Variable(tf.zeros(3, tf.float64), trainable=False)
        self._measures = Measures(model.trainable_variables, exploding_gradient, distribution)
        self._is_scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        expect_summed_gradients(optimizer)
        counted = [variable for variable in model.non_trainable_variables if "float" in str(variable.dtype)]
        self._settle = distribution.averager(counted)
        self._generators = _seed_states(model) + _seed_states(augmentor)
        compiled = partial(tf.function, jit_compile=True, autograph=False)
        # XLA cannot compile what devices tell each other.
        several = distribution.replicas.count > 1
        # Images of a whole step on all devices; None: there is one device.
        self._step_images = float(batch_size * distribution.replicas.count) if several else None
        self._gradients = compiled(self._local_gradients) if xla and several else self._local_gradients
        self._update = compiled(self._change_weights) if xla and not several else self._change_weights
        self._run = tf.function(self._several, autograph=False)

    def run(self, batches: Any, first: int, count: int, seed: int, epoch: int) -> ExplodedStep | None:
        """Train `count` steps; `first` is the first one's number in its epoch.

        Returns the epoch's first step that exploded, where it is not the very last one: that one is not waited for.

        Args:
            batches: an iterator; each step takes a batch for each device of this host.
            first: see above.
            count: see above.
            seed: of the training.
            epoch: from 0.
        """
        self._run(batches, tf.constant(first), tf.constant(count), tf.constant(self._seeds(seed, epoch)))
        return self._measures.exploded_before

    @property
    def totals(self) -> Totals:
        """What the epoch's steps came to so far."""
        loss, correct, images = self._sums.numpy()
        return Totals(loss / max(images, 1), correct / max(images, 1), self._measures.measured)

    def reset(self) -> None:
        """Begin an epoch."""
        self._sums.assign(tf.zeros_like(self._sums))
        self._measures.reset()

    def settle(self) -> None:
        """Give what each device counts for itself, as batch normalization's averages, the mean over all devices."""
        self._settle()

    @property
    def variables(self) -> list[Any]:
        """What the steps go on by, beside the model's weights: the optimizer's variables, the epoch's sums."""
        return [*self.optimizer.variables, self._sums, *self._measures.variables]

    def _seeds(self, seed: int, epoch: int) -> NDArray[np.uint32]:
        """Return a seed for each random generator of each device, all of them different in each epoch."""
        first, count = self._distribution.replicas.first, max(len(self._generators), 1)
        replicas = range(first, first + self._local)
        entropies = ((seed, epoch, replica) for replica in replicas)
        return np.stack([np.random.SeedSequence(entropy).generate_state(count) for entropy in entropies])

    @property
    def _local(self) -> int:
        return self._distribution.replicas.local

    def _several(self, batches: Any, first: Any, count: Any, seeds: Any) -> None:
        def one_step(number: Any) -> tuple[Any]:
            parts = zip(*self._measures.next_batches(batches, self._local), strict=True)
            steps = [first + number] * self._local
            self._distribution.run(self._step, *map(list, parts), steps, tf.unstack(seeds))
            return (number + 1,)

        tf.while_loop(lambda number: number < count, one_step, (0,), parallel_iterations=1)

    def _step(self, pixels: Any, labels: Any, weights: Any, step: Any, seeds: Any) -> None:
        self._set_generators(seeds, step)
        # That of no image is none of the classes.
        targets = tf.one_hot(labels, self._class_count)
        pixels, targets = self._augmentor(tf.cast(pixels, tf.float32), targets)
        self._update(pixels, targets, weights, labels != NO_IMAGE)

    def _set_generators(self, seeds: Any, step: Any) -> None:
        counter = tf.cast(step * DRAWS_PER_STEP, tf.uint32)
        for position, state in enumerate(self._generators):
            state.assign(tf.stack([seeds[position], counter]))

    def _change_weights(self, pixels: Any, targets: Any, weights: Any, is_image: Any) -> None:
        gradients, sums = self._gradients(pixels, targets, weights, is_image)
        pairs = zip(gradients, self._model.trainable_variables, strict=True)
        # The loss need not depend on each weight.
        known = [(gradient, variable) for gradient, variable in pairs if gradient is not None]
        # In one message, and in one type, since it is packed.
        *totals, sums = self._distribution.sum([*(gradient for gradient, _ in known), sums])
        if self._step_images is not None:
            # Fillers are none of the images.
            images = tf.maximum(sums[-1], 1)
            totals = [total * (self._step_images / images) for total in totals]
        self._measure(gradients, totals, sums)
        self.optimizer.apply_gradients(zip(totals, (variable for _, variable in known), strict=True))
        self._sums.assign_add(tf.cast(sums, tf.float64))

    def _measure(self, gradients: list[Any], totals: list[Any], sums: Any) -> None:
        found = iter(totals)
        of_variables = [None if gradient is None else next(found) for gradient in gradients]
        loss, _, images = tf.unstack(sums)
        scale = self.optimizer.scale_loss(tf.constant(1.0)) if self._is_scaled else None
        self._measures.add_step(of_variables, loss / tf.maximum(images, 1), scale)

    def _local_gradients(self, pixels: Any, targets: Any, weights: Any, is_image: Any) -> tuple[list[Any], Any]:
        """Return gradients of the batch's mean loss, and sums over its images: loss, correct predictions, images."""
        images = tf.cast(tf.shape(pixels)[0], tf.float32)
        with tf.GradientTape() as tape:
            outputs = self._model(pixels, training=True)
            loss = self._loss(targets, outputs, weights)
            # What a model of the user's own adds, such as a penalty on large weights.
            total = tf.add_n([loss, *self._model.losses])
            if self._step_images is not None:
                # Before the gradients are taken: synchronized batch normalization hands them on from one device to the
                # others, which may have another number of images.
                total *= images / self._step_images
            scaled = self.optimizer.scale_loss(total)
        gradients = tape.gradient(scaled, [variable.value for variable in self._model.trainable_variables])
        predicted = tf.argmax(class_probabilities(outputs), axis=-1)
        is_correct = is_image & (predicted == tf.argmax(targets, axis=-1))
        counts = [tf.reduce_sum(tf.cast(flags, tf.float32)) for flags in (is_correct, is_image)]
        return gradients, tf.stack([tf.cast(loss, tf.float32) * images, *counts])


def _seed_states(layer: Any) -> list[Any]:
    """Return the states of a layer's random generators; none where it is a plain function."""
    variables = getattr(layer, "non_trainable_variables", [])
    return [variable for variable in variables if variable.name == "seed_generator_state"]
