"""Gives a whole model the weights of an earlier one (`model.initial_weights`), also where the classes are others."""

import logging
import textwrap
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from container.errors import SettingsError
from container.modeling.networks.backbones import WeightFolders
from container.modeling.networks.earlier_models import EarlierModel, opened, source
from container.modeling.networks.layers import DifferentNetworksError, check_alike, set_weights, weighted
from container.modeling.settings import Model

logger = logging.getLogger(__name__)

# Characters of the classes' names in a line of the log.
MAX_NAMES = 300


def load_initial_weights(model: keras.Model, settings: Model, classes: Sequence[str], folders: WeightFolders) -> None:
    """Let a model start from the earlier one that `model.initial_weights` names; nothing where it names none.

    In the last layer each class takes over what was learned for the class of its name; a class that the earlier model
    did not know starts anew. The log tells which.

    Args:
        model: as `build_model` returns it.
        settings: names the earlier model.
        classes: the names of the model's outputs, in their order.
        folders: where the earlier model may lie.

    Raises:
        SettingsError: there is no such model, or it is of another architecture.
        DataError: what lies beside it is damaged.
    """
    if not settings.initial_weights:
        return
    with opened(source(settings.initial_weights, "model.initial_weights", folders.pretrained)) as earlier:
        if earlier.is_whole:
            _take_over(earlier, model, classes)
            return
        earlier.load_into(model)
    logger.info("all layers start from %s; the classes must be the same, which it does not tell", earlier.shown)


def _take_over(earlier: EarlierModel, model: keras.Model, classes: Sequence[str]) -> None:
    sources, targets = weighted(earlier.network()), weighted(model)
    try:
        check_alike(sources[:-1], targets[:-1])
    except DifferentNetworksError as error:
        raise SettingsError(
            f"model.initial_weights: {earlier.shown} is of another architecture: {error}; set model, image and "
            "fine_tuning.backbone as in the earlier job, or start from it by model.name=fine_tune and "
            "fine_tuning.backbone=pretrained"
        ) from None
    for one, other in zip(sources[:-1], targets[:-1], strict=True):
        set_weights(other, one.get_weights())
    _take_over_classes(earlier, sources[-1], targets[-1], classes)


def _take_over_classes(earlier: EarlierModel, last: Any, target: Any, classes: Sequence[str]) -> None:
    """Set the last layer's weights, whose last axis is the classes or one sigmoid unit."""
    learned, fresh = [_per_class(array) for array in last.get_weights()], target.get_weights()
    known = earlier.classes
    if known is None and learned[0].shape[-1] == len(classes):
        logger.warning("%s does not tell its classes: they are taken to be those of this job", earlier.shown)
        known = tuple(classes)
    if known is not None and learned[0].shape[-1] != len(known):
        raise SettingsError(f"{earlier.shown} has {learned[0].shape[-1]} outputs, but classes.json {len(known)} names")
    fits = [array.shape[:-1] for array in learned] == [array.shape[:-1] for array in fresh]
    taken = [name for name in classes if fits and known is not None and name in known]
    # One unit tells two classes apart: what was learned of one of them is of no use.
    if len(taken) < len(classes) and fresh[0].shape[-1] == 1:
        taken = []
    if taken and known is not None:
        target.set_weights([_of_classes(*arrays, known, classes) for arrays in zip(learned, fresh, strict=True)])
        logger.info("the last layer takes over from %s the classes %s", earlier.shown, _listed(taken))
    if anew := [name for name in classes if name not in taken]:
        logger.info("the last layer starts anew for the classes %s", _listed(anew))


def _per_class(array: NDArray[Any]) -> NDArray[Any]:
    """Return weights of each class; a sigmoid unit is the second of two classes, the first of which has zeros."""
    return np.concatenate([np.zeros_like(array), array], axis=-1) if array.shape[-1] == 1 else array


def _of_classes(
    learned: NDArray[Any], fresh: NDArray[Any], known: Sequence[str], classes: Sequence[str]
) -> NDArray[Any]:
    """Return the weights of the classes in their order: the learned ones where they are known, else the fresh ones."""
    position = {name: number for number, name in enumerate(known)}
    if fresh.shape[-1] == 1:
        first, second = (learned[..., position[name]] for name in classes)
        return (second - first)[..., np.newaxis]
    columns = [
        learned[..., position[name]] if name in position else fresh[..., number] for number, name in enumerate(classes)
    ]
    return np.stack(columns, axis=-1)


def _listed(names: Sequence[str]) -> str:
    return textwrap.shorten(", ".join(names), MAX_NAMES, placeholder=" ...")
