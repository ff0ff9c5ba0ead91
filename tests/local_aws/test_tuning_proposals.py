"""What a tuning job proposes: within its ranges, as text that is read as the same value again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_aws.proposals import Proposal, Proposals
from local_aws.tuning_requests import TuningRequest, parse


def request(ranges: dict[str, Any], strategy: str = "Bayesian", jobs: int | None = 3, **config: Any) -> TuningRequest:
    limits = {"MaxNumberOfTrainingJobs": jobs, "MaxParallelTrainingJobs": 1}
    metrics = [{"Name": "score", "Regex": "score=(.*)"}]
    return parse(
        {
            "HyperParameterTuningJobName": "tuning",
            "HyperParameterTuningJobConfig": {
                "Strategy": strategy,
                "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "score"},
                "ParameterRanges": ranges,
                "ResourceLimits": limits,
                **config,
            },
            "TrainingJobDefinition": {"AlgorithmSpecification": {"MetricDefinitions": metrics}},
        }
    )


def searched(found: TuningRequest, judge: Callable[[Proposal], float]) -> list[Proposal]:
    """All proposals of a tuning job whose trials come to these values, one after the other."""
    proposals, done = Proposals(found), []
    for _ in range(found.max_jobs):
        proposal = proposals.next()
        proposals.end(proposal, judge(proposal), is_completed=True)
        done.append(proposal)
    return done


def continuous(least: float, most: float, scaling: str) -> dict[str, Any]:
    entry = {"Name": "x", "MinValue": repr(least), "MaxValue": repr(most), "ScalingType": scaling}
    return {"ContinuousParameterRanges": [entry]}


@st.composite
def limits(draw: st.DrawFn, numbers: st.SearchStrategy[Any]) -> tuple[Any, Any]:
    least, most = draw(st.tuples(numbers, numbers).map(sorted).filter(lambda pair: pair[0] < pair[1]))
    return least, most


finite = {"allow_nan": False, "allow_infinity": False}
strategies = st.sampled_from(["Bayesian", "Random"])
seeds = st.integers(0, 2**31 - 1)


@given(limits(st.floats(-1e307, 1e307, **finite)), strategies, seeds)
@settings(max_examples=50)
def test_a_linear_number_stays_in_its_range(found: tuple[float, float], strategy: str, seed: int) -> None:
    ranges = continuous(*found, "Linear")
    for proposal in searched(request(ranges, strategy, RandomSeed=seed), lambda proposal: 1.0):
        text = proposal.hyperparameters["x"]
        assert found[0] <= float(text) <= found[1]
        assert repr(float(text)) == text


@given(limits(st.floats(1e-300, 1e300, **finite)), strategies, seeds)
@settings(max_examples=50)
def test_a_logarithmic_number_stays_in_its_range(found: tuple[float, float], strategy: str, seed: int) -> None:
    ranges = continuous(*found, "Logarithmic")
    for proposal in searched(request(ranges, strategy, RandomSeed=seed), lambda proposal: 1.0):
        assert found[0] <= float(proposal.hyperparameters["x"]) <= found[1]


@given(limits(st.floats(0, 1, exclude_max=True)), strategies, seeds)
@settings(max_examples=50)
def test_a_reverse_logarithmic_number_stays_in_its_range(found: tuple[float, float], strategy: str, seed: int) -> None:
    ranges = continuous(*found, "ReverseLogarithmic")
    for proposal in searched(request(ranges, strategy, RandomSeed=seed), lambda proposal: 1.0):
        assert found[0] <= float(proposal.hyperparameters["x"]) <= found[1]


# Of two neighbors near 2^53 the sampler's densities are nothing at all.
@pytest.mark.filterwarnings("ignore::RuntimeWarning:optuna")
@given(limits(st.integers(-(2**53), 2**53)), st.sampled_from(["Linear", "Auto", "Logarithmic"]), strategies, seeds)
@settings(max_examples=50)
def test_an_integer_stays_in_its_range(found: tuple[int, int], scaling: str, strategy: str, seed: int) -> None:
    least, most = found
    scaling = "Linear" if least <= 0 else scaling
    entry = {"Name": "n", "MinValue": f"{least}", "MaxValue": f"{most}", "ScalingType": scaling}
    jobs = min(3, most - least + 1)
    ranges = {"IntegerParameterRanges": [entry]}
    for proposal in searched(request(ranges, strategy, jobs, RandomSeed=seed), lambda proposal: 1.0):
        text = proposal.hyperparameters["n"]
        assert least <= int(text) <= most
        assert str(int(text)) == text


@given(st.lists(st.text(max_size=20), min_size=1, max_size=30, unique=True), seeds)
@settings(max_examples=50)
def test_a_category_is_one_of_its_texts_as_it_was_given(values: list[str], seed: int) -> None:
    ranges = {"CategoricalParameterRanges": [{"Name": "c", "Values": values}]}
    for proposal in searched(request(ranges, jobs=1, RandomSeed=seed), lambda proposal: 1.0):
        assert proposal.hyperparameters["c"] in values


@pytest.mark.parametrize(
    ("scaling", "least_share", "most_share"),
    [("Linear", 0.0, 0.2), ("Logarithmic", 0.6, 0.9), ("Auto", 0.6, 0.9)],
)
def test_the_scale_decides_where_is_searched(scaling: str, least_share: float, most_share: float) -> None:
    # Three of the four orders of magnitude lie below 0.1.
    found = searched(request(continuous(1e-4, 1.0, scaling), "Random", 200, RandomSeed=1), lambda proposal: 1.0)
    below = [float(proposal.hyperparameters["x"]) < 0.1 for proposal in found]
    assert least_share < sum(below) / len(below) < most_share


def test_auto_is_linear_within_an_order_of_magnitude_and_where_a_value_may_be_zero() -> None:
    for least, most in ((1.0, 9.0), (0.0, 9.0), (-100.0, 9.0)):
        linear = searched(request(continuous(least, most, "Linear"), RandomSeed=1), lambda proposal: 1.0)
        assert searched(request(continuous(least, most, "Auto"), RandomSeed=1), lambda proposal: 1.0) == linear


def test_the_reverse_scale_searches_near_one() -> None:
    ranges = continuous(0.0, 0.999, "ReverseLogarithmic")
    found = searched(request(ranges, "Random", 200, RandomSeed=1), lambda proposal: 1.0)
    near = [float(proposal.hyperparameters["x"]) > 0.9 for proposal in found]
    assert 0.55 < sum(near) / len(near) < 0.8


def test_bayesian_search_comes_nearer_to_the_best_than_random_search() -> None:
    ranges = {
        "ContinuousParameterRanges": [
            {"Name": "x", "MinValue": "0", "MaxValue": "1"},
            {"Name": "y", "MinValue": "0", "MaxValue": "1"},
        ]
    }

    def distance(proposal: Proposal) -> float:
        return sum(abs(float(text) - 0.7) for text in proposal.hyperparameters.values())

    def best(strategy: str) -> float:
        runs = [
            searched(request(ranges, strategy, 40, RandomSeed=seed), lambda proposal: -distance(proposal))
            for seed in range(5)
        ]
        return sum(min(distance(proposal) for proposal in run) for run in runs)

    assert best("Bayesian") < best("Random")


@pytest.mark.parametrize("strategy", ["Bayesian", "Random", "Grid"])
def test_no_combination_is_proposed_twice_while_there_are_others(strategy: str) -> None:
    entries = [{"Name": name, "Values": ["1", "2", "3"]} for name in "ab"]
    ranges = {"CategoricalParameterRanges": entries}
    found = searched(request(ranges, strategy, 9, RandomSeed=1), lambda proposal: float(proposal.hyperparameters["a"]))
    assert len({tuple(proposal.hyperparameters.values()) for proposal in found}) == 9


def test_results_of_failed_trials_are_left_out() -> None:
    proposals = Proposals(request(continuous(0.0, 1.0, "Linear"), jobs=20, RandomSeed=1))
    for number in range(20):
        proposal = proposals.next()
        proposals.end(proposal, None if number % 2 else 1.0, is_completed=False)


def test_hyperband_gives_more_epochs_to_better_trials() -> None:
    config = {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": 9}}
    proposals = Proposals(request(continuous(0.0, 1.0, "Linear"), "Hyperband", 30, StrategyConfig=config, RandomSeed=1))
    epochs: list[tuple[float, int]] = []
    for _ in range(30):
        proposal = proposals.next()
        value, epoch = float(proposal.hyperparameters["x"]), 1
        while not proposals.observe(proposal, epoch, value):
            epoch += 1
        proposals.end(proposal, value, is_completed=False)
        epochs.append((value, epoch))
    assert {epoch for _, epoch in epochs} == {1, 3, 9}
    mean = {
        reached: sum(value for value, epoch in epochs if epoch == reached)
        / sum(epoch == reached for _, epoch in epochs)
        for reached in (1, 9)
    }
    assert mean[9] > mean[1]


@pytest.mark.parametrize(("objective", "sign"), [("Maximize", 1), ("Minimize", -1)])
def test_the_median_rule_stops_what_is_worse_than_the_median_of_the_running_averages(objective: str, sign: int) -> None:
    proposals = Proposals(
        request(
            continuous(0.0, 1.0, "Linear"),
            jobs=9,
            TrainingJobEarlyStoppingType="Auto",
            HyperParameterTuningJobObjective={"Type": objective, "MetricName": "score"},
        )
    )
    # Running averages after two epochs: 1.5, 2.5 and 4.5, and after one: 1, 2 and 4.
    for first, second in ((1, 2), (2, 3), (4, 5)):
        proposal = proposals.next()
        assert not proposals.observe(proposal, 1, sign * first)
        assert not proposals.observe(proposal, 2, sign * second)
        proposals.end(proposal, sign * second, is_completed=True)
    proposal = proposals.next()
    assert not proposals.observe(proposal, 1, sign * 2.0)
    assert proposals.observe(proposal, 2, sign * 2.4)
    # One that was stopped is none to compare with.
    proposals.end(proposal, sign * 2.4, is_completed=False)
    proposal = proposals.next()
    assert proposals.observe(proposal, 1, sign * 1.9)
    assert not proposals.observe(proposal, 2, sign * 2.5)
    assert proposals.observe(proposal, 3, sign * 2.4)
