"""Calls the functions of the user's own, and checks what they return before training begins, as far as it can be.

Each class here is one of the contracts of parts.py. What a user's function raises becomes a PartError that names the
user's line.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from container.modeling.container_settings import Image
from container.modeling.own_parts.errors import PartError, failure
from container.modeling.own_parts.sources import Choice
from container.report.facts import PROBABILITY, RESERVED_METRIC_NAMES

METRIC_NAME = r"[A-Za-z][A-Za-z0-9_]{0,63}"
# Half precision adds probabilities up to 1 only nearly.
PROBABILITY_TOLERANCE = 1e-2
# On what, and how often, an augmentor is tried: rare changes must show.
TRIED_IMAGES = 4
REPETITIONS = 3


@dataclass(frozen=True)
class Part:
    """An imported function of the user's own, with the values of the settings that it declares."""

    choice: Choice
    function: Callable[..., Any]
    own_settings: Mapping[str, Any]

    def run(self, *arguments: Any) -> Any:
        """Call the function; a failure inside is a PartError."""
        with self.explained():
            return self.function(*arguments, **self.own_settings)

    @contextmanager
    def explained(self, what: str = "") -> Iterator[None]:
        """Run what calls code of the user's; a failure inside is a PartError that tells `what` failed."""
        try:
            yield
        except PartError:
            raise
        # sys.exit(0) in it would make a job that failed one that ended well.
        except (Exception, SystemExit) as error:
            raise failure(what or str(self.choice), error) from error

    def refused(self, rule: str) -> PartError:
        """Return the error for what is not as the contract has it."""
        return PartError(f"{self.choice} {rule}")


@dataclass(frozen=True)
class OwnModelBuilder(Part):
    """A ModelBuilder whose model is checked; whether it takes the pixels, models.py sees when it puts it together."""

    def __call__(self, image: Image, class_count: int, /) -> keras.Model:
        """Return the user's model; what it returns is float32.

        Raises:
            PartError: it is no model, returns no probabilities, or cannot be saved.
        """
        model = self.run(image, class_count)
        if not isinstance(model, keras.Model):
            raise self.refused(f"must return a keras.Model; it returned {_type_name(model)}")
        inputs, outputs = (getattr(model, name, None) or [] for name in ("inputs", "outputs"))
        if len(inputs) != 1 or len(outputs) != 1:
            raise self.refused(
                "must return a keras.Sequential or a keras.Model(inputs, outputs), of one input and one output: begin "
                f"with keras.Input({(image.height, image.width, image.channels)})"
            )
        if outputs[0].shape != (None, class_count):
            raise self.refused(
                f"must return a model that gives {class_count} probabilities, of shape {(None, class_count)}; its "
                f"output is of shape {outputs[0].shape}"
            )
        self._check_probabilities(model, image)
        with self.explained(f"saving the model of {self.choice}"):
            keras.saving.serialize_keras_object(model)
        if outputs[0].dtype == "float32":
            return model
        exact = keras.layers.Activation("linear", dtype="float32", name="float32")(outputs[0])
        return keras.Model(model.inputs, exact, name=model.name)

    def _check_probabilities(self, model: keras.Model, image: Image) -> None:
        sizes = zip(model.inputs[0].shape, (2, image.height, image.width, image.channels), strict=False)
        probe = np.ones([size or of_images for size, of_images in sizes], np.float32)
        with self.explained():
            outputs = np.asarray(keras.ops.convert_to_numpy(model(probe, training=False)), np.float32)
        sums = outputs.sum(axis=1)
        if not (outputs >= 0).all() or not np.allclose(sums, 1, atol=PROBABILITY_TOLERANCE):
            raise self.refused(
                "must return probabilities, which are not negative and add up to 1; those of one image are "
                f'{np.array2string(outputs[0], precision=3, threshold=6)}: end the model in activation="softmax"'
            )


@dataclass(frozen=True)
class OwnLoader(Part):
    """A Loader; loading.py checks its elements."""

    def __call__(self, folder: Path, image: Image, /) -> Iterator[Any]:
        """Yield what the user's loader does.

        Raises:
            PartError: it failed, or what it returned cannot be iterated over.
        """
        result = self.run(folder, image)
        if not isinstance(result, Iterable) or isinstance(result, str | bytes | Mapping):
            raise self.refused(f"must yield images, or return a tf.data.Dataset; it returned {_type_name(result)}")
        with self.explained():
            # A Dataset's tensors come as arrays.
            elements = iter(getattr(result, "as_numpy_iterator", result.__iter__)())
        end = object()
        while True:
            with self.explained():
                element = next(elements, end)
            if element is end:
                return
            yield element


@dataclass(frozen=True)
class OwnPreprocessor(Part):
    """A Preprocessor whose layer is checked."""

    def __call__(self, image: Image, /) -> keras.Layer:
        """Return the user's layer.

        Raises:
            PartError: it is none, does not keep the rank of pixels, or cannot be saved.
        """
        layer = self.run(image)
        if not isinstance(layer, keras.Layer):
            raise self.refused(f"must return a keras.Layer; it returned {_type_name(layer)}")
        with self.explained():
            result = layer(keras.Input((image.height, image.width, image.channels)))
        shape = getattr(result, "shape", None)
        if shape is None or len(shape) != 4:
            raise self.refused(
                "must return a layer that makes one tensor of shape (batch, height, width, channels) from pixels; it "
                f"makes {tuple(shape) if shape is not None else _type_name(result)}"
            )
        with self.explained(f"saving the layer of {self.choice}"):
            keras.saving.serialize_keras_object(layer)
        return layer


@dataclass(frozen=True)
class OwnAugmentor(Part):
    """An Augmentor whose result is checked, and made into one kind of layer."""

    def __call__(self, image: Image, class_count: int, seed: int, /) -> keras.Layer:
        """Return a layer of (pixels, targets) that returns both, and tracks the seed generators of the user's.

        Raises:
            PartError: the user's result is no function of these, or does not keep their shapes.
        """
        policy = keras.config.dtype_policy()
        # Half precision would round the shades of the lightest pixels.
        keras.config.set_dtype_policy("float32")
        try:
            result = self.run(image, class_count, seed)
            if not callable(result):
                raise self.refused(f"must return a layer or a function; it returned {_type_name(result)}")
            layer = _Augmentation(result)
            self._check(layer, image, class_count)
        finally:
            keras.config.set_dtype_policy(policy)
        return layer

    def _check(self, layer: keras.Layer, image: Image, class_count: int) -> None:
        random = np.random.default_rng(0)
        shapes = (TRIED_IMAGES, image.height, image.width, image.channels), (TRIED_IMAGES, class_count)
        pixels, targets = (random.random(shape, np.float32) for shape in shapes)
        tensors = [
            keras.ops.convert_to_tensor(array) for array in (255 * pixels, targets / targets.sum(axis=1)[:, None])
        ]
        with self.explained():
            first = layer(*tensors)
        made = tuple(tuple(result.shape) for result in first)
        if made != shapes:
            raise self.refused(f"must keep the shapes of pixels and targets, {shapes}; it made {made} of them")
        states = [variable.numpy() for variable in layer.variables]
        for _ in range(REPETITIONS):
            results = []
            for _ in range(2):
                for variable, state in zip(layer.variables, states, strict=True):
                    variable.assign(state)
                with self.explained():
                    results.append(layer(*tensors))
            if not all(np.allclose(one, other) for one, other in zip(*results, strict=True)):
                raise self.refused(
                    "draws random numbers that a resumed job could not repeat: they must come from Keras's layers, or "
                    "from a keras.random.SeedGenerator, which it makes once"
                )


@dataclass(frozen=True)
class OwnEvaluator(Part):
    """An Evaluator whose metrics are checked."""

    def __call__(self) -> "OwnMetrics":
        """Return the user's metrics.

        Raises:
            PartError: they are no functions by name, or a name cannot be that of a column.
        """
        metrics = self.run()
        if not isinstance(metrics, Mapping):
            raise self.refused(f"must return functions by name; it returned {_type_name(metrics)}")
        for name, metric in metrics.items():
            if not isinstance(name, str) or not re.fullmatch(METRIC_NAME, name):
                raise self.refused(
                    f"names a metric {name!r}: a name is made of at most 64 letters, digits and underscores, and "
                    "begins with a letter"
                )
            if name in RESERVED_METRIC_NAMES or name.startswith(PROBABILITY):
                raise self.refused(f"names a metric {name!r}, which is the name of something else: rename it")
            if not callable(metric):
                raise self.refused(f"gives for {name!r} no function, but {_type_name(metric)}")
        return OwnMetrics(self, dict(metrics))


@dataclass(frozen=True)
class OwnMetrics:
    """The metrics of an Evaluator, each a function of (y_true, y_pred) for one image."""

    evaluator: OwnEvaluator
    functions: Mapping[str, Callable[[Any, Any], Any]]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the metrics, in their order."""
        return tuple(self.functions)

    def try_out(self, class_count: int) -> None:
        """Judge a made-up prediction, so that what cannot work fails before training.

        Raises:
            PartError: a metric failed, or gave no finite number.
        """
        uniform = np.full(class_count, 1 / class_count, np.float32)
        self.values(np.eye(1, class_count, dtype=np.float32)[0], uniform, "made up to try it out")

    def values(self, y_true: NDArray[np.float32], y_pred: NDArray[np.float32], image_name: str) -> tuple[float, ...]:
        """Return what each metric says of one image; both arguments are of shape (classes,).

        Raises:
            PartError: a metric failed, or gave no finite number; it and the image are named.
        """
        # Copies: nobody knows what a metric does to its arguments.
        return tuple(self._value(name, y_true.copy(), y_pred.copy(), image_name) for name in self.functions)

    def _value(self, name: str, y_true: Any, y_pred: Any, image_name: str) -> float:
        what = f"the metric {name!r} of {self.evaluator.choice}, for the image {image_name!r},"
        with self.evaluator.explained(what):
            value = self.functions[name](y_true, y_pred)
            number = np.asarray(value)
        if number.dtype.kind not in "fiub" or number.shape != () or not np.isfinite(number):
            given = str(value) if isinstance(value, float) else _type_name(value)
            raise PartError(f"{what} must be one finite number; it is {given}")
        return float(number)


class _Augmentation(keras.Layer):
    """A user's layer or function as a layer of (pixels, targets)."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(autocast=False, trainable=False, name="own_augmentation")
        self.function = function
        self.drawn_from = [] if isinstance(function, keras.Layer) else _layers_and_generators(function)
        self.takes_targets = not isinstance(function, keras.Layer) or "targets" in (
            inspect.signature(function.call).parameters
        )

    def call(self, pixels: Any, targets: Any) -> tuple[Any, Any]:
        """Return both, changed."""
        if not self.takes_targets:
            results = self.function(pixels, training=True), targets
        elif isinstance(self.function, keras.Layer):
            results = self.function(pixels, targets, training=True)
        else:
            results = self.function(pixels, targets)
        # Two images of a batch could be taken for the two.
        if not isinstance(results, tuple | list) or len(results) != 2:
            raise TypeError(f"it must return (pixels, targets); it returned {_type_name(results)}")
        pixels, targets = results
        return keras.ops.cast(pixels, "float32"), keras.ops.cast(targets, "float32")


def _layers_and_generators(function: Callable[..., Any]) -> list[Any]:
    """Return what a function uses from around it, or an object holds: as no layer's attributes Keras misses them."""
    if inspect.isfunction(function):
        used = inspect.getclosurevars(function)
        held = [*used.nonlocals.values(), *used.globals.values()]
    else:
        held = list(getattr(function, "__dict__", {}).values())
    return [leaf for leaf in keras.tree.flatten(held) if isinstance(leaf, keras.Layer | keras.random.SeedGenerator)]


def _type_name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__name__}".removeprefix("builtins.")
