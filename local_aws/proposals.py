"""What a tuning job tries next, and which trial is not worth going on with: optuna's samplers and pruners.

Bayesian is optuna's Tree-structured Parzen Estimator over all hyperparameters together; SageMaker's own is a Gaussian
process. Random and Grid are what they say. Hyperband is its asynchronous form, with random search as in its paper.
"""

from __future__ import annotations

import contextlib
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.samplers import BaseSampler, GridSampler, RandomSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from local_aws.tuning_ranges import LOGARITHMIC, REVERSE_LOGARITHMIC, CategoricalRange, IntegerRange, Range
from local_aws.tuning_requests import BAYESIAN, GRID, TuningRequest

# Which bracket of Hyperband a trial is in follows from this name and the trial's number.
_STUDY_NAME = "tuning"

# Trials before the first one that learns of them: this share of all, and optuna's own number at most.
_RANDOM_SHARE = 1 / 3
_MOST_RANDOM = 10

# A search that has found its place proposes it again. How often something else is then drawn at random.
_MOST_REPEATS = 100

# A median of fewer says nothing.
_LEAST_COMPLETED = 3


@dataclass(frozen=True)
class Proposal:
    """The hyperparameters of one trial. Its text is what gets into a training job.

    Attributes:
        number: tells it from the others of its search.
        hyperparameters: the tuned ones; a number's text is read as the same number again.
    """

    number: int
    hyperparameters: Mapping[str, str]


class Proposals:
    """The search of one tuning job. Not to be shared by threads.

    With the same seed, and the same results in the same order, it proposes the same.
    """

    def __init__(self, request: TuningRequest) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._ranges = request.ranges
        self._distributions = {entry.name: _distribution(entry) for entry in request.ranges}
        self._sampler = _sampler(request)
        self._random = RandomSampler(seed=request.random_seed)
        self._study = optuna.create_study(
            study_name=_STUDY_NAME,
            direction="maximize" if request.objective.is_maximized else "minimize",
            pruner=_pruner(request),
        )
        self._is_grid = request.strategy == GRID
        self._max_resource = request.hyperband.max_resource if request.hyperband else math.inf
        self._trials: dict[int, Trial] = {}
        self._seen: set[tuple[str, ...]] = set()

    def next(self) -> Proposal:
        """The next one; not one that was proposed before, as far as drawing at random finds another."""
        trial, texts = self._ask(self._sampler)
        for _ in range(_MOST_REPEATS):
            if tuple(texts.values()) not in self._seen:
                break
            self._study.tell(trial, state=TrialState.FAIL)
            trial, texts = self._ask(self._random)
        self._seen.add(tuple(texts.values()))
        self._trials[trial.number] = trial
        return Proposal(trial.number, texts)

    def observe(self, proposal: Proposal, epoch: int, value: float) -> bool:
        """Takes the objective after an epoch of a trial that runs; returns whether the trial is to be stopped.

        Args:
            epoch: from 1, each one once and in order.
        """
        trial = self._trials[proposal.number]
        trial.report(value, epoch)
        return epoch >= self._max_resource or trial.should_prune()

    def end(self, proposal: Proposal, value: float | None, is_completed: bool) -> None:
        """Takes the result of a trial that has ended.

        Args:
            value: the objective's last one; None where there is none, or where the trial failed.
            is_completed: False where the trial was stopped.
        """
        trial = self._trials.pop(proposal.number)
        epochs = max(_intermediate_values(self._study, trial), default=0)
        if value is None:
            self._tell(trial, TrialState.FAIL)
        elif is_completed or epochs >= self._max_resource:
            self._tell(trial, TrialState.COMPLETE, value)
        else:
            # Its value is that of its last epoch, and counts as one of a trial that got no further.
            self._tell(trial, TrialState.PRUNED)

    def _ask(self, sampler: BaseSampler) -> tuple[Trial, Mapping[str, str]]:
        self._study.sampler = sampler
        trial = self._study.ask(self._distributions)
        return trial, {entry.name: _text(entry, trial.params[entry.name]) for entry in self._ranges}

    def _tell(self, trial: Trial, state: TrialState, value: float | None = None) -> None:
        self._study.sampler = self._sampler
        # The grid sampler ends optuna's own loop with the last point of the grid, and there is none here.
        with contextlib.suppress(RuntimeError) if self._is_grid else contextlib.nullcontext():
            self._study.tell(trial, value, state)


class MedianRule(BasePruner):
    """Stops a trial whose objective is worse than the median of the completed trials' running averages.

    Each of these averages is over the epochs up to the one that the trial is at.
    https://docs.aws.amazon.com/sagemaker/latest/dg/automatic-model-tuning-early-stopping.html
    """

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        epoch = trial.last_step
        if epoch is None:
            return False
        averages = []
        for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            if until_then := [value for step, value in other.intermediate_values.items() if step <= epoch]:
                averages.append(statistics.fmean(until_then))
        if len(averages) < _LEAST_COMPLETED:
            return False
        value, median = trial.intermediate_values[epoch], statistics.median(averages)
        return value < median if study.direction == StudyDirection.MAXIMIZE else value > median


def _sampler(request: TuningRequest) -> BaseSampler:
    if request.strategy == GRID:
        values = {entry.name: entry.values for entry in request.ranges if isinstance(entry, CategoricalRange)}
        return GridSampler(values, seed=request.random_seed)
    if request.strategy == BAYESIAN:
        random = max(1, min(_MOST_RANDOM, round(request.max_jobs * _RANDOM_SHARE)))
        # With the liar it does not ask for a neighbor of what still runs.
        return TPESampler(n_startup_trials=random, multivariate=True, constant_liar=True, seed=request.random_seed)
    return RandomSampler(seed=request.random_seed)


def _pruner(request: TuningRequest) -> BasePruner:
    if request.hyperband:
        return HyperbandPruner(min_resource=request.hyperband.min_resource, max_resource=request.hyperband.max_resource)
    return MedianRule() if request.stops_early else NopPruner()


def _distribution(entry: Range) -> BaseDistribution:
    if isinstance(entry, CategoricalRange):
        return CategoricalDistribution(entry.values)
    if isinstance(entry, IntegerRange):
        return IntDistribution(entry.least, entry.most, log=entry.scaling == LOGARITHMIC)
    if entry.scaling == REVERSE_LOGARITHMIC:
        # Of the distance to 1, which is above 0.
        return FloatDistribution(1 - entry.most, 1 - entry.least, log=True)
    return FloatDistribution(entry.least, entry.most, log=entry.scaling == LOGARITHMIC)


def _text(entry: Range, value: Any) -> str:
    if isinstance(entry, CategoricalRange):
        return str(value)
    if not isinstance(entry, IntegerRange) and entry.scaling == REVERSE_LOGARITHMIC:
        value = 1 - value
    # A logarithm and back again can step over a limit by a rounding error.
    return repr(min(max(value, entry.least), entry.most))


def _intermediate_values(study: Study, trial: Trial) -> Mapping[int, float]:
    return study.get_trials(deepcopy=False)[trial.number].intermediate_values
