"""Tuning jobs that are refused before there is one, with SageMaker's own error codes."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.tuning import CONTINUOUS, Tuning


@pytest.fixture
def tuning(aws: Any) -> Tuning:
    return Tuning(aws)


def refused(tuning: Tuning, request: dict[str, Any], code: str = "ValidationException") -> str:
    """The message with which CreateHyperParameterTuningJob refuses the request; there is no such job then."""
    with pytest.raises(ClientError) as caught:
        tuning.aws.sagemaker.create_hyper_parameter_tuning_job(**request)
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return caught.value.response["Error"]["Message"]


def integer(least: str, most: str, **more: str) -> dict[str, Any]:
    return {"IntegerParameterRanges": [{"Name": "n", "MinValue": least, "MaxValue": most, **more}]}


def continuous(least: str, most: str, **more: str) -> dict[str, Any]:
    return {"ContinuousParameterRanges": [{"Name": "x", "MinValue": least, "MaxValue": most, **more}]}


def categorical(*values: str, name: str = "c") -> dict[str, Any]:
    return {"CategoricalParameterRanges": [{"Name": name, "Values": list(values)}]}


def test_a_name_that_is_in_use_in_whatever_case(tuning: Tuning) -> None:
    request = tuning.request("score(1.0)")
    arn = tuning.aws.sagemaker.create_hyper_parameter_tuning_job(**request)["HyperParameterTuningJobArn"]
    for name in (request["HyperParameterTuningJobName"], request["HyperParameterTuningJobName"].upper()):
        message = refused(tuning, {**request, "HyperParameterTuningJobName": name}, "ResourceInUse")
        assert f"already exists ({arn})" in message
    tuning.finish(request["HyperParameterTuningJobName"])


@pytest.mark.parametrize(
    ("name", "part_of_message"), [("n" * 33, "length less than or equal to 32"), ("under_score", "regular expression")]
)
def test_a_name_that_cannot_be(tuning: Tuning, name: str, part_of_message: str) -> None:
    request = {**tuning.request("score(1.0)"), "HyperParameterTuningJobName": name}
    assert part_of_message in refused(tuning, request)


@pytest.mark.parametrize(
    ("ranges", "part_of_message"),
    [
        ({}, "ParameterRanges has no range"),
        (None, "ParameterRanges has no range"),
        (integer("1", "2.5"), "MaxValue of n must be an integer, at most 2^53 in size, not '2.5'"),
        (integer("1", "1_0"), "MaxValue of n must be an integer"),
        (integer("1", "9007199254740993"), "MaxValue of n must be an integer"),
        (integer("5", "4"), "MinValue (5) of n must be less than MaxValue (4)"),
        (integer("5", "5"), "belongs to StaticHyperParameters"),
        (integer("0", "9", ScalingType="Logarithmic"), "only values greater than 0, and n begins at 0"),
        (integer("1", "9", ScalingType="ReverseLogarithmic"), "ReverseLogarithmic scaling is for continuous"),
        (integer("1", "9", ScalingType="Cubic"), "Member must satisfy enum value set"),
        (continuous("a", "1"), "MinValue of x must be a number that a double can hold, not 'a'"),
        (continuous("nan", "1"), "MinValue of x must be a number"),
        (continuous("0", "1e999"), "MaxValue of x must be a number"),
        (continuous("-1.7e308", "1.7e308"), "The range of x is too wide"),
        (continuous("1", "0.5"), "MinValue (1) of x must be less than MaxValue (0.5)"),
        (continuous("0.0", "1", ScalingType="Logarithmic"), "only values greater than 0, and x begins at 0.0"),
        (continuous("0", "1", ScalingType="ReverseLogarithmic"), "within the range 0<=x<1.0, and x goes from 0 to 1"),
        (categorical("a", "b", "a"), "The values of c must be different, and these are not: a"),
        (categorical("a", name=""), "Name must not be empty"),
        ({**continuous("0", "1"), **categorical("a", "b", name="x")}, "more than one range for: x"),
        ({**categorical("a", "b", name="training.epochs")}, "and these are in StaticHyperParameters and in"),
        (categorical("a", "b", name="_tuning_objective_metric"), "is SageMaker's own"),
        ({**CONTINUOUS, "AutoParameters": [{"Name": "a", "ValueHint": "1"}]}, "local_aws has no Autotune"),
        (categorical("a", "b"), "number of hyperparameter combinations for the provided ranges [2]"),
    ],
)
def test_ranges_that_cannot_be_searched(tuning: Tuning, ranges: dict[str, Any] | None, part_of_message: str) -> None:
    assert part_of_message in refused(tuning, tuning.request("score(1.0)", ParameterRanges=ranges))


def test_more_ranges_than_a_tuning_job_can_search(tuning: Tuning) -> None:
    entries = [{"Name": f"p{number}", "MinValue": "0", "MaxValue": "9"} for number in range(16)]
    ranges = {
        "IntegerParameterRanges": entries,
        "ContinuousParameterRanges": [{**entry, "Name": f"c{entry['Name']}"} for entry in entries],
    }
    assert "has 32 ranges" in refused(tuning, tuning.request("score(1.0)", ParameterRanges=ranges))


@pytest.mark.parametrize(
    ("config", "part_of_message"),
    [
        (
            {"HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "loss"}},
            "A metric is required for this hyperparameter tuning job objective. Provide a metric in the metric "
            "definitions. (The objective is loss, and MetricDefinitions has: score.)",
        ),
        ({"HyperParameterTuningJobObjective": None}, "must have a HyperParameterTuningJobObjective"),
        ({"HyperParameterTuningJobObjective": {"Type": "Best", "MetricName": "score"}}, "enum value set"),
        ({"Strategy": "Genetic"}, "enum value set"),
        ({"Strategy": "Grid"}, "The Grid strategy supports categorical hyperparameters only"),
        (
            {"Strategy": "Grid", "ParameterRanges": categorical("a", "b")},
            "must be equal to the number of combinations, 2, not 3",
        ),
        ({"limits": {"MaxNumberOfTrainingJobs": None}}, "ResourceLimits must have MaxNumberOfTrainingJobs"),
        ({"limits": {"MaxRuntimeInSeconds": 15_768_001}}, "less than or equal to 15768000"),
        ({"TrainingJobEarlyStoppingType": "Later"}, "enum value set"),
        ({"RandomSeed": 2**31}, "RandomSeed must be at most 2147483647"),
        ({"StrategyConfig": {"HyperbandStrategyConfig": {"MaxResource": 9}}}, "is for the Hyperband strategy only"),
        ({"Strategy": "Hyperband"}, "needs StrategyConfig.HyperbandStrategyConfig.MaxResource"),
        (
            {
                "Strategy": "Hyperband",
                "StrategyConfig": {"HyperbandStrategyConfig": {"MinResource": 5, "MaxResource": 4}},
            },
            "MaxResource (4) must be at least MinResource (5)",
        ),
        (
            {"Strategy": "Hyperband", "StrategyConfig": {"HyperbandStrategyConfig": {"MaxResource": 20_001}}},
            "at most 20000",
        ),
        (
            {
                "Strategy": "Hyperband",
                "StrategyConfig": {"HyperbandStrategyConfig": {"MaxResource": 9}},
                "TrainingJobEarlyStoppingType": "Auto",
            },
            "must be Off with the Hyperband strategy",
        ),
        (
            {"TuningJobCompletionCriteria": {"ConvergenceDetected": {"CompleteOnConvergence": "Enabled"}}},
            "CompleteOnConvergence is not offered by this AWS",
        ),
        ({"definition": {"RoleArn": "arn:aws:iam::123456789012:role/nobody"}}, "Could not assume role"),
        ({"definition": {"ResourceConfig": None}}, "ResourceConfig must have one InstanceType"),
        ({"definition": {"EnableManagedSpotTraining": True}}, "Invalid MaxWaitTimeInSeconds"),
        ({"definition": {"OutputDataConfig": {"S3OutputPath": "s3://no-such-bucket/a"}}}, "Could not find S3 bucket"),
        ({"definition": {"HyperParameterRanges": CONTINUOUS}}, "HyperParameterRanges is not offered by this AWS"),
        (
            {"definition": {"TuningObjective": {"Type": "Maximize", "MetricName": "score"}}},
            "TuningObjective is not offered by this AWS",
        ),
        (
            {"definition": {"StaticHyperParameters": {f"p{number}": "1" for number in range(99)}}},
            "these would have 101: 99 static ones, 1 tuned ones, and _tuning_objective_metric",
        ),
    ],
)
def test_a_request_against_the_rules(tuning: Tuning, config: dict[str, Any], part_of_message: str) -> None:
    assert part_of_message in refused(tuning, tuning.request("score(1.0)", **config))


@pytest.mark.parametrize(
    "limits", [{"MaxNumberOfTrainingJobs": 10_001}, {"MaxParallelTrainingJobs": 101}], ids=["jobs", "parallel jobs"]
)
def test_more_than_aws_can_be_asked_for(tuning: Tuning, limits: dict[str, int]) -> None:
    message = refused(tuning, tuning.request("score(1.0)", limits=limits), "ResourceLimitExceeded")
    assert f"not {next(iter(limits.values()))}" in message


def test_a_grid_of_more_points_than_aws_would_try(tuning: Tuning) -> None:
    values = [str(number) for number in range(30)]
    ranges = {"CategoricalParameterRanges": [{"Name": f"p{number}", "Values": values} for number in range(30)]}
    request = tuning.request(
        "score(1.0)", Strategy="Grid", ParameterRanges=ranges, limits={"MaxNumberOfTrainingJobs": None}
    )
    assert "of the Grid strategy is at most 750" in refused(tuning, request, "ResourceLimitExceeded")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (
            "WarmStartConfig",
            {
                "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "a"}],
                "WarmStartType": "TransferLearning",
            },
        ),
        ("Autotune", {"Mode": "Enabled"}),
    ],
)
def test_what_only_aws_has_is_refused_by_name(tuning: Tuning, field: str, value: dict[str, Any]) -> None:
    message = refused(tuning, {**tuning.request("score(1.0)"), field: value})
    assert message.startswith(f"{field} is not offered by this AWS: ")


def test_several_definitions_are_refused_and_none_as_well(tuning: Tuning) -> None:
    request = tuning.request("score(1.0)")
    definition = request.pop("TrainingJobDefinition")
    assert "TrainingJobDefinitions is not offered" in refused(
        tuning, {**request, "TrainingJobDefinitions": [definition]}
    )
    assert "needs a TrainingJobDefinition" in refused(tuning, request)


def test_a_refused_tuning_job_is_not_there(tuning: Tuning) -> None:
    request = tuning.request("score(1.0)", ParameterRanges={})
    refused(tuning, request)
    with pytest.raises(tuning.aws.sagemaker.exceptions.ResourceNotFound):
        tuning.describe(request["HyperParameterTuningJobName"])


@pytest.mark.parametrize(
    "operation",
    [
        "describe_hyper_parameter_tuning_job",
        "stop_hyper_parameter_tuning_job",
        "delete_hyper_parameter_tuning_job",
        "list_training_jobs_for_hyper_parameter_tuning_job",
    ],
)
def test_a_tuning_job_that_does_not_exist(aws: Any, operation: str) -> None:
    with pytest.raises(ClientError, match="Requested resource not found") as caught:
        getattr(aws.sagemaker, operation)(HyperParameterTuningJobName="nothing")
    assert caught.value.response["Error"]["Code"] == "ResourceNotFound"
