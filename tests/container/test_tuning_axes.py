"""The axes on which trials lie."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from container.report.tuning_axes import axis_of

NUMBERS = st.lists(st.none() | st.integers(-(10**6), 10**6) | st.floats(), max_size=30)


@given(NUMBERS)
def test_numbers_lie_on_their_axis_in_their_order(numbers: list[float | None]) -> None:
    axis = axis_of("x", numbers)
    assert axis.kind in ("linear", "log")
    assert math.isfinite(axis.low)
    assert axis.low < axis.high
    placed = [(number, place) for number, place in zip(numbers, axis.places, strict=True) if place is not None]
    assert all(-1e-9 <= place <= 1 + 1e-9 for _, place in placed)
    assert all(one <= other for (_, one), (_, other) in pairwise(sorted(placed)))
    assert all(-1e-6 <= axis.place(tick.at) <= 1 + 1e-6 for tick in axis.ticks)
    assert all(one.at < other.at for one, other in pairwise(axis.ticks))
    assert len(axis.ticks) <= 30


@given(st.lists(st.none() | st.text() | st.booleans(), max_size=30))
def test_categories_have_a_place_each(values: list[object]) -> None:
    axis = axis_of("x", values)
    texts = {tick.at: tick.text for tick in axis.ticks}
    assert len(set(texts.values())) == len(texts)
    assert all(at is None or at in texts for at in axis.values)
    assert [at is None for at in axis.values] == [value is None for value in values]


@pytest.mark.parametrize(
    ("values", "kind", "ticks"),
    [
        ([1e-4, 0.05], "log", ["0.0001", "0.05"]),
        ([10**-exponent for exponent in (1, 1.5, 2, 2.2, 2.4, 2.6, 2.7, 3.1)], "log", None),
        # A few small ones among many large ones are no reason.
        ([number / 100 for number in range(60)], "linear", ["0", "0.2", "0.4"]),
        ([-1.0, 1000.0], "linear", ["-1", "1000"]),
        ([32, 64, 128], "linear", ["32", "64", "128"]),
        ([0.1, 0.1], "linear", ["0.1"]),
        ([None], "linear", []),
        ([float("nan"), 3], "linear", ["3"]),
        (["128", "32", None], "category", ["32", "128"]),
        ([True, False], "category", ["false", "true"]),
        ([0, True], "category", ["0", "true"]),
        (["b", "a"], "category", ["a", "b"]),
    ],
)
def test_the_kind_follows_the_values(values: list[object], kind: str, ticks: list[str] | None) -> None:
    axis = axis_of("x", values)
    assert axis.kind == kind
    assert ticks is None or [tick.text for tick in axis.ticks] == ticks


@pytest.mark.parametrize("largest", [15, 20, 23, 100, 1000])
def test_whole_numbers_have_whole_ticks(largest: int) -> None:
    ticks = axis_of("x", list(range(6, largest + 1))).ticks
    assert 2 <= len(ticks) <= 6
    assert all(tick.at.is_integer() for tick in ticks)
