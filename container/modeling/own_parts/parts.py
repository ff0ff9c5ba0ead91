"""Functions of the user's own that take a place in training: what each takes and returns, and how it is called.

The protocols are the contracts; docs/parts.md shows each by an example. A user's function may have keyword-only
parameters besides: the settings that it declares (sources.py).
"""

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from container.modeling.container_settings import ContainerSettings, Image
from container.modeling.own_parts.checked import (
    OwnAugmentor,
    OwnEvaluator,
    OwnLoader,
    OwnMetrics,
    OwnModelBuilder,
    OwnPreprocessor,
    Part,
)
from container.modeling.own_parts.errors import PARTS_FOLDER, PartError, failure
from container.modeling.own_parts.sources import (
    AUGMENTOR,
    EVALUATOR,
    LOADER,
    MODEL_BUILDER,
    PREPROCESSOR,
    Choice,
    check_names,
    check_parts,
    chosen_functions,
    own_parameters,
    own_values,
)

PACKAGE = "container.parts"


class ModelBuilder(Protocol):
    """Builds a functional or Sequential model, not compiled.

    It takes pixels of shape (batch, height, width, channels), float32 from 0 to 255 (or what the preprocessor makes
    of them), and returns the probability of each class, of shape (batch, classes).
    """

    def __call__(self, image: Image, class_count: int, /) -> keras.Model: ...


class Loader(Protocol):
    """Reads the images of a channel: a tf.data.Dataset, or an iterator such as a generator makes.

    Each element is (pixels, class name) or (pixels, class name, image name). Pixels have the shape (height, width, 1
    or 3) and may be of any size, uint8 or float, 0 to 255. It is called once for each of the channels `training`,
    `validation` and `evaluation` with the channel's folder, and gives the same images in the same order each time.
    """

    def __call__(self, folder: Path, image: Image, /) -> Iterable[Any]: ...


class Preprocessor(Protocol):
    """Builds a layer, or a Sequential of layers, that becomes the first of the model and is saved with it.

    It takes pixels of shape (batch, height, width, channels), float32 from 0 to 255; what it returns is of the same
    rank.
    """

    def __call__(self, image: Image, /) -> keras.Layer: ...


class Augmentor(Protocol):
    """Builds what changes training batches at random: a layer of pixels, or a function (pixels, targets) -> both.

    Pixels are float32 from 0 to 255, of shape (batch, height, width, channels); targets are float32 of shape (batch,
    classes), the share of each class. Both keep their shapes. What is random comes from Keras's layers or from a
    keras.random.SeedGenerator, made here with the seed, so that a resumed job repeats it.
    """

    def __call__(self, image: Image, class_count: int, seed: int, /) -> Callable[..., Any]: ...


class ImageMetric(Protocol):
    """Judges the prediction for one image by a finite number.

    Both arguments are float32 of shape (classes,): 1 for the true class and 0 for all others; the probabilities.
    """

    def __call__(self, y_true: NDArray[np.float32], y_pred: NDArray[np.float32], /) -> float: ...


class Evaluator(Protocol):
    """Gives the metrics by name: each is a column of predictions.csv, and its mean stands in metrics.json."""

    def __call__(self) -> Mapping[str, ImageMetric]: ...


@dataclass(frozen=True)
class OwnParts:
    """What the settings name of the user's own; None: the project's own way."""

    model_builder: ModelBuilder | None = None
    loader: OwnLoader | None = None
    preprocessor: Preprocessor | None = None
    augmentor: Augmentor | None = None
    metrics: OwnMetrics | None = None


def load_parts(settings: ContainerSettings) -> OwnParts:
    """Import what the settings name in container/parts, and ask the evaluator for its metrics.

    Raises:
        SettingsError: a function does not exist, a setting is declared by none of them, or a value is wrong.
        PartError: a module cannot be imported, a function does not take what its kind is called with, or the metrics
            are not as they must be.
    """
    check_parts(settings, PARTS_FOLDER)
    functions = {choice: imported(choice) for choice in chosen_functions(settings)}
    declared = {choice: own_parameters(choice, _signature(choice, function)) for choice, function in functions.items()}
    check_names(settings.parts.settings, declared)
    parts = {
        choice.kind: (choice, function, own_values(choice, declared[choice], settings.parts.settings))
        for choice, function in functions.items()
    }
    return OwnParts(
        model_builder=OwnModelBuilder(*parts[MODEL_BUILDER]) if MODEL_BUILDER in parts else None,
        loader=OwnLoader(*parts[LOADER]) if LOADER in parts else None,
        preprocessor=OwnPreprocessor(*parts[PREPROCESSOR]) if PREPROCESSOR in parts else None,
        augmentor=OwnAugmentor(*parts[AUGMENTOR]) if AUGMENTOR in parts else None,
        metrics=OwnEvaluator(*parts[EVALUATOR])() if EVALUATOR in parts else None,
    )


def load_function(choice: Choice) -> Part:
    """Import a function of the user's own; settings that it may declare keep their defaults.

    Raises:
        PartError: its module cannot be imported, has no such function, or it does not take what it is called with.
    """
    function = imported(choice)
    own_parameters(choice, _signature(choice, function))
    return Part(choice, function, {})


def imported(choice: Choice) -> Callable[..., Any]:
    """Import a function of the user's own.

    Raises:
        PartError: its module cannot be imported, or has no such function.
    """
    try:
        module = importlib.import_module(f"{PACKAGE}.{choice.module}")
    except (Exception, SystemExit) as error:
        raise failure(str(choice), error) from error
    function = getattr(module, choice.function, None)
    if not callable(function):
        raise PartError(f"{choice}: {choice.function} of container/parts/{choice.module} is no function")
    return function


def _signature(choice: Choice, function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function, eval_str=True)
    except (NameError, TypeError, ValueError) as error:
        raise PartError(f"{choice}: Python cannot tell its parameters and their types: {error}") from None
