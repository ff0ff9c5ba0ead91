"""What a tuning job varies, as SageMaker takes it: every value that it may choose is checked before the launch."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from container.errors import SettingsError
from container.modeling import overrides
from container.modeling.own_parts.sources import check_parts
from container.modeling.settings import Choice, ContainerSettings, Range, Settings

# SageMaker's limit on a name and on a value of a range.
MOST_CHARACTERS = 256
# Of trials that are tried out before the launch: some seconds' worth, and more than ten settings have.
MOST_TRIED = 5_000


@dataclass(frozen=True)
class Parameter:
    """A setting that a tuning job varies: a `...ParameterRange` of SageMaker's."""

    name: str
    kind: Literal["Continuous", "Integer", "Categorical"]
    texts: tuple[str, ...]
    """The least and the largest value, or all values, as hyperparameters."""
    scaling: str = ""
    """ScalingType of a number."""

    @property
    def range(self) -> dict[str, Any]:
        """The range as the API takes it."""
        if self.kind == "Categorical":
            return {"Name": self.name, "Values": list(self.texts)}
        least, largest = self.texts
        return {"Name": self.name, "MinValue": least, "MaxValue": largest, "ScalingType": self.scaling}

    def __str__(self) -> str:
        if self.kind == "Categorical":
            return f"{self.name}: {' or '.join(self.texts)}"
        return f"{self.name}: {' to '.join(self.texts)} ({self.scaling})"


def read_ranges(settings: Settings, parts: Path) -> tuple[Parameter, ...]:
    """Return what `tuning.ranges` say, checked against what they vary.

    Args:
        settings: all settings.
        parts: the folder of the user's own functions, of which some may be chosen.

    Raises:
        ProjectError: there is nothing to vary, a setting is unknown or none of the container's, a value is not one of
            the setting's, or values do not go together.
    """
    if not settings.tuning.ranges:
        raise SettingsError(
            "there is nothing to tune: set tuning.ranges in config.py, or by --set "
            """tuning.ranges.training.learning_rate='{"minimum": 1e-4, "maximum": 1e-1, "scaling": "Logarithmic"}'"""
        )
    parameters = tuple(_parameter(settings, name, values) for name, values in settings.tuning.ranges.items())
    for texts in itertools.islice(_combinations(parameters), MOST_TRIED):
        try:
            chosen = overrides.override(settings, texts)
            check_parts(chosen.container_settings(), parts)
        except SettingsError as error:
            shown = ", ".join(f"{name}={text}" for name, text in texts.items())
            raise SettingsError(f"tuning.ranges allow a trial that cannot be trained ({shown}): {error}") from None
    return parameters


def combinations(parameters: Sequence[Parameter]) -> int:
    """Return how many trials a grid of these has.

    Raises:
        SettingsError: a grid needs values to combine, and one of them is a range of numbers.
    """
    numbers = [parameter.name for parameter in parameters if parameter.kind != "Categorical"]
    if numbers:
        raise SettingsError(
            f"tuning.strategy=Grid combines the values of choices, and {numbers[0]} has a range: give it values"
        )
    return math.prod(len(parameter.texts) for parameter in parameters)


def _parameter(settings: Settings, name: str, values: Range | Choice) -> Parameter:
    wanted = _value_type(name)
    if isinstance(values, Choice):
        texts = tuple(_text(name, overrides.to_text(value)) for value in values.values)
        if len(set(texts)) < len(texts):
            raise SettingsError(f"tuning.ranges.{name} has a value twice: {', '.join(texts)}")
        return Parameter(name, "Categorical", texts)
    if wanted not in (int, float):
        raise SettingsError(
            f"tuning.ranges.{name} has a minimum and a maximum, and the setting is no number: give it a choice of "
            'values, as in {"values": [...]}'
        )
    bounds = (values.minimum, values.maximum)
    texts = tuple(_text(name, overrides.to_text(_number(bound, wanted))) for bound in bounds)
    return Parameter(name, "Integer" if wanted is int else "Continuous", texts, values.scaling)


def _value_type(name: str) -> Any:
    """Return the type of a value of a setting that a tuning job can vary."""
    if name.partition(".")[0] not in Settings.container_sections:
        if name in dict(overrides.leaves(Settings)):
            raise SettingsError(f"tuning.ranges.{name}: a tuning job varies what the container reads, not {name}")
        hint = overrides.did_you_mean(name, [known for known, _ in overrides.leaves(ContainerSettings)])
        raise SettingsError(f"tuning.ranges: there is no setting {name!r} of the container{hint}")
    try:
        return overrides.value_type(ContainerSettings, name)
    except SettingsError as error:
        raise SettingsError(f"tuning.ranges: {error}") from None


def _number(bound: float, wanted: Any) -> float:
    # A bound that is no integer where one is needed is told by the setting itself.
    return int(bound) if wanted is int and bound.is_integer() else bound


def _text(name: str, text: str) -> str:
    """Return the one way in which a value is written that may be given in several, such as 1 and 1.0."""
    try:
        written = overrides.to_text(overrides.parse_value(ContainerSettings, name, text))
    except SettingsError as error:
        raise SettingsError(f"tuning.ranges: {error}") from None
    if len(written) > MOST_CHARACTERS:
        raise SettingsError(
            f"tuning.ranges.{name}: a value is {len(written)} characters long; SageMaker takes at most "
            f"{MOST_CHARACTERS}: shorten it"
        )
    return written


def _combinations(parameters: Sequence[Parameter]) -> Iterator[Mapping[str, str]]:
    """Yield hyperparameters of trials in which each two values occur together.

    Of numbers the bounds stand for all between them: no rule of the settings holds at both and fails between.
    """
    first = {parameter.name: parameter.texts[0] for parameter in parameters}
    yield first
    for one in parameters:
        for text in one.texts[1:]:
            yield first | {one.name: text}
    for one, other in itertools.combinations(parameters, 2):
        for pair in itertools.product(one.texts[1:], other.texts[1:]):
            yield first | dict(zip((one.name, other.name), pair, strict=True))
