"""What is measured in each training step: how large its gradients are, and how long it waited for images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from container.modeling.distribution import Distribution

# Where Python reads without waiting for a GPU.
HOST = "CPU:0"


@dataclass(frozen=True)
class VariableGradients:
    """The gradients of a trainable variable in the steps of an epoch."""

    path: str
    """Keras's name for the variable, with that of its layer before the last `/`."""
    size: int
    """Weights in it."""
    mean_square: float
    """Mean over the weights and the steps."""


@dataclass(frozen=True)
class ExplodedStep:
    """A step from whose weights training cannot go on."""

    step: int
    """Number in its epoch, from 1."""
    loss: float
    """Mean over the step's images."""
    gradient_norm: float
    """Of all gradients together, before they are clipped."""


@dataclass(frozen=True)
class Measured:
    """What was measured in an epoch so far."""

    data_seconds: float
    """In which steps could not begin for want of images; this host's."""
    gradient_norm: float
    """Norm of all gradients of a step together, before they are clipped; mean over the steps."""
    largest_gradient_norm: float
    gradients: tuple[VariableGradients, ...]
    """Those of the variables that the loss depends on; none where all steps were skipped."""
    exploded: ExplodedStep | None
    """The first such step."""
    skipped_steps: int = 0
    """Steps whose gradients were no finite numbers; loss scaling skips these."""


class Measures:
    """The variables that an epoch's measures are summed up in; on each device that trains the same.

    A step that loss scaling (`mixed_float16`) skips, since its scaled
    gradients are too large for float16, is left out and is no failure.
    """

    def __init__(self, trainable: Sequence[keras.Variable], exploding: float, distribution: Distribution) -> None:
        """Begin an epoch.

        Args:
            trainable: the variables that gradients are of.
            exploding: norm of a step's gradients beyond which the step counts as exploded; may be infinite.
            distribution: the devices.
        """
        self._paths = [variable.path for variable in trainable]
        self._sizes = [math.prod(variable.shape) for variable in trainable]
        self._exploding = exploding
        with distribution.scope():
            self._squares = _zeros(len(trainable))
            self._steps = _zeros(len(_Steps._fields))
        with tf.device(HOST):
            self._waited = _zeros()
            # What `_steps` was before the last step: by then the devices are done with it.
            self._before = _zeros(len(_Steps._fields))

    @property
    def variables(self) -> list[Any]:
        """All that they consist of."""
        return [self._squares, self._steps, self._waited]

    def reset(self) -> None:
        """Begin an epoch."""
        for variable in (*self.variables, self._before):
            variable.assign(tf.zeros_like(variable))

    @property
    def measured(self) -> Measured:
        """What was measured in the epoch so far; waits for the devices."""
        steps = _Steps(*self._steps.numpy())
        counted = max(steps.counted, 1)
        means = self._squares.numpy() / np.maximum(self._sizes, 1) / counted
        gradients = zip(self._paths, self._sizes, means, strict=True)
        return Measured(
            data_seconds=float(self._waited),
            gradient_norm=float(steps.norms / counted),
            largest_gradient_norm=float(steps.largest_norm),
            gradients=tuple(
                VariableGradients(path, size, float(mean))
                for path, size, mean in gradients
                if steps.counted and not math.isnan(mean)
            ),
            exploded=_exploded(steps),
            skipped_steps=int(steps.taken - steps.counted),
        )

    @property
    def exploded_before(self) -> ExplodedStep | None:
        """The first exploded step, where it is not the very last one; no device is waited for."""
        return _exploded(_Steps(*self._before.numpy()))

    def next_batches(self, batches: Any, count: int) -> list[Any]:
        """Take the next batches from an iterator, and note how long they are waited for; inside a tf.function.

        As long as a device is at work on the step before, nothing waits.
        """
        with tf.device(HOST):
            before = tf.identity(self._steps)
        self._before.assign(before)
        with tf.control_dependencies([before]):
            began = tf.timestamp()
        parts = [next(batches) for _ in range(count)]
        with tf.control_dependencies([pixels for pixels, *_ in parts]):
            self._waited.assign_add(tf.maximum(tf.timestamp() - began, 0))
        return parts

    def add_step(self, gradients: Sequence[Any], loss: Any, scale: Any = None) -> None:
        """Note a step, where a device takes it.

        Args:
            gradients: of each trainable variable, times the scale; None where the loss does not depend on it.
            loss: mean over the step's images.
            scale: what loss scaling multiplied the loss by; None: there is none.
        """
        is_known = np.array([gradient is not None for gradient in gradients])
        # Of a variable without gradients, so that it is told from one whose gradients are 0.
        nothing = tf.constant(math.nan)
        squares = tf.stack(
            [
                nothing if gradient is None else 2 * tf.nn.l2_loss(tf.cast(gradient, tf.float32))
                for gradient in gradients
            ]
        )
        if scale is not None:
            squares /= tf.square(scale)
        norm = tf.sqrt(tf.reduce_sum(tf.where(is_known, squares, 0)))
        is_finite = tf.math.is_finite(norm)
        is_exploded = ~tf.math.is_finite(loss) | (is_finite & (norm > self._exploding))
        if scale is None:
            is_exploded |= ~is_finite
        self._squares.assign_add(tf.cast(tf.where(is_finite, squares, 0), tf.float64))
        self._add_norm(tf.cast(norm, tf.float64), tf.cast(loss, tf.float64), is_finite, is_exploded)

    def _add_norm(self, norm: Any, loss: Any, is_finite: Any, is_exploded: Any) -> None:
        before = _Steps(*tf.unstack(self._steps))
        is_first = is_exploded & (before.exploded_step == 0)
        counted = tf.where(is_finite, norm, 0)
        self._steps.assign(
            tf.stack(
                _Steps(
                    taken=before.taken + 1,
                    counted=before.counted + tf.cast(is_finite, tf.float64),
                    norms=before.norms + counted,
                    largest_norm=tf.maximum(before.largest_norm, counted),
                    exploded_step=tf.where(is_first, before.taken + 1, before.exploded_step),
                    exploded_loss=tf.where(is_first, loss, before.exploded_loss),
                    exploded_norm=tf.where(is_first, norm, before.exploded_norm),
                )
            )
        )


def _exploded(steps: "_Steps") -> ExplodedStep | None:
    if not steps.exploded_step:
        return None
    return ExplodedStep(int(steps.exploded_step), float(steps.exploded_loss), float(steps.exploded_norm))


def _zeros(*shape: int) -> Any:
    return tf.Variable(tf.zeros(shape, tf.float64), trainable=False)


class _Steps(NamedTuple):
    """The values of a variable that each step changes."""

    taken: Any
    counted: Any
    """Of these: with finite gradients."""
    norms: Any
    """Sum over those counted."""
    largest_norm: Any
    exploded_step: Any
    """0: none."""
    exploded_loss: Any
    exploded_norm: Any
