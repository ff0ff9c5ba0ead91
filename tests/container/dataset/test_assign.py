"""How many images each set gets, and which."""

import itertools
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from container.dataset.assign import draw, draw_stably, shares
from container.dataset.image_files import ImageFile
from container.dataset.index import ClassFolder

Parts = tuple[float, ...]


@st.composite
def fractions(draw_one: st.DrawFn) -> Parts:
    weights = draw_one(st.lists(st.integers(1, 100), min_size=2, max_size=3))
    return tuple(weight / sum(weights) for weight in weights)


def class_of(names: Sequence[str], name: str = "some class") -> ClassFolder:
    return ClassFolder(name, tuple(ImageFile(file, 1, 1, False) for file in names), name)


NAMES = st.lists(st.text("abc/é", min_size=1, max_size=8), min_size=3, max_size=60, unique=True)


@st.composite
def grouped_classes(draw_one: st.DrawFn) -> tuple[list[ClassFolder], list[list[int]]]:
    """Some classes, and groups of their images, of which some lie in several classes."""
    classes = [
        class_of(names, f"class {label}")
        for label, names in enumerate(draw_one(st.lists(NAMES, min_size=1, max_size=3)))
    ]
    count = sum(len(folder.files) for folder in classes)
    owner = draw_one(st.lists(st.integers(0, 2 * count), min_size=count, max_size=count))
    groups = [[place for place in range(count) if owner[place] == number] for number in sorted(set(owner))]
    return classes, [group for group in groups if len(group) > 1]


@pytest.mark.parametrize(
    ("count", "parts", "expected"),
    [
        (10, (0.8, 0.1, 0.1), [8, 1, 1]),
        (100, (0.7, 0.15, 0.15), [70, 15, 15]),
        (30, (0.8, 0.1, 0.1), [24, 3, 3]),
        (3, (0.8, 0.1, 0.1), [1, 1, 1]),
        (4, (0.8, 0.1, 0.1), [2, 1, 1]),
        (3, (0.998, 0.001, 0.001), [1, 1, 1]),
        (174, (0.8, 0.1, 0.1), [139, 18, 17]),
        (10_000_000, (0.3333333, 0.3333333, 0.3333333), [3_333_334, 3_333_333, 3_333_333]),
        (1, (0.9, 0.1), [1, 0]),
        (0, (0.9, 0.1), [0, 0]),
    ],
)
def test_shares(count: int, parts: Parts, expected: list[int]) -> None:
    assert shares(count, parts) == expected


@given(count=st.integers(3, 100_000), wanted=fractions())
def test_shares_are_whole_and_within_one_image_of_the_fractions(count: int, wanted: Parts) -> None:
    found = shares(count, wanted)
    exact = [count * share for share in wanted]
    assert sum(found) == count
    assert min(found) >= 1
    # Each image that a set is short of its one is taken from the largest set.
    taken = sum(share < 1 for share in exact)
    largest = exact.index(max(exact))
    for index, share in enumerate(exact):
        assert abs(found[index] - share) < 1 + (taken if index == largest else 0) + 1e-6


@given(names=NAMES, wanted=fractions(), seed=st.integers(0, 2**31 - 1))
def test_without_groups_each_class_is_divided_by_its_shares(names: list[str], wanted: Parts, seed: int) -> None:
    places = Counter(draw([class_of(names)], wanted, seed))
    assert [places[part] for part in range(len(wanted))] == shares(len(names), wanted)


@given(names=NAMES, data=st.data(), seed=st.integers(0, 100))
def test_the_order_of_the_images_makes_no_difference(names: list[str], data: st.DataObject, seed: int) -> None:
    shuffled = data.draw(st.permutations(names))
    one, other = (draw([class_of(some)], (0.6, 0.2, 0.2), seed) for some in (names, shuffled))
    assert dict(zip(names, one, strict=True)) == dict(zip(shuffled, other, strict=True))


@given(seed=st.integers(0, 1000), other_seed=st.integers(0, 1000))
def test_another_seed_draws_other_images(seed: int, other_seed: int) -> None:
    assume(seed != other_seed)
    folder = class_of([f"{number}.png" for number in range(200)])
    assert draw([folder], (0.5, 0.25, 0.25), seed) != draw([folder], (0.5, 0.25, 0.25), other_seed)


def test_the_draw_is_the_same_on_every_machine() -> None:
    # Known values: a change of the draw would give everybody other sets for the same seed.
    folder = class_of([f"{number}.png" for number in range(10)])
    assert list(draw([folder], (0.8, 0.1, 0.1), seed=0)) == [0, 0, 0, 0, 2, 0, 0, 0, 0, 1]
    assert list(draw_stably([folder], (0.5, 0.5), seed=0)) == [0, 1, 0, 0, 1, 1, 1, 0, 1, 1]


@given(found=grouped_classes(), wanted=fractions(), seed=st.integers(0, 100))
def test_no_group_is_parted_and_every_class_keeps_its_images(
    found: tuple[list[ClassFolder], list[list[int]]], wanted: Parts, seed: int
) -> None:
    classes, groups = found
    for places in (draw(classes, wanted, seed, groups), draw_stably(classes, wanted, seed, groups)):
        assert len(places) == sum(len(folder.files) for folder in classes)
        assert set(places) <= set(range(len(wanted)))
        for group in groups:
            assert len({places[position] for position in group}) == 1


@given(found=grouped_classes(), wanted=fractions(), seed=st.integers(0, 100))
def test_no_part_has_more_of_a_class_than_its_share_by_more_than_one_group(
    found: tuple[list[ClassFolder], list[list[int]]], wanted: Parts, seed: int
) -> None:
    classes, groups = found
    starts = list(itertools.accumulate((len(folder.files) for folder in classes), initial=0))
    ranges = list(itertools.starmap(range, itertools.pairwise(starts)))
    parted = [[place for place in group if place in positions] for positions in ranges for group in groups]
    groups = [group for group in parted if len(group) > 1]
    places = draw(classes, wanted, seed, groups)
    for positions in ranges:
        largest = max((len(group) for group in groups if group[0] in positions), default=0)
        counts = Counter(places[position] for position in positions)
        for part, share in enumerate(shares(len(positions), wanted)):
            assert counts[part] - share <= largest


def test_groups_of_the_same_size_are_divided_as_single_images_would_be() -> None:
    folder = class_of([f"{number:03}.png" for number in range(200)])
    groups = [list(range(start, start + 4)) for start in range(0, 200, 4)]
    counts = Counter(draw([folder], (0.8, 0.1, 0.1), 0, groups))
    assert [counts[part] for part in range(3)] == [160, 20, 20]


def test_a_few_large_groups_leave_no_set_empty() -> None:
    folder = class_of([f"{number:03}.png" for number in range(15)])
    counts = Counter(draw([folder], (0.8, 0.1, 0.1), 0, [list(range(start, start + 5)) for start in (0, 5, 10)]))
    assert sorted(counts.values()) == [5, 5, 5]


@given(names=NAMES, more=NAMES, wanted=fractions(), seed=st.integers(0, 100))
def test_a_stable_draw_moves_nothing_when_images_are_added(
    names: list[str], more: list[str], wanted: Parts, seed: int
) -> None:
    before = draw_stably([class_of(names)], wanted, seed)
    grown = sorted({*names, *more})
    after = dict(zip(grown, draw_stably([class_of(grown)], wanted, seed), strict=True))
    assert [after[name] for name in names] == list(before)


def test_a_stable_draw_has_about_the_wanted_fractions() -> None:
    counts = Counter(draw_stably([class_of([f"{number}.png" for number in range(20_000)])], (0.8, 0.1, 0.1), 0))
    assert [round(counts[part] / 20_000, 2) for part in range(3)] == [0.8, 0.1, 0.1]


def test_a_group_goes_where_its_members_were_and_else_where_its_key_says() -> None:
    folder = class_of([f"{number}.png" for number in range(6)])
    keys = dict.fromkeys(range(4), "patient 7")
    alone = draw_stably([folder], (0.5, 0.5), 1, [[0, 1]], {0: "patient 7", 1: "patient 7"})
    together = draw_stably([folder], (0.5, 0.5), 1, [[0, 1, 2, 3]], keys)
    assert set(together[:4]) == set(alone[:2])
    for earlier, expected in (({4: 1}, 1), ({5: 0}, 0), ({4: 0, 5: 1}, 0)):
        assert set(draw_stably([folder], (0.5, 0.5), 1, [[4, 5]], earlier=earlier)[4:]) == {expected}
