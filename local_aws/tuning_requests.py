"""A CreateHyperParameterTuningJob request: its fields as types, and what SageMaker or local_aws refuses of them.

Messages are SageMaker's own where they are known, so that who looks them up finds the same advice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moto.sagemaker.exceptions import SagemakerClientError

from local_aws.training_requests import require
from local_aws.tuning_ranges import CategoricalRange, Range, combinations, parse_ranges

BAYESIAN, RANDOM, HYPERBAND, GRID = "Bayesian", "Random", "Hyperband", "Grid"

# What SageMaker adds to every trial's hyperparameters, so that the program knows what is judged.
OBJECTIVE_HYPERPARAMETER = "_tuning_objective_metric"

# For static and tuned hyperparameters and SageMaker's own together.
_MOST_HYPERPARAMETERS = 100

# https://docs.aws.amazon.com/sagemaker/latest/dg/automatic-model-tuning-limits.html, as far as they can be increased.
_MOST_JOBS = {BAYESIAN: 750, RANDOM: 10_000, HYPERBAND: 750, GRID: 750}
_MOST_PARALLEL_JOBS = 100

# What the names of the static hyperparameter are from which HyperbandStrategyConfig takes its MaxResource.
_EPOCHS = ("epochs", "numepochs", "n-epochs", "n_epochs", "num_epochs")
_MOST_EPOCHS = 20_000

# The service's integers have 32 bits.
_GREATEST_SEED = 2**31 - 1

# What a TrainingJobDefinition and a CreateTrainingJob request have in common.
_DEFINITION_FIELDS = (
    "AlgorithmSpecification",
    "RoleArn",
    "InputDataConfig",
    "VpcConfig",
    "OutputDataConfig",
    "ResourceConfig",
    "StoppingCondition",
    "EnableNetworkIsolation",
    "EnableInterContainerTrafficEncryption",
    "EnableManagedSpotTraining",
    "CheckpointConfig",
    "RetryStrategy",
    "Environment",
)


@dataclass(frozen=True)
class Objective:
    """The metric by which trials are judged."""

    metric_name: str
    is_maximized: bool

    @property
    def type(self) -> str:
        """What the request calls it."""
        return "Maximize" if self.is_maximized else "Minimize"

    def is_better(self, value: float, than: float) -> bool:
        return value > than if self.is_maximized else value < than


@dataclass(frozen=True)
class Hyperband:
    """How many epochs a trial may have: up to `min_resource` it is not stopped, and at `max_resource` it is."""

    min_resource: int
    max_resource: int


@dataclass(frozen=True)
class CompletionCriteria:
    """When a tuning job ends besides by its number of trials; what is None ends none.

    Attributes:
        target: the objective's value that is enough.
        most_not_improving: the number of trials since the best one that are not better by 1%.
        max_runtime_seconds: of the tuning job.
    """

    target: float | None
    most_not_improving: int | None
    max_runtime_seconds: int | None


@dataclass(frozen=True)
class TuningRequest:
    """What the engine needs to know of a request, and `document`, the request as it came but for what it implies."""

    document: Mapping[str, Any]
    name: str
    strategy: str
    objective: Objective
    ranges: tuple[Range, ...]
    max_jobs: int
    max_parallel_jobs: int
    stops_early: bool
    hyperband: Hyperband | None
    """Of that strategy."""
    criteria: CompletionCriteria
    random_seed: int | None
    definition: Mapping[str, Any]
    """Of the training jobs: TrainingJobDefinition."""

    def training_document(self, training_job_name: str, tuned: Mapping[str, str]) -> Mapping[str, Any]:
        """The CreateTrainingJob request of a trial.

        Args:
            tuned: the values of the tuned hyperparameters.
        """
        document = {field: self.definition[field] for field in _DEFINITION_FIELDS if field in self.definition}
        if checkpoints := document.get("CheckpointConfig"):
            # Trials that shared a folder would go on from each other's checkpoints.
            uri = f"{checkpoints['S3Uri'].rstrip('/')}/{training_job_name}"
            document["CheckpointConfig"] = {**checkpoints, "S3Uri": uri}
        if tags := self.document.get("Tags"):
            document["Tags"] = tags
        return {
            **document,
            "TrainingJobName": training_job_name,
            "HyperParameters": {**self.definition["StaticHyperParameters"], **tuned},
        }


def parse(document: Mapping[str, Any]) -> TuningRequest:
    """A request as its type, from a document that `check_document` let pass.

    Raises:
        ValidationError: fields that do not go together, or that ask for what local_aws does not have.
        SagemakerClientError: ResourceLimitExceeded.
    """
    _check_offered(document)
    config, definition = document["HyperParameterTuningJobConfig"], document["TrainingJobDefinition"]
    objective = _objective(config, definition)
    ranges = parse_ranges(config.get("ParameterRanges", {}))
    static = definition.get("StaticHyperParameters", {})
    _check_hyperparameters(static, ranges)
    strategy, limits = config["Strategy"], config["ResourceLimits"]
    max_jobs = _max_jobs(strategy, limits, ranges)
    _check_limits(strategy, max_jobs, limits)
    stops_early = config.get("TrainingJobEarlyStoppingType", "Off") == "Auto"
    seed = config.get("RandomSeed")
    require(seed is None or seed <= _GREATEST_SEED, f"RandomSeed must be at most {_GREATEST_SEED}, not {seed}")
    implied_config = {**config, "ResourceLimits": {**limits, "MaxNumberOfTrainingJobs": max_jobs}}
    statics = {**static, OBJECTIVE_HYPERPARAMETER: objective.metric_name}
    implied_definition = {**definition, "StaticHyperParameters": statics}
    return TuningRequest(
        document={
            **document,
            "HyperParameterTuningJobConfig": implied_config,
            "TrainingJobDefinition": implied_definition,
        },
        name=document["HyperParameterTuningJobName"],
        strategy=strategy,
        objective=objective,
        ranges=ranges,
        max_jobs=max_jobs,
        max_parallel_jobs=limits["MaxParallelTrainingJobs"],
        stops_early=stops_early,
        hyperband=_hyperband(config, static, stops_early),
        criteria=_criteria(config),
        random_seed=seed,
        definition=implied_definition,
    )


def _check_offered(document: Mapping[str, Any]) -> None:
    definition = document.get("TrainingJobDefinition")
    for field, instead in {
        "WarmStartConfig": "leave it out, or narrow the ranges to what the earlier tuning job found good",
        "Autotune": "give ParameterRanges and ResourceLimits",
        "TrainingJobDefinitions": "give one TrainingJobDefinition",
    }.items():
        require(field not in document, f"{field} is not offered by this AWS: {instead}")
    require(definition is not None, "A tuning job needs a TrainingJobDefinition")
    assert definition is not None
    for field, instead in {
        "HyperParameterRanges": "give the ranges in HyperParameterTuningJobConfig.ParameterRanges",
        "TuningObjective": "give it in HyperParameterTuningJobConfig.HyperParameterTuningJobObjective",
        "HyperParameterTuningResourceConfig": "give a ResourceConfig",
    }.items():
        require(field not in definition, f"TrainingJobDefinition.{field} is not offered by this AWS: {instead}")


def _objective(config: Mapping[str, Any], definition: Mapping[str, Any]) -> Objective:
    objective = config.get("HyperParameterTuningJobObjective")
    require(objective is not None, "HyperParameterTuningJobConfig must have a HyperParameterTuningJobObjective")
    assert objective is not None
    metrics = [entry["Name"] for entry in definition["AlgorithmSpecification"].get("MetricDefinitions", ())]
    require(
        objective["MetricName"] in metrics,
        "A metric is required for this hyperparameter tuning job objective. Provide a metric in the metric "
        f"definitions. (The objective is {objective['MetricName']}, and MetricDefinitions has: "
        f"{', '.join(metrics) or 'none'}.)",
    )
    return Objective(objective["MetricName"], objective["Type"] == "Maximize")


def _check_hyperparameters(static: Mapping[str, str], ranges: tuple[Range, ...]) -> None:
    names = [entry.name for entry in ranges]
    both = sorted(set(static) & set(names))
    require(
        not both,
        f"A hyperparameter is either static or tuned, and these are in StaticHyperParameters and in ParameterRanges: "
        f"{', '.join(both)}",
    )
    require(
        OBJECTIVE_HYPERPARAMETER not in (*static, *names),
        f"The hyperparameter {OBJECTIVE_HYPERPARAMETER} is SageMaker's own: it is added to every training job",
    )
    total = len(static) + len(names) + 1
    require(
        total <= _MOST_HYPERPARAMETERS,
        f"A training job has at most {_MOST_HYPERPARAMETERS} hyperparameters, and these would have {total}: "
        f"{len(static)} static ones, {len(names)} tuned ones, and {OBJECTIVE_HYPERPARAMETER}",
    )


def _max_jobs(strategy: str, limits: Mapping[str, Any], ranges: tuple[Range, ...]) -> int:
    count, given = combinations(ranges), limits.get("MaxNumberOfTrainingJobs")
    if strategy == GRID:
        require(
            all(isinstance(entry, CategoricalRange) for entry in ranges),
            "The Grid strategy supports categorical hyperparameters only: give the values of each one in "
            "CategoricalParameterRanges",
        )
        require(
            given in (None, count),
            f"MaxNumberOfTrainingJobs of the Grid strategy must be equal to the number of combinations, {count}, not "
            f"{given}; it can be left out",
        )
        return int(count)
    require(given is not None, f"ResourceLimits must have MaxNumberOfTrainingJobs with the {strategy} strategy")
    assert given is not None
    # https://github.com/aws/amazon-sagemaker-operator-for-k8s/issues/123
    require(
        count >= given,
        "You don't have enough combinations of hyperparameter ranges. The total number of hyperparameter combinations "
        f"for the provided ranges [{count}] must be equal or greater than the value of MaxNumberOfJobs, [{given}]. "
        "Provide additional ranges.",
    )
    return int(given)


def _check_limits(strategy: str, max_jobs: int, limits: Mapping[str, Any]) -> None:
    for what, value, most in (
        ("MaxNumberOfTrainingJobs", max_jobs, _MOST_JOBS[strategy]),
        ("MaxParallelTrainingJobs", limits["MaxParallelTrainingJobs"], _MOST_PARALLEL_JOBS),
    ):
        if value > most:
            raise SagemakerClientError(
                "ResourceLimitExceeded", f"{what} of the {strategy} strategy is at most {most}, not {value}"
            )


def _hyperband(config: Mapping[str, Any], static: Mapping[str, str], stops_early: bool) -> Hyperband | None:
    if config["Strategy"] != HYPERBAND:
        require("StrategyConfig" not in config, "StrategyConfig is for the Hyperband strategy only")
        return None
    require(
        not stops_early,
        "TrainingJobEarlyStoppingType must be Off with the Hyperband strategy, which stops training jobs itself",
    )
    given = config.get("StrategyConfig", {}).get("HyperbandStrategyConfig", {})
    most = given.get("MaxResource")
    if most is None:
        most = next((int(static[name]) for name in _EPOCHS if static.get(name, "").isdecimal()), None)
    require(
        most is not None,
        "The Hyperband strategy needs StrategyConfig.HyperbandStrategyConfig.MaxResource, the most epochs of a "
        f"training job, where no static hyperparameter tells it by one of these names: {', '.join(_EPOCHS)}",
    )
    least = given.get("MinResource", 1)
    require(
        least <= most <= _MOST_EPOCHS,
        f"MaxResource ({most}) must be at least MinResource ({least}) and at most {_MOST_EPOCHS}",
    )
    return Hyperband(least, most)


def _criteria(config: Mapping[str, Any]) -> CompletionCriteria:
    given = config.get("TuningJobCompletionCriteria", {})
    require(
        given.get("ConvergenceDetected", {}).get("CompleteOnConvergence") != "Enabled",
        "CompleteOnConvergence is not offered by this AWS: use BestObjectiveNotImproving or TargetObjectiveMetricValue",
    )
    target = given.get("TargetObjectiveMetricValue")
    require(target is None or math.isfinite(target), f"TargetObjectiveMetricValue must be a number, not {target}")
    return CompletionCriteria(
        target=target,
        most_not_improving=given.get("BestObjectiveNotImproving", {}).get("MaxNumberOfTrainingJobsNotImproving"),
        max_runtime_seconds=config["ResourceLimits"].get("MaxRuntimeInSeconds"),
    )
