"""What a tuning job runs, what it finds, and what clients are told about it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.tuning import CONTINUOUS, ENDLESS, NEAR, Tuning


@pytest.fixture
def tuning(aws: Any) -> Tuning:
    return Tuning(aws)


def value(trial: dict[str, Any]) -> float:
    return trial["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]


def test_the_trial_with_the_best_objective_is_found(tuning: Tuning) -> None:
    name = tuning.start(NEAR, Strategy="Bayesian", limits={"MaxNumberOfTrainingJobs": 5})
    job = tuning.finish(name)
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    trials = tuning.trials(name)
    assert len(trials) == 5
    for trial in trials:
        assert value(trial) == -abs(float(trial["TunedHyperParameters"]["x"]) - 0.7)
        assert (trial["TrainingJobStatus"], trial["ObjectiveStatus"]) == ("Completed", "Succeeded")
    best = job["BestTrainingJob"]
    assert best == max(trials, key=value)
    assert (
        best["FinalHyperParameterTuningJobObjectiveMetric"].items()
        >= {"Type": "Maximize", "MetricName": "score"}.items()
    )
    assert job["TrainingJobStatusCounters"] == {
        "Completed": 5, "InProgress": 0, "RetryableError": 0, "NonRetryableError": 0, "Stopped": 0,
    }  # fmt: skip
    assert job["ObjectiveStatusCounters"] == {"Succeeded": 5, "Pending": 0, "Failed": 0}
    assert job["CreationTime"] <= trials[0]["CreationTime"]
    assert max(trial["TrainingEndTime"] for trial in trials) <= job["HyperParameterTuningEndTime"]
    assert job["HyperParameterTuningEndTime"] == job["LastModifiedTime"]
    assert 1 <= job["ConsumedResources"]["RuntimeInSeconds"] < 20


def test_a_minimized_objective_has_its_least_value_as_the_best(tuning: Tuning) -> None:
    objective = {"Type": "Minimize", "MetricName": "score"}
    name = tuning.start("score(float(h['x']))", HyperParameterTuningJobObjective=objective)
    best = tuning.finish(name)["BestTrainingJob"]
    assert best == min(tuning.trials(name), key=value)


def test_a_trial_is_a_training_job_like_any_other(tuning: Tuning) -> None:
    aws = tuning.aws
    aws.put(data__1="x")
    channel = aws.channel("training", "data")
    tags = [{"Key": "Project", "Value": "digits"}]
    request = tuning.request(
        "print(json.dumps(h)); print(os.environ['GREETING']); (base / 'model/weights').write_text('w'); score(1.0)",
        limits={"MaxNumberOfTrainingJobs": 1},
        definition={"InputDataConfig": [channel], "Environment": {"GREETING": "hello"}, "DefinitionName": "one"},
    )
    name = request["HyperParameterTuningJobName"]
    arn = aws.sagemaker.create_hyper_parameter_tuning_job(**request, Tags=tags)["HyperParameterTuningJobArn"]
    assert arn.endswith(f":hyper-parameter-tuning-job/{name}")
    tuning.finish(name)
    (trial,) = tuning.trials(name)
    job = aws.describe(trial["TrainingJobName"])
    assert re.fullmatch(rf"{name}-001-[0-9a-f]{{8}}", job["TrainingJobName"])
    assert job["TuningJobArn"] == arn
    assert trial["TrainingJobArn"] == job["TrainingJobArn"]
    assert trial["TrainingJobDefinitionName"] == "one"
    expected = {"training.epochs": "3", "_tuning_objective_metric": "score", **trial["TunedHyperParameters"]}
    assert job["HyperParameters"] == expected
    hyperparameters, greeting, _ = aws.lines(job["TrainingJobName"])
    assert json.loads(hyperparameters) == expected
    assert greeting == "hello"
    assert job["InputDataConfig"] == [channel]
    assert aws.archive(f"out/{job['TrainingJobName']}/output/model.tar.gz") == {"weights": b"w"}
    assert aws.sagemaker.list_tags(ResourceArn=job["TrainingJobArn"])["Tags"] == tags
    listed = aws.sagemaker.list_training_jobs(NameContains=name)["TrainingJobSummaries"]
    assert [entry["TrainingJobName"] for entry in listed] == [job["TrainingJobName"]]


def test_a_training_job_of_no_tuning_job_names_none(tuning: Tuning) -> None:
    assert "TuningJobArn" not in tuning.aws.run("true")


def test_every_trial_has_a_checkpoint_folder_of_its_own(tuning: Tuning) -> None:
    uri = f"s3://{tuning.aws.bucket}/checkpoints/"
    train = "print(os.listdir(base / 'checkpoints')); (base / 'checkpoints/a').write_text('a'); score(1.0)"
    name = tuning.start(train, limits={"MaxParallelTrainingJobs": 1}, definition={"CheckpointConfig": {"S3Uri": uri}})
    tuning.finish(name)
    names = [trial["TrainingJobName"] for trial in tuning.trials(name)]
    assert sorted(tuning.aws.keys()) == sorted(f"checkpoints/{trial}/a" for trial in names)
    assert [tuning.aws.lines(trial)[0] for trial in names] == ["[]"] * 3


def test_the_objective_is_the_last_value_in_the_log(tuning: Tuning) -> None:
    job = tuning.run("score(1.0); score(3.0); score(float('nan')); score(2.0)", limits={"MaxNumberOfTrainingJobs": 1})
    assert value(job["BestTrainingJob"]) == 2.0


def test_trials_run_side_by_side_but_no_more_than_allowed(tuning: Tuning) -> None:
    name = tuning.start(ENDLESS, limits={"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 3})
    running = tuning.aws.eventually(
        lambda: (
            [trial for trial in tuning.trials(name) if tuning.aws.lines(trial["TrainingJobName"])][2:]
            and tuning.trials(name)
        )
    )
    assert len(running) == 3
    job = tuning.describe(name)
    assert job["HyperParameterTuningJobStatus"] == "InProgress"
    assert "BestTrainingJob" not in job
    assert job["TrainingJobStatusCounters"]["InProgress"] == job["ObjectiveStatusCounters"]["Pending"] == 3
    # The next one begins when one has ended.
    tuning.aws.sagemaker.stop_training_job(TrainingJobName=running[0]["TrainingJobName"])
    tuning.aws.eventually(lambda: len(tuning.trials(name)) == 4)
    tuning.aws.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    tuning.finish(name)


def test_a_failed_trial_does_not_end_the_tuning_job(tuning: Tuning) -> None:
    train = "score(float(h['x'])) if h['c'] == 'good' else sys.exit(3)"
    ranges = {**CONTINUOUS, "CategoricalParameterRanges": [{"Name": "c", "Values": ["good", "bad"]}]}
    name = tuning.start(train, limits={"MaxNumberOfTrainingJobs": 8}, ParameterRanges=ranges, RandomSeed=2)
    job = tuning.finish(name)
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    trials = tuning.trials(name)
    failed = [trial for trial in trials if trial["TunedHyperParameters"]["c"] == "bad"]
    assert 0 < len(failed) < 8
    for trial in failed:
        assert (trial["TrainingJobStatus"], trial["ObjectiveStatus"]) == ("Failed", "Failed")
        assert trial["FailureReason"] == "AlgorithmError: , exit code: 3"
        assert "FinalHyperParameterTuningJobObjectiveMetric" not in trial
    assert (
        job["TrainingJobStatusCounters"]["NonRetryableError"] == job["ObjectiveStatusCounters"]["Failed"] == len(failed)
    )
    assert job["BestTrainingJob"]["TrainingJobStatus"] == "Completed"


def test_a_tuning_job_of_which_nothing_succeeds_fails_after_five_trials(tuning: Tuning) -> None:
    job = tuning.run("sys.exit(1)", limits={"MaxNumberOfTrainingJobs": 50, "MaxParallelTrainingJobs": 1})
    assert job["HyperParameterTuningJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("No training job succeeded after 5 attempts.")
    assert job["TrainingJobStatusCounters"]["NonRetryableError"] == 5
    assert "BestTrainingJob" not in job


def test_a_tuning_job_without_an_objective_in_the_logs_says_so(tuning: Tuning) -> None:
    job = tuning.run("print('nothing')")
    assert job["HyperParameterTuningJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("No objective metrics found after running 3 training jobs.")
    assert job["ObjectiveStatusCounters"] == {"Succeeded": 0, "Pending": 0, "Failed": 3}


def test_a_training_job_that_cannot_be_created_fails_the_tuning_job(tuning: Tuning) -> None:
    name = tuning.start(
        "while not (base.parents[2] / 'go').exists(): time.sleep(0.02)\nscore(1.0)",
        limits={"MaxParallelTrainingJobs": 1},
    )
    tuning.aws.eventually(lambda: tuning.trials(name))
    tuning.aws.ecr.batch_delete_image(repositoryName=tuning.aws.repository, imageIds=[{"imageTag": "1"}])
    (trial,) = tuning.trials(name)
    tuning.aws.sagemaker.stop_training_job(TrainingJobName=trial["TrainingJobName"])
    job = tuning.finish(name)
    assert job["HyperParameterTuningJobStatus"] == "Failed"
    assert "Cannot find the requested image" in job["FailureReason"]


def test_the_same_seed_proposes_the_same(tuning: Tuning) -> None:
    ranges = {
        "ContinuousParameterRanges": [{"Name": "x", "MinValue": "1e-4", "MaxValue": "0.1"}],
        "IntegerParameterRanges": [{"Name": "n", "MinValue": "1", "MaxValue": "9"}],
    }

    def proposed(seed: int) -> list[dict[str, str]]:
        name = tuning.start(
            "score(-float(h['x']))", Strategy="Bayesian", ParameterRanges=ranges, RandomSeed=seed,
            limits={"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 1},
        )  # fmt: skip
        tuning.finish(name)
        return [trial["TunedHyperParameters"] for trial in tuning.trials(name)]

    assert proposed(7) == proposed(7) != proposed(8)


def test_the_grid_is_tried_whole_and_once(tuning: Tuning) -> None:
    values = {"a": ["true", "false"], "b": ["32", "64", "128"]}
    ranges = {"CategoricalParameterRanges": [{"Name": name, "Values": found} for name, found in values.items()]}
    limits = {"MaxNumberOfTrainingJobs": None, "MaxParallelTrainingJobs": 3}
    name = tuning.start("score(float(h['b']))", Strategy="Grid", ParameterRanges=ranges, limits=limits)
    job = tuning.finish(name)
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert job["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxNumberOfTrainingJobs"] == 6
    tried = sorted(
        (trial["TunedHyperParameters"]["a"], trial["TunedHyperParameters"]["b"]) for trial in tuning.trials(name)
    )
    assert tried == sorted((a, b) for a in values["a"] for b in values["b"])
    assert job["BestTrainingJob"]["TunedHyperParameters"]["b"] == "128"


def test_the_description_has_the_request_and_what_the_service_model_has(tuning: Tuning) -> None:
    request = tuning.request("score(1.0)", limits={"MaxNumberOfTrainingJobs": 1}, RandomSeed=3)
    tuning.aws.sagemaker.create_hyper_parameter_tuning_job(**request)
    job = tuning.finish(request["HyperParameterTuningJobName"])
    assert job["HyperParameterTuningJobConfig"] == request["HyperParameterTuningJobConfig"]
    definition = request["TrainingJobDefinition"]
    static = {**definition["StaticHyperParameters"], "_tuning_objective_metric": "score"}
    assert job["TrainingJobDefinition"] == {**definition, "StaticHyperParameters": static}
    shape = tuning.aws.sagemaker.meta.service_model.operation_model("DescribeHyperParameterTuningJob").output_shape
    assert set(shape.required_members) <= set(job)


def test_tuning_jobs_are_listed_filtered_sorted_and_paged(tuning: Tuning) -> None:
    prefix = tuning.aws.repository.split("/")[1]
    for number, train in (("2", "score(1.0)"), ("1", "score(1.0)"), ("3", "sys.exit(1)")):
        request = tuning.request(train, limits={"MaxNumberOfTrainingJobs": 1})
        request["HyperParameterTuningJobName"] = f"{prefix}-{number}"
        tuning.aws.sagemaker.create_hyper_parameter_tuning_job(**request)
        tuning.finish(f"{prefix}-{number}")

    def names(**arguments: Any) -> list[str]:
        answer = tuning.aws.sagemaker.list_hyper_parameter_tuning_jobs(NameContains=prefix, **arguments)
        found = [entry["HyperParameterTuningJobName"] for entry in answer["HyperParameterTuningJobSummaries"]]
        return [name.removeprefix(f"{prefix}-") for name in found]

    assert names() == ["1", "2", "3"]
    assert names(SortBy="CreationTime", SortOrder="Descending") == ["3", "1", "2"]
    assert names(SortBy="Status", MaxResults=2) == ["2", "1"]
    assert names(StatusEquals="Failed") == ["3"]
    created = tuning.describe(f"{prefix}-2")["CreationTime"]
    assert names(CreationTimeAfter=created) == ["1", "3"]
    assert names(LastModifiedTimeAfter=created) == ["1", "2", "3"]
    assert names(CreationTimeBefore=created) == names(LastModifiedTimeBefore=created) == []
    pages = tuning.aws.sagemaker.get_paginator("list_hyper_parameter_tuning_jobs").paginate(
        NameContains=prefix, PaginationConfig={"PageSize": 2}
    )
    assert [len(page["HyperParameterTuningJobSummaries"]) for page in pages] == [2, 1]


def test_trials_are_listed_filtered_sorted_and_paged(tuning: Tuning) -> None:
    train = "score(float(h['c'])) if h['c'] != '2' else print('no score')"
    ranges = {"CategoricalParameterRanges": [{"Name": "c", "Values": ["1", "2", "3", "4"]}]}
    limits = {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 1}
    name = tuning.start(train, Strategy="Grid", ParameterRanges=ranges, limits=limits)
    tuning.finish(name)

    def tried(**arguments: Any) -> list[str]:
        return [trial["TunedHyperParameters"]["c"] for trial in tuning.trials(name, **arguments)]

    assert sorted(tried()) == ["1", "2", "3", "4"]
    assert tried() == tried(SortBy="CreationTime") == tried(SortOrder="Descending")[::-1]
    assert tried(SortBy="FinalObjectiveMetricValue") == ["1", "3", "4"]
    assert tried(SortBy="FinalObjectiveMetricValue", SortOrder="Descending", MaxResults=1) == ["4"]
    assert len(tried(StatusEquals="Completed")) == 4
    assert tried(StatusEquals="Failed") == []
    paginator = tuning.aws.sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job")
    pages = paginator.paginate(HyperParameterTuningJobName=name, PaginationConfig={"PageSize": 3})
    assert [len(page["TrainingJobSummaries"]) for page in pages] == [3, 1]


def test_tags_can_be_added_and_read(tuning: Tuning) -> None:
    name = tuning.start("score(1.0)", limits={"MaxNumberOfTrainingJobs": 1})
    arn = tuning.finish(name)["HyperParameterTuningJobArn"]
    tags = [{"Key": "Project", "Value": "digits"}]
    tuning.aws.sagemaker.add_tags(ResourceArn=arn, Tags=tags)
    assert tuning.aws.sagemaker.list_tags(ResourceArn=arn)["Tags"] == tags
    tuning.aws.sagemaker.delete_tags(ResourceArn=arn, TagKeys=["Project"])
    assert tuning.aws.sagemaker.list_tags(ResourceArn=arn)["Tags"] == []


def test_a_tuning_job_that_has_ended_can_be_deleted_and_its_training_jobs_stay(tuning: Tuning) -> None:
    name = tuning.start("score(1.0)", limits={"MaxNumberOfTrainingJobs": 1})
    tuning.finish(name)
    (trial,) = tuning.trials(name)
    tuning.aws.sagemaker.delete_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    with pytest.raises(tuning.aws.sagemaker.exceptions.ResourceNotFound):
        tuning.describe(name)
    assert tuning.aws.describe(trial["TrainingJobName"])["TrainingJobStatus"] == "Completed"
