"""The rules as they look at each epoch of a training: each gathers the figures that its function in rules.py judges."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Protocol

import keras
import psutil

from container.modeling.diagnostics import rules
from container.modeling.diagnostics.gpus import GpuSampler
from container.modeling.diagnostics.relu_units import ReluUnits
from container.modeling.diagnostics.rules import Symptom
from container.modeling.input_pipeline.batches import Batches
from container.modeling.insight_settings import Diagnostics, Rule
from container.modeling.optimization.observing import ObservedEpoch


class Check(Protocol):
    """A rule; what raises NotCheckedError when it is made or called cannot be checked here."""

    def after_epoch(self, epoch: ObservedEpoch) -> Symptom | None:
        """Return what is wrong when an epoch is over."""

    def after_training(self) -> Symptom | None:
        """Return what is wrong when training is over, and the model has the weights of its best epoch."""
        return None


def makers(
    settings: Diagnostics, model: keras.Model, training: Batches, validation: Batches, gpus: int, context: ExitStack
) -> Iterator[tuple[Rule, Callable[[], Check]]]:
    """Yield what makes each check; those that need an end get it from the context."""
    yield "vanishing_gradient", lambda: VanishingGradient(settings)
    yield "loss_not_decreasing", lambda: LossNotDecreasing(settings)
    yield "overfit", lambda: Overfit(settings)
    yield "overtraining", lambda: Overtraining(settings)
    yield "growing_memory", lambda: GrowingMemory(settings)
    yield "low_gpu_utilization", lambda: LowGpuUtilization(settings, context.enter_context(GpuSampler(gpus)))
    yield "waiting_for_data", lambda: WaitingForData(settings, training)
    # The last one: it takes its time, and others look at what just passed.
    yield "dead_units", lambda: DeadUnits(settings, ReluUnits(model, validation))


class VanishingGradient(Check):
    """Layers that learn, but whose gradients are next to nothing for a whole epoch. Frozen ones have none."""

    def __init__(self, settings: Diagnostics) -> None:
        self._least = settings.vanishing_gradient

    def after_epoch(self, epoch: ObservedEpoch) -> Symptom | None:
        """Judge the epoch's gradients."""
        return rules.vanishing_gradient(epoch.totals.measured.gradients, epoch.row, self._least)


class LossNotDecreasing(Check):
    """The training loss stands still."""

    def __init__(self, settings: Diagnostics) -> None:
        self._epochs = settings.stuck_epochs

    def after_epoch(self, epoch: ObservedEpoch) -> Symptom | None:
        """Judge the phase so far."""
        return rules.loss_not_decreasing(epoch.history.of_phase(epoch.row.phase), self._epochs)


class Overfit(Check):
    """The training images are learned by heart."""

    def __init__(self, settings: Diagnostics) -> None:
        self._epochs = settings.overfit_epochs

    def after_epoch(self, epoch: ObservedEpoch) -> Symptom | None:
        """Judge the phase so far."""
        return rules.overfit(epoch.history.of_phase(epoch.row.phase), self._epochs)


class Overtraining(Check):
    """Training goes on for nothing."""

    def __init__(self, settings: Diagnostics) -> None:
        self._epochs = settings.overtraining_epochs

    def after_epoch(self, epoch: ObservedEpoch) -> Symptom | None:
        """Judge the phase so far."""
        return rules.overtraining(epoch.history, self._epochs)


class DeadUnits(Check):
    """Units that are 0 whatever they see: looked for after the epochs 1, 2, 4, 8 and so on, and in the final model."""

    def __init__(self, settings: Diagnostics, relus: ReluUnits) -> None:
        self._share, self._relus = settings.dead_units_share, relus

    def after_epoch(self, epoch: ObservedEpoch) -> Symptom | None:
        """Judge the model, now and then: it costs a prediction of some hundred images."""
        number = epoch.row.epoch
        return self.after_training() if number & (number - 1) == 0 else None

    def after_training(self) -> Symptom | None:
        """Judge the model."""
        return rules.dead_units(self._relus.look(), len(self._relus.positions), self._share)


class GrowingMemory(Check):
    """The process takes more and more memory."""

    def __init__(self, settings: Diagnostics) -> None:
        self._growth_mb = settings.memory_growth_mb
        self._process, self._sizes = psutil.Process(), list[int]()

    def after_epoch(self, epoch: ObservedEpoch) -> Symptom | None:
        """Judge the process by the memory that it has after each epoch so far."""
        self._sizes.append(self._process.memory_info().rss)
        return rules.growing_memory(self._sizes, self._growth_mb)


class LowGpuUtilization(Check):
    """GPUs that are paid for, but hardly compute; not in the first epoch, which compiles the step and reads images."""

    def __init__(self, settings: Diagnostics, sampler: GpuSampler) -> None:
        self._least, self._sampler = settings.gpu_utilization, sampler
        self._is_first = True

    def after_epoch(self, epoch: ObservedEpoch) -> Symptom | None:
        """Judge the time of the epoch's training steps, which ended when the validation began."""
        now, row = time.perf_counter(), epoch.row
        utilizations = self._sampler.utilizations(now - row.seconds, now - row.validation_seconds)
        was_first, self._is_first = self._is_first, False
        return None if was_first else rules.low_gpu_utilization(utilizations, self._least, row)


class WaitingForData(Check):
    """Training steps that wait for images; not in the first epoch, in which each file is read for the first time."""

    def __init__(self, settings: Diagnostics, training: Batches) -> None:
        self._most, self._training = settings.waiting_share, training
        self._is_first = True

    def after_epoch(self, epoch: ObservedEpoch) -> Symptom | None:
        """Judge the epoch's waits."""
        was_first, self._is_first = self._is_first, False
        images = self._training
        reading = rules.Reading(images.is_settled, images.images.is_streamed, len(os.sched_getaffinity(0)))
        return None if was_first else rules.waiting_for_data(epoch.row, self._most, reading)
