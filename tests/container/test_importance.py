"""What a forest tells of the settings' importance, and when it says that it cannot tell."""

import numpy as np
import pytest

from container.report.importance import judge_importance


def columns(trials: int) -> tuple[dict[str, list[object]], list[float]]:
    """Return settings and objectives, of which 9/10 of the variance is of the first setting, 1/10 of the second."""
    random = np.random.default_rng(0)
    first, second, third = random.uniform(-1, 1, (3, trials))
    texts = np.where(second > 0, "yes", "no")
    objective = first * np.sqrt(2.7) + np.where(second > 0, 1, -1) * np.sqrt(0.1)
    return {"first": first.tolist(), "second": texts.tolist(), "third": third.tolist()}, objective.tolist()


def test_the_shares_are_those_of_the_variance() -> None:
    found = judge_importance(*columns(100))
    shares = {item.name: item for item in found.parameters}
    assert [item.name for item in found.parameters] == ["first", "second", "third"]
    assert shares["first"].share == pytest.approx(0.9, abs=0.15)
    assert shares["second"].share == pytest.approx(0.1, abs=0.05)
    assert shares["third"].share == pytest.approx(0, abs=0.02)
    assert [shares[name].is_sure for name in ("first", "second", "third")] == [True, True, False]
    assert found.explained > 0.9


def test_chance_cannot_be_told_apart() -> None:
    values, _ = columns(30)
    noise = np.random.default_rng(1).normal(0, 1, 30).tolist()
    found = judge_importance(values, noise)
    assert found.parameters == ()
    assert "a forest does not learn" in found.why_unknown


@pytest.mark.parametrize(
    ("values", "objectives", "reason"),
    [
        ({"one": [0.1] * 20}, list(range(20)), "no setting had more than one value"),
        ({"one": list(range(9))}, list(range(9)), "it takes 10 trials with an objective, and there are 9"),
        ({"one": list(range(20))}, [0.5] * 20, "all trials reached the same objective"),
        ({}, list(range(20)), "no setting had more than one value"),
    ],
)
def test_it_says_why_it_cannot_be_told(values: dict[str, list[object]], objectives: list[float], reason: str) -> None:
    found = judge_importance(values, objectives)
    assert found.parameters == ()
    assert found.why_unknown == reason


def test_a_setting_that_is_not_varied_is_left_out_and_a_missing_value_is_one_of_its_own() -> None:
    values, objectives = columns(40)
    values |= {"constant": [1] * 40, "sometimes": [None if number % 2 else number for number in range(40)]}
    names = {item.name for item in judge_importance(values, objectives).parameters}
    assert names == {"first", "second", "third", "sometimes"}
