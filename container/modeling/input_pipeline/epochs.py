"""Which images each training step shows, on which device: a function of the seed and the epoch alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from container.dataset.weights import epoch_order
from container.modeling.container_settings import ContainerSettings
from container.modeling.input_pipeline.batches import NO_IMAGE
from container.modeling.input_pipeline.labeled_images import LabeledImages
from container.modeling.input_pipeline.streamed_shards import in_windows, pieces

# A last step of so small a share of the images of a whole one is left out: its few images would move batch
# normalization's averages as much as a whole step does, just before the validation. Another order brings them back in
# the next epoch.
LEAST_STEP_SHARE = 1 / 4


@dataclass(frozen=True)
class Replicas:
    """The devices that train one model together, each on its part of every step."""

    count: int = 1
    """Of all hosts."""
    first: int = 0
    """Number of this host's first one; they are counted from 0, host by host."""
    local: int = 1
    """Of this host."""

    @property
    def host(self) -> int:
        """Number of this host, from 0: all have equally many."""
        return self.first // self.local

    @property
    def hosts(self) -> int:
        """How many hosts there are."""
        return self.count // self.local


class Epochs:
    """The steps of each epoch."""

    def __init__(
        self,
        images: LabeledImages,
        settings: ContainerSettings,
        replicas: Replicas,
        sum_hosts: Callable[[NDArray[Any]], NDArray[Any]] = np.asarray,
    ) -> None:
        """Count the steps.

        Args:
            images: the training images of this host.
            settings: the batch size, the seed, how classes are balanced.
            replicas: who takes part.
            sum_hosts: gives the sum of an array over all hosts.
        """
        self._images, self._settings, self._replicas = images, settings, replicas
        self._pieces = pieces(images.shards) if images.shards and images.is_streamed else None
        step = settings.training.batch_size * replicas.count
        shown = len(self._order(0))
        if not images.is_share:
            rest = shown % step
            is_left_out = rest < shown and rest < LEAST_STEP_SHARE * step
            self.images = shown - rest if is_left_out else shown
            self.steps = -(-self.images // step)
        else:
            self.steps = max(round(int(sum_hosts(np.array([shown]))[0]) / step), 1)
            self.images = self.steps * step

    images: int
    """That an epoch shows."""
    steps: int
    """Of an epoch."""

    def rows(self, epoch: int, first_step: int) -> NDArray[np.int64]:
        """Return the positions of the images that this host shows from a step of an epoch on.

        Shape (steps * local replicas, batch size): step by step a row for each replica, as `Batches.iterate` takes
        them. Where all hosts have the same images, the steps show those that one device with a batch of all would. Of
        the last step, which has fewer, the replicas get equally many but for one.
        """
        local = self._replicas.local
        if self._images.is_share:
            size = self._settings.training.batch_size
            # A host that has fewer images than the others shows some twice.
            rows = np.resize(self._order(epoch), (self.steps * local, size))
            return rows[first_step * local :]
        steps = self._spread(self._order(epoch)[: self.images])
        mine = steps[first_step:, self._replicas.first : self._replicas.first + local]
        return mine.reshape(-1, steps.shape[2])

    def _spread(self, order: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return shape (steps, replicas, batch size)."""
        count, size = self._replicas.count, self._settings.training.batch_size
        rows = np.full((self.steps, count, size), NO_IMAGE, np.int64)
        whole = len(order) // (count * size)
        rows[:whole] = order[: whole * count * size].reshape(whole, count, size)
        if whole < self.steps:
            for row, part in zip(rows[-1], np.array_split(order[whole * count * size :], count), strict=True):
                row[: len(part)] = part
        return rows

    def _order(self, epoch: int) -> NDArray[np.int64]:
        seed = self._settings.training.seed
        # Hosts that have different images need not show them in the same order.
        host = self._replicas.host if self._images.is_share else 0
        order = epoch_order(self._images.labels, seed, epoch, self._settings.loss.balance == "oversampling", host)
        return order if self._pieces is None else in_windows(order, self._pieces, (seed, epoch, host))
