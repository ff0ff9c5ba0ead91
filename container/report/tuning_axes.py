"""Axes on which the trials of a tuning job lie: numbers, numbers on a logarithmic scale, or categories. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from container.dataset.text import printable
from container.modeling import overrides

# Numbers that differ by more than this factor lie on a logarithmic scale.
WIDE_RANGE = 100
MOST_TICKS = 6
# Ticks that are nearer to each other, as a share of the axis, would cover each other's texts.
LEAST_GAP = 0.08
# Beyond it lies nothing that anybody tunes by, and sums overflow.
LARGEST = 1e300
# Where a single value is all there is, the axis has this much room on both sides of it.
ROOM = 1.0


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    """In the axis's own coordinate."""
    text: str


@dataclass(frozen=True)
class Axis:
    """An axis, and where each trial lies on it."""

    name: str
    kind: Literal["linear", "log", "category"]
    values: tuple[float | None, ...]
    """In the axis's own coordinate: the number, its decimal logarithm, or the position of the category; None where a
    trial has no value."""
    low: float
    high: float
    """Of the same coordinate; larger than `low`."""
    ticks: tuple[Tick, ...]

    def place(self, at: float) -> float:
        """Return where a coordinate lies between the ends of the axis: 0 to 1."""
        return (at - self.low) / (self.high - self.low)

    @property
    def places(self) -> tuple[float | None, ...]:
        """Where each trial lies between the ends of the axis: 0 to 1."""
        return tuple(None if value is None else self.place(value) for value in self.values)


def axis_of(name: str, values: Sequence[object]) -> Axis:
    """Return the axis that suits the values of a setting: of numbers where all are, else of categories.

    Args:
        name: the setting's.
        values: of each trial, of the setting's own type; None: the trial has none.
    """
    if all(value is None or is_number(value) for value in values):
        return number_axis(name, [None if value is None else float(str(value)) for value in values])
    return category_axis(name, [None if value is None else value_text(value) for value in values])


def is_number(value: object) -> bool:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def value_text(value: object) -> str:
    """Return a setting's value as text, ready to be shown."""
    if isinstance(value, str):
        return printable(value)
    return f"{value:.4g}" if isinstance(value, float) else printable(overrides.to_text(value))


def number_axis(name: str, numbers: Sequence[float | None]) -> Axis:
    """Return an axis of numbers; it is logarithmic where they span more than two orders of magnitude.

    But not where that is due to a few of them only, as with many numbers between 0 and 1 that are all equally likely.
    """
    finite = [None if number is None or not abs(number) < LARGEST else float(number) for number in numbers]
    known = sorted({number for number in finite if number is not None})
    if not known:
        return Axis(name, "linear", tuple(finite), -ROOM, ROOM, ())
    least, largest = known[0], known[-1]
    if least == largest:
        room = abs(least) / 2 or ROOM
        return Axis(name, "linear", tuple(finite), least - room, largest + room, (Tick(least, _text(least)),))
    if least > 0 and largest / least > WIDE_RANGE and _are_scattered(finite, largest):
        values = tuple(None if number is None else math.log10(number) for number in finite)
        axis = Axis(name, "log", values, math.log10(least), math.log10(largest), _decades(least, largest))
        own = tuple(Tick(math.log10(number), _text(number)) for number in known)
    else:
        are_whole = all(number.is_integer() for number in known)
        axis = Axis(name, "linear", tuple(finite), least, largest, _steps(least, largest, are_whole=are_whole))
        own = tuple(Tick(number, _text(number)) for number in known)
    # A choice among a few numbers reads best by these numbers.
    places = [axis.place(tick.at) for tick in own]
    is_choice = len(known) <= MOST_TICKS and min(after - before for before, after in pairwise(places)) >= LEAST_GAP
    return replace(axis, ticks=own) if is_choice else axis


def category_axis(name: str, texts: Sequence[str | None]) -> Axis:
    """Return an axis of categories, in the order of their texts, or of their numbers where all are numbers."""
    categories = sorted({text for text in texts if text is not None}, key=_order)
    positions = {text: float(position) for position, text in enumerate(categories)}
    values = tuple(None if text is None else positions[text] for text in texts)
    ticks = tuple(Tick(position, text) for text, position in positions.items())
    return Axis(name, "category", values, -ROOM / 4, max(len(categories) - 1, 0) + ROOM / 4, ticks)


def _are_scattered(numbers: Sequence[float | None], largest: float) -> bool:
    """Whether a quarter of the numbers, or more, is less than a tenth of the largest."""
    known = [number for number in numbers if number is not None]
    return sum(number < largest / 10 for number in known) >= len(known) / 4


def _order(text: str) -> tuple[float, str]:
    try:
        number = float(text)
    except ValueError:
        number = math.inf
    return (math.inf if math.isnan(number) else number, text)


def _decades(least: float, largest: float) -> tuple[Tick, ...]:
    """Return ticks at powers of ten, and at twice and five times these where they are few."""
    exponents = range(math.floor(math.log10(least)), math.ceil(math.log10(largest)) + 1)
    every = math.ceil(len(exponents) / MOST_TICKS)
    digits = (1, 2, 5) if len(exponents) <= MOST_TICKS - 1 else (1,)
    ticks = [
        Tick(exponent + math.log10(digit), _text(digit * 10.0**exponent))
        for exponent in exponents
        for digit in digits
        if exponent % every == 0
    ]
    ends = math.log10(least) - 1e-9, math.log10(largest) + 1e-9
    return tuple(tick for tick in ticks if ends[0] <= tick.at <= ends[1])


def _steps(least: float, largest: float, *, are_whole: bool) -> tuple[Tick, ...]:
    """Return ticks at round numbers, a few of them."""
    rough = (largest - least) / (MOST_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9))
    if are_whole:
        step = max(1.0, float(math.ceil(step)))
    first, last = math.ceil(least / step - 1e-9), math.floor(largest / step + 1e-9)
    return tuple(Tick(number * step, _text(number * step)) for number in range(first, last + 1))


def _text(number: float) -> str:
    return f"{number:.6g}"
