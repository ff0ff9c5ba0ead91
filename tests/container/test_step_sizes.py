"""How many of the waiting images a step of the model takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from container.serving.step_sizes import StepSizes


@pytest.mark.parametrize(
    ("largest", "sizes"), [(1, (1,)), (2, (1, 2)), (5, (1, 2, 3, 4, 5)), (32, (1, 2, 3, 4, 6, 8, 12, 16, 24, 32))]
)
def test_sizes_grow_by_halves_up_to_the_largest(largest: int, sizes: tuple[int, ...]) -> None:
    assert StepSizes(largest).all == sizes


@given(st.integers(1, 200), st.integers(1, 400), st.floats(0, 1), st.floats(0, 1))
def test_a_step_takes_one_image_at_least_and_no_more_than_it_holds(
    largest: int, waiting: int, one: float, all_of_them: float
) -> None:
    sizes = StepSizes(largest)
    sizes.learn(one, all_of_them)
    best = sizes.best(waiting)
    assert 1 <= best <= min(waiting, largest)
    assert best <= sizes.filled_up(best) in sizes.all


def test_where_each_image_takes_its_time_none_is_added() -> None:
    sizes = StepSizes(32)
    sizes.learn(1, 32)
    assert [sizes.best(waiting) for waiting in (1, 5, 20, 31, 40)] == [1, 4, 16, 24, 32]


def test_where_a_step_takes_as_long_for_many_all_are_taken() -> None:
    sizes = StepSizes(32)
    sizes.learn(1, 1)
    assert [sizes.best(waiting) for waiting in (1, 5, 20, 31, 40)] == [1, 5, 20, 31, 32]


def test_few_are_added_where_that_is_cheaper_than_another_step() -> None:
    sizes = StepSizes(32)
    sizes.learn(3, 34)
    assert [sizes.best(waiting) for waiting in (5, 10, 20, 22)] == [5, 10, 16, 22]
