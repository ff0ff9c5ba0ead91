"""Which training images are shown in an epoch, in which order, and how much each counts."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from container.dataset.labels import LABELS_FILE, Labels
from container.errors import DataError, SettingsError, hint
from container.modeling.container_settings import Loss

logger = logging.getLogger(__name__)


class LabeledSet(Protocol):
    """The images of a set, as far as their weights depend on them."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names."""

    @property
    def labels(self) -> NDArray[np.int32]:
        """Position of each image's class, shape (images,)."""

    @property
    def names(self) -> tuple[str, ...]:
        """Each image's path inside the set's folder."""


def epoch_order(labels: NDArray[Any], seed: int, epoch: int, oversample: bool, host: int = 0) -> NDArray[np.int64]:
    """Return the positions of the images in the order in which an epoch shows them.

    It depends on the arguments alone: an epoch can be begun anew, or gone on with, at any time.

    Args:
        labels: each image's class, shape (images,).
        seed: of the training.
        epoch: from 0.
        oversample: show every class as often as the largest one: each of its images equally often but for one time,
            and those that are shown once more are drawn anew in each epoch.
        host: another number gives another order.

    Returns:
        Shape (images,), or with `oversample` (classes that occur * images of the largest,).
    """
    random = np.random.default_rng((seed, epoch, host) if host else (seed, epoch))
    if not oversample:
        return random.permutation(len(labels))
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    largest = max(map(len, members), default=0)
    shown = [_shown(positions, largest, random) for positions in members]
    return random.permutation(np.concatenate([np.empty(0, np.int64), *shown]))


def image_weights(
    images: LabeledSet, directory: Path, loss: Loss, sum_hosts: Callable[[NDArray[Any]], NDArray[Any]] = np.asarray
) -> NDArray[np.float32]:
    """Return how much each training image counts in the loss, shape (images,), with a mean of 1 over an epoch.

    An image's weight is the product of what `loss.balance`, `loss.class_weights` and its row in labels.csv say; an
    image without a row counts 1 there. The weights are then scaled to a mean of 1 over the images that an epoch shows:
    only their ratios matter, and the loss, the learning rate and the limit on gradients mean what they mean without.

    Args:
        images: the training set; no class is empty.
        directory: its folder, which holds the labels.csv.
        loss: the settings.
        sum_hosts: gives the sum of an array over the hosts of which each has a part of the set.

    Raises:
        SettingsError: `loss.class_weights` names a class that there is not.
        DataError: labels.csv is missing, lacks the column, or a weight is no number of at least 0; or all are 0.
    """
    own_images = np.bincount(images.labels, minlength=len(images.classes))
    weights = _class_weights(images, sum_hosts(own_images), loss)[images.labels]
    if loss.weight_column:
        weights = weights * _row_weights(images.names, directory, loss.weight_column)
    shown = np.ones(len(weights))
    if loss.balance == "oversampling":
        shown /= own_images[images.labels]
    total, count = sum_hosts(np.array([np.sum(weights * shown), np.sum(shown)]))
    mean = total / count
    if mean == 0:
        raise DataError(f"all weights in the column {loss.weight_column!r} of {directory / LABELS_FILE} are 0")
    return (weights / mean).astype(np.float32)


def _shown(positions: NDArray[np.int64], count: int, random: np.random.Generator) -> NDArray[np.int64]:
    times, more = divmod(count, len(positions))
    return np.concatenate([np.tile(positions, times), random.choice(positions, more, replace=False)])


def _class_weights(images: LabeledSet, class_images: NDArray[Any], loss: Loss) -> NDArray[np.float64]:
    """Return what the images of each class count; `class_images` tells how many there are of each."""
    weights = np.ones(len(images.classes))
    if loss.balance == "class_weights":
        # Takes a second to import, which is only spent where it is used.
        from sklearn.utils.class_weight import compute_class_weight

        weights = compute_class_weight(
            "balanced", classes=np.arange(len(images.classes)), y=np.repeat(np.arange(len(class_images)), class_images)
        )
    for name, weight in loss.class_weights.items():
        if name not in images.classes:
            others = f"; there are {', '.join(map(repr, images.classes))}"
            raise SettingsError(
                f"loss.class_weights.{name}: no class of the training images has this name"
                f"{hint(name, images.classes, others)}"
            )
        weights[images.classes.index(name)] *= weight
    return weights


def _row_weights(names: Sequence[str], directory: Path, column: str) -> NDArray[np.float64]:
    table = Labels.read(directory)
    if table is None:
        raise DataError(
            f"loss.weight_column={column}: {directory} holds no {LABELS_FILE}; put one beside the class folders, or "
            "leave loss.weight_column empty"
        )
    rows = table.match(names)
    numbers = table.numbers(column, list(rows.by_image.values()))
    found = dict(zip(rows.by_image, numbers, strict=True))
    if len(found) < len(names) or rows.unmatched:
        logger.warning(
            "%d of %d training images have no row in %s and count 1; %d of its rows name no training image",
            len(names) - len(found),
            len(names),
            LABELS_FILE,
            len(rows.unmatched),
        )
    return np.array([found.get(name, 1.0) for name in names])
