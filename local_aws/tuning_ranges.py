"""The ranges that a tuning job searches: what a hyperparameter may be, and on which scale it is searched.

All numbers of a request are strings. Rules and scales are those of SageMaker's developer guide:
https://docs.aws.amazon.com/sagemaker/latest/dg/automatic-model-tuning-define-ranges.html
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from local_aws.training_requests import require

LINEAR, LOGARITHMIC, REVERSE_LOGARITHMIC = "Linear", "Logarithmic", "ReverseLogarithmic"

# For all ranges of a tuning job together.
_MOST_RANGES = 30

# Within one order of magnitude the guide advises the linear scale.
_ORDER_OF_MAGNITUDE = 10

# The greatest integer up to which a double holds every one, so that no search can step over a limit.
_GREATEST_INTEGER = 2**53

# Python's own reading of numbers also takes underscores, blanks, other scripts' digits and names like `inf`.
_INTEGER = re.compile(r"[+-]?[0-9]{1,16}")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class IntegerRange:
    """Whole numbers, both limits among them. `scaling` is LINEAR or LOGARITHMIC."""

    name: str
    least: int
    most: int
    scaling: str

    @property
    def count(self) -> float:
        """How many values there are."""
        return self.most - self.least + 1


@dataclass(frozen=True)
class ContinuousRange:
    """Numbers, both limits among them. `scaling` is LINEAR, LOGARITHMIC or REVERSE_LOGARITHMIC."""

    name: str
    least: float
    most: float
    scaling: str

    count = math.inf


@dataclass(frozen=True)
class CategoricalRange:
    """Any of some different texts."""

    name: str
    values: tuple[str, ...]

    @property
    def count(self) -> float:
        """How many values there are."""
        return len(self.values)


Range = IntegerRange | ContinuousRange | CategoricalRange


def parse_ranges(entries: Mapping[str, Any]) -> tuple[Range, ...]:
    """The ranges of a request's ParameterRanges.

    Raises:
        ValidationError: there is none, there are too many, two have one name, or one of them cannot be searched.
    """
    require(
        not entries.get("AutoParameters"),
        "local_aws has no Autotune: give ranges in place of ParameterRanges.AutoParameters",
    )
    ranges = tuple(_ranges(entries))
    require(bool(ranges), "ParameterRanges has no range: a tuning job needs at least one hyperparameter to search")
    require(
        len(ranges) <= _MOST_RANGES,
        f"ParameterRanges has {len(ranges)} ranges, and a tuning job can search at most {_MOST_RANGES} hyperparameters",
    )
    names = [entry.name for entry in ranges]
    twice = sorted({name for name in names if names.count(name) > 1})
    require(not twice, f"ParameterRanges has more than one range for: {', '.join(twice)}")
    return ranges


def combinations(ranges: Sequence[Range]) -> float:
    """How many different combinations of values there are; infinite where a range is continuous."""
    return math.prod(entry.count for entry in ranges)


def _ranges(entries: Mapping[str, Any]) -> Iterator[Range]:
    for entry in entries.get("IntegerParameterRanges", ()):
        least, most = (_integer(entry, limit) for limit in ("MinValue", "MaxValue"))
        _check_name_and_limits(entry, least, most)
        yield IntegerRange(entry["Name"], least, most, _integer_scaling(entry, least, most))
    for entry in entries.get("ContinuousParameterRanges", ()):
        low, high = (_number(entry, limit) for limit in ("MinValue", "MaxValue"))
        _check_name_and_limits(entry, low, high)
        yield ContinuousRange(entry["Name"], low, high, _scaling(entry, low, high))
    for entry in entries.get("CategoricalParameterRanges", ()):
        _check_name(entry)
        values = tuple(entry["Values"])
        twice = sorted({value for value in values if values.count(value) > 1})
        require(not twice, f"The values of {entry['Name']} must be different, and these are not: {', '.join(twice)}")
        yield CategoricalRange(entry["Name"], values)


def _check_name(entry: Mapping[str, Any]) -> None:
    require(bool(entry["Name"]), "ParameterRanges has a range without a name: Name must not be empty")


def _check_name_and_limits(entry: Mapping[str, Any], least: float, most: float) -> None:
    _check_name(entry)
    # SageMaker takes no range of one value: https://github.com/aws/amazon-sagemaker-feedback/issues/195
    require(
        least < most,
        f"MinValue ({entry['MinValue']}) of {entry['Name']} must be less than MaxValue ({entry['MaxValue']}). "
        "A hyperparameter that does not change belongs to StaticHyperParameters",
    )
    require(math.isfinite(most - least), f"The range of {entry['Name']} is too wide for a double")


def _integer(entry: Mapping[str, Any], limit: str) -> int:
    text = entry[limit]
    value = int(text) if _INTEGER.fullmatch(text) else None
    if value is None or abs(value) > _GREATEST_INTEGER:
        require(False, f"{limit} of {entry['Name']} must be an integer, at most 2^53 in size, not {text!r}")
    assert value is not None
    return value


def _number(entry: Mapping[str, Any], limit: str) -> float:
    text = entry[limit]
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    require(math.isfinite(value), f"{limit} of {entry['Name']} must be a number that a double can hold, not {text!r}")
    return value


def _integer_scaling(entry: Mapping[str, Any], least: int, most: int) -> str:
    require(
        entry.get("ScalingType") != REVERSE_LOGARITHMIC,
        f"ReverseLogarithmic scaling is for continuous hyperparameters, and {entry['Name']} is an integer: "
        "use Auto, Linear or Logarithmic",
    )
    return _scaling(entry, least, most)


def _scaling(entry: Mapping[str, Any], least: float, most: float) -> str:
    name, scaling = entry["Name"], str(entry.get("ScalingType", "Auto"))
    if scaling == "Auto":
        return LOGARITHMIC if least > 0 and most / least > _ORDER_OF_MAGNITUDE else LINEAR
    require(
        scaling != LOGARITHMIC or least > 0,
        f"Logarithmic scaling works only for ranges that have only values greater than 0, and {name} begins at "
        f"{entry['MinValue']}",
    )
    require(
        scaling != REVERSE_LOGARITHMIC or (least >= 0 and most < 1),
        f"Reverse logarithmic scaling works only for ranges that are entirely within the range 0<=x<1.0, and {name} "
        f"goes from {entry['MinValue']} to {entry['MaxValue']}",
    )
    return scaling
