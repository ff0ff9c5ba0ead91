"""How many images each set gets, and which."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from container.dataset.assign import assign, shares
from container.dataset.index import ClassFolder, ImageFile
from container.dataset.record import Fractions


@st.composite
def fractions(draw: st.DrawFn) -> Fractions:
    weights = draw(st.tuples(*[st.integers(1, 100)] * 3))
    training, validation, evaluation = (weight / sum(weights) for weight in weights)
    return Fractions(training=training, validation=validation, evaluation=evaluation)


def class_of(names: list[str]) -> ClassFolder:
    return ClassFolder("some class", tuple(ImageFile(name, 1, 1, False) for name in names))


NAMES = st.lists(st.text("abc/é", min_size=1, max_size=8), min_size=3, max_size=60, unique=True)


@pytest.mark.parametrize(
    ("count", "given_fractions", "expected"),
    [
        (10, (0.8, 0.1, 0.1), (8, 1, 1)),
        (100, (0.7, 0.15, 0.15), (70, 15, 15)),
        (30, (0.8, 0.1, 0.1), (24, 3, 3)),
        (3, (0.8, 0.1, 0.1), (1, 1, 1)),
        (4, (0.8, 0.1, 0.1), (2, 1, 1)),
        (3, (0.998, 0.001, 0.001), (1, 1, 1)),
        (174, (0.8, 0.1, 0.1), (139, 18, 17)),
        (10_000_000, (0.3333333, 0.3333333, 0.3333333), (3_333_334, 3_333_333, 3_333_333)),
    ],
)
def test_shares(count: int, given_fractions: tuple[float, float, float], expected: tuple[int, int, int]) -> None:
    training, validation, evaluation = given_fractions
    assert shares(count, Fractions(training=training, validation=validation, evaluation=evaluation)) == expected


@given(count=st.integers(3, 100_000), wanted=fractions())
def test_shares_are_whole_and_within_one_image_of_the_fractions(count: int, wanted: Fractions) -> None:
    found = shares(count, wanted)
    exact = [count * share for share in (wanted.training, wanted.validation, wanted.evaluation)]
    assert sum(found) == count
    assert min(found) >= 1
    # Each image that a set is short of its one is taken from the largest set.
    taken = sum(share < 1 for share in exact)
    largest = exact.index(max(exact))
    for index, share in enumerate(exact):
        assert abs(found[index] - share) < 1 + (taken if index == largest else 0) + 1e-6


@given(names=NAMES, wanted=fractions(), seed=st.integers(0, 2**31 - 1))
def test_every_image_is_in_one_set(names: list[str], wanted: Fractions, seed: int) -> None:
    sets = assign(class_of(names), wanted, seed)
    assigned = [file.name for _, files in sets.by_set() for file in files]
    assert sorted(assigned) == sorted(names)
    counts = sets.counts()
    assert (counts.training, counts.validation, counts.evaluation) == shares(len(names), wanted)


@given(names=NAMES, data=st.data(), seed=st.integers(0, 100))
def test_the_order_of_the_images_makes_no_difference(names: list[str], data: st.DataObject, seed: int) -> None:
    shuffled = data.draw(st.permutations(names))
    wanted = Fractions(training=0.6, validation=0.2, evaluation=0.2)
    assert assign(class_of(names), wanted, seed) == assign(class_of(shuffled), wanted, seed)


@given(seed=st.integers(0, 1000), other_seed=st.integers(0, 1000))
def test_another_seed_draws_other_images(seed: int, other_seed: int) -> None:
    assume(seed != other_seed)
    folder = class_of([f"{number}.png" for number in range(200)])
    wanted = Fractions(training=0.5, validation=0.25, evaluation=0.25)
    assert assign(folder, wanted, seed) != assign(folder, wanted, other_seed)


def test_the_draw_is_the_same_on_every_machine() -> None:
    # Known values: a change of the draw would give everybody other sets for the same seed.
    folder = class_of([f"{number}.png" for number in range(10)])
    sets = assign(folder, Fractions(training=0.8, validation=0.1, evaluation=0.1), seed=0)
    assert ([file.name for file in sets.validation], [file.name for file in sets.evaluation]) == (["9.png"], ["4.png"])
