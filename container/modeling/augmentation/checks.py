"""Which of Keras's layers augment images here, and with which arguments: what is said when others are asked for.

Keras takes much without a word: `mode="horizonal"` flips nothing, `factor=[0, 5]` passes where 5 does not.
"""

import difflib
import inspect
import re
import textwrap
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import keras
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from container.errors import SettingsError
from container.modeling.settings import Image

SETTING = "augmentation.layers"
# How much of Keras's own text an error repeats, in characters.
MAX_REASON = 300

RESIZING = "makes images of another size: set image.height and image.width, or take RandomTranslation or RandomZoom"
UNSUITABLE = {
    "CenterCrop": RESIZING,
    "MaxNumBoundingBoxes": "changes bounding boxes, and classification has none",
    "RandomCrop": RESIZING,
    "Resizing": RESIZING,
}
# Layers whose arguments all have defaults by which they do nothing.
IDLE_BY_DEFAULT = {
    "RandomColorJitter": ("brightness_factor", "contrast_factor", "saturation_factor", "hue_factor"),
    "RandomShear": ("x_factor", "y_factor"),
}
COLOR_LAYERS = frozenset({"RandomColorDegeneration", "RandomGrayscale", "RandomHue", "RandomSaturation"})
COLOR_ARGUMENTS = frozenset({"hue_factor", "saturation_factor"})
# Arguments that are not the user's to choose, and why.
OWN_ARGUMENTS = {
    "bounding_box_format": "classification has no bounding boxes",
    "data_format": "channels come last",
    "name": "a layer is named by its class",
    "seed": "training.seed decides all that is random",
}


def check_layer(name: str, arguments: Any, image: Image) -> None:
    """Check that a layer of this name augments such images with these arguments.

    Raises:
        SettingsError: naming the layer, the argument and what it may be.
    """
    layers = augmenting_layers()
    if name in UNSUITABLE:
        raise refused(name, UNSUITABLE[name])
    if name not in layers:
        known = "is a layer of Keras, but none that augments images" if hasattr(keras.layers, name) else "is no layer"
        raise refused(name or "''", f"{known}{_did_you_mean(name, layers)}")
    if not isinstance(arguments, Mapping):
        raise refused(name, f"takes a table of arguments, not {arguments!r}")
    if name in IDLE_BY_DEFAULT and not arguments:
        raise refused(name, f"changes nothing without arguments: give {' or '.join(IDLE_BY_DEFAULT[name])}")
    parameters = _parameters(layers[name])
    for argument, value in arguments.items():
        _check_argument(name, parameters, argument, value)
    required = [argument for argument, parameter in parameters.items() if parameter.default is parameter.empty]
    for argument in required:
        if argument not in arguments:
            raise refused(name, f"needs the argument {argument}")
    for argument, value in arguments.items():
        _ask_keras(name, layers[name], dict.fromkeys(required, 1), argument, value)
    _check_colors(name, arguments, image)


def augmenting_layers() -> dict[str, type[keras.Layer]]:
    """Return Keras's layers that change images, keep their size, and do so in training only."""
    return {
        name: layer
        for name, layer in inspect.getmembers(keras.layers, inspect.isclass)
        if hasattr(layer, "get_random_transformation") and name not in UNSUITABLE
    }


def refused(name: str, reason: str, arguments: Mapping[str, Any] | None = None) -> SettingsError:
    """Return the error that says why a layer, or some of its arguments, cannot be used."""
    given = ", ".join(f"{argument}={value!r}" for argument, value in (arguments or {}).items())
    return SettingsError(f"{SETTING}: {name}{f'({given})' if given else ''} {reason}")


def reason_of(error: Exception) -> str:
    """Return what Keras says is wrong, in one line."""
    # Keras sets what it explains in bold, and TensorFlow puts lines of source code before it.
    explained = re.search(r"\x1b\[1m(.*)\x1b\[0m", str(error), re.DOTALL)
    text = (explained.group(1) if explained else str(error)).partition("Received:")[0].strip()
    if "in user code:" in text:
        text = text.splitlines()[-1]
    text = " ".join(re.sub(r"\{\{.*?\}\}|\[Op:\w*\]", "", text).split()) or type(error).__name__
    return textwrap.shorten(f"is refused by Keras: {text}", MAX_REASON, placeholder=" ...")


@dataclass(frozen=True)
class _Rule:
    """What an argument may be, whichever layer takes it."""

    type: Any
    words: str
    choices: tuple[str, ...] = ()

    def allows(self, value: Any) -> bool:
        """Tell whether a value is of the type; true and "1" are no numbers."""
        try:
            TypeAdapter(self.type).validate_python(value)
        except ValidationError:
            return False
        return True


def _one_of(*choices: str) -> _Rule:
    return _Rule(Literal[choices], f"one of {', '.join(choices)}", choices)


def _odd(number: int) -> int:
    if number % 2 == 0:
        raise ValueError("must be odd")
    return number


Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Whole = Annotated[int, Field(strict=True)]
Level = Annotated[Number, Field(ge=0, le=255)]
Side = Annotated[Whole, Field(ge=1, le=63)]
OddSide = Annotated[Side, AfterValidator(_odd)]

NUMBER = _Rule(Number, "a number")
NUMBERS = _Rule(Number | tuple[Number, Number], "a number, or two numbers as a list")
COUNT = _Rule(Annotated[Whole, Field(ge=1, le=10)], "a whole number from 1 to 10")
RULES = {
    "all_ops": _Rule(Annotated[bool, Field(strict=True)], "true or false"),
    # Lower ones mix nothing, and bring shares of a mixture near to 0 / 0.
    "alpha": _Rule(Annotated[Number, Field(ge=0.01, le=100)], "a number from 0.01 to 100"),
    "bins": _Rule(Annotated[Whole, Field(ge=2, le=256)], "a whole number from 2 to 256"),
    "chain_depth": COUNT,
    "clip_limit": _Rule(Annotated[Number, Field(ge=0)], "a number, 0 or more"),
    "fill_mode": _one_of("constant", "mirror", "nearest", "reflect", "wrap"),
    "fill_value": _Rule(Level, "a number from 0 to 255"),
    "interpolation": _one_of("bilinear", "nearest"),
    "kernel_size": _Rule(OddSide | tuple[OddSide, OddSide], "an odd number from 1 to 63, or two as a list"),
    "mode": _one_of("horizontal", "vertical", "horizontal_and_vertical"),
    "num_chains": COUNT,
    "num_ops": COUNT,
    "tile_grid_size": _Rule(tuple[Side, Side], "two whole numbers from 1 to 63 as a list"),
    "value_range": _Rule(tuple[Literal[0], Literal[255]], "[0, 255], as pixels are here"),
}
# Arguments that a layer takes otherwise than those of the same name in others.
LAYER_RULES = {
    ("RandomErasing", "fill_value"): _Rule(
        Level | tuple[Level, Level, Level], "a number from 0 to 255, or one for each of three colors"
    ),
    ("RandomGrayscale", "factor"): NUMBER,
    ("RandomPerspective", "scale"): NUMBER,
    ("RandomPosterization", "factor"): _Rule(Whole | tuple[Whole, Whole], "a whole number, or two as a list"),
}


def _parameters(layer: type[keras.Layer]) -> dict[str, inspect.Parameter]:
    named = inspect.signature(layer).parameters.values()
    return {each.name: each for each in named if each.kind is not each.VAR_KEYWORD}


def _check_argument(name: str, parameters: Mapping[str, inspect.Parameter], argument: str, value: Any) -> None:
    if argument in OWN_ARGUMENTS:
        raise refused(name, f"takes no {argument} here: {OWN_ARGUMENTS[argument]}")
    if argument not in parameters:
        choices = [each for each in parameters if each not in OWN_ARGUMENTS]
        raise refused(name, f"has no argument {argument}{_did_you_mean(argument, choices)}")
    if value is None and parameters[argument].default is None:
        return
    rule = LAYER_RULES.get((name, argument)) or RULES.get(argument, NUMBERS)
    if not rule.allows(value):
        near = _nearest(value, rule.choices) if isinstance(value, str) else None
        raise refused(name, f"must be {rule.words}{f': did you mean {near}?' if near else ''}", {argument: value})


def _ask_keras(name: str, layer: type[keras.Layer], required: dict[str, Any], argument: str, value: Any) -> None:
    """Let Keras check an argument by itself: both ends of a range, since of two numbers it looks at one end each."""
    ends = list(value) if isinstance(value, list | tuple) and RULES.get(argument, NUMBERS) is NUMBERS else []
    for given in (*ends, value):
        try:
            layer(**{**required, argument: given})
        except (ValueError, TypeError, NotImplementedError) as error:
            raise refused(name, reason_of(error), {argument: value}) from error


def _check_colors(name: str, arguments: Mapping[str, Any], image: Image) -> None:
    if image.channels == 3:
        return
    if name in COLOR_LAYERS:
        raise refused(name, "changes colors, and with image.channels=1 there are none: leave it out")
    for argument in sorted(COLOR_ARGUMENTS & set(arguments)):
        if arguments[argument] is not None:
            reason = "changes colors, and with image.channels=1 there are none: leave that argument out"
            raise refused(name, reason, {argument: arguments[argument]})


def _did_you_mean(name: str, names: Collection[str]) -> str:
    near = _nearest(name, names)
    return f": did you mean {near}?" if near else f": choose one of {', '.join(names)}"


def _nearest(name: str, names: Collection[str]) -> str | None:
    plain = {known.lower().replace("_", ""): known for known in names}
    near = difflib.get_close_matches(name.lower().replace("_", ""), plain, n=1)
    return plain[near[0]] if near else None
