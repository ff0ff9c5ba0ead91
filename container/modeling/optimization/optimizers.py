"""Builds the optimizer of a training phase, and the learning rate at each of its steps."""

import logging
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from container.modeling.container_settings import ContainerSettings, Optimizer, Schedule
from container.modeling.optimization.history import History

logger = logging.getLogger(__name__)

# Biases, and the weights of Keras's layers of normalization, by the last part of TensorFlow's name for them.
NOT_DECAYED = r"(^|/)(bias|gamma|beta|scale)(:\d+)?$"
PLATEAU = "plateau"


def build_optimizer(
    settings: ContainerSettings, learning_rate: float, epochs: int, steps_per_epoch: int
) -> keras.optimizers.Optimizer:
    """Return the optimizer of a training phase, not yet built for a model's weights.

    All that it goes on by is in its `variables` once it is built, and their number does not depend on the schedule.
    `float(optimizer.learning_rate)` is the rate of the next step. Weight decay is that of AdamW, apart from the
    gradients, with each optimizer. With `mixed_float16` the loss must pass through `optimizer.scale_loss`.

    Args:
        settings: of which `optimizer`, `schedule` and `training.precision` count.
        learning_rate: the phase's highest.
        epochs: the phase's length.
        steps_per_epoch: batches in an epoch.
    """
    schedule = _LearningRate(settings.schedule, learning_rate, epochs, steps_per_epoch)
    optimizer = _named(settings.optimizer, schedule)
    optimizer.exclude_from_weight_decay(var_names=[NOT_DECAYED])
    schedule.plateau = optimizer.add_variable(
        (), initializer="ones", dtype="float32", aggregation="only_first_replica", name=PLATEAU
    )
    if settings.training.precision == "mixed_float16":
        return _LossScaleOptimizer(optimizer)
    return optimizer


def set_iterations(optimizer: keras.optimizers.Optimizer, steps: int) -> None:
    """Let an optimizer, and so its schedule, have taken so many steps."""
    for counted in (optimizer, getattr(optimizer, "inner_optimizer", None)):
        if counted is not None:
            counted.iterations.assign(steps)


def reduce_on_plateau(optimizer: keras.optimizers.Optimizer, settings: Schedule, history: History) -> None:
    """Multiply the learning rate by `factor` where `patience` epochs, or twice as many, ... brought no improvement.

    To be called once after each epoch; with another schedule than `plateau` nothing happens. The learning rate stays
    at or above `minimum` times the highest one.
    """
    stuck = history.without_improvement
    if settings.name == "plateau" and stuck and stuck % settings.patience == 0:
        share = next(variable for variable in optimizer.variables if variable.name == PLATEAU)
        share.assign(ops.maximum(share * settings.factor, settings.minimum))


class _LossScaleOptimizer(keras.optimizers.LossScaleOptimizer):
    """Keras's own, but that all state of the optimizer inside is in `variables`."""

    def build(self, var_list: Any) -> None:
        # Keras's own build hides a variable that Nadam makes in its.
        self.inner_optimizer.build(var_list)
        super().build(var_list)


class _LearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly in each step of the warm-up, to the highest rate in its last one; then follows a schedule."""

    def __init__(self, settings: Schedule, highest: float, epochs: int, steps_per_epoch: int) -> None:
        super().__init__()
        steps = epochs * steps_per_epoch
        # Of an epoch of few steps, a part may come out as the whole phase.
        self.warmup_steps = min(round(settings.warmup_epochs * steps_per_epoch), steps - 1)
        steps_left = steps - self.warmup_steps
        self.lowest = settings.minimum * highest
        self.after_warmup = _decay(settings, highest, steps_left, steps_per_epoch)
        self.plateau: Any = 1.0

    def __call__(self, step: Any) -> Any:
        # Step counts are exact in float32 up to 16 million.
        step = ops.cast(step, "float32")
        rate = ops.maximum(self.after_warmup(ops.maximum(step - self.warmup_steps, 0.0)), self.lowest)
        if self.warmup_steps:
            rate = rate * ops.minimum((step + 1) / self.warmup_steps, 1.0)
        return rate * self.plateau


def _decay(settings: Schedule, highest: float, steps: int, steps_per_epoch: int) -> Callable[[Any], Any]:
    schedules = keras.optimizers.schedules
    if settings.name == "cosine":
        return schedules.CosineDecay(highest, steps, alpha=settings.minimum)
    if settings.name == "exponential":
        return schedules.ExponentialDecay(highest, steps_per_epoch, settings.factor)
    return lambda step: ops.convert_to_tensor(highest, dtype="float32")


def _named(settings: Optimizer, learning_rate: Any) -> keras.optimizers.Optimizer:
    optimizers = keras.optimizers
    common = {
        "learning_rate": learning_rate,
        "weight_decay": settings.weight_decay or None,
        "global_clipnorm": settings.clip_norm or None,
    }
    match settings.name:
        case "sgd":
            return optimizers.SGD(**common, momentum=settings.momentum)
        case "rmsprop":
            return optimizers.RMSprop(**common, momentum=settings.momentum)
        case "adamw":
            if not settings.weight_decay:
                logger.warning("optimizer.name=adamw without optimizer.weight_decay is adam: set it, such as to 0.004")
            return optimizers.AdamW(**common | {"weight_decay": settings.weight_decay})
        case "adam":
            return optimizers.Adam(**common)
        case "nadam":
            return optimizers.Nadam(**common)
        case "adagrad":
            return optimizers.Adagrad(**common)
        case "lion":
            return optimizers.Lion(**common)
        case "lamb":
            return optimizers.Lamb(**common)
