"""What a training program finds, what it leaves, and what clients are told about its job."""

from __future__ import annotations

import itertools
import json
import threading
from typing import Any

from botocore.model import ServiceModel

PRINT_CONFIG = """\
cd "$SAGEMAKER_BASE_DIR/input/config"
for name in hyperparameters resourceconfig inputdataconfig; do tr -d '\\n' < $name.json; echo; done
"""


def test_a_job_completes_and_leaves_its_artifacts(aws: Any) -> None:
    aws.put(training__cats__1="cat", training__dogs__2="dog", validation__cats__3="cat 3")
    job = aws.run(
        """
        cd "$SAGEMAKER_BASE_DIR"
        mkdir model/sub && cp input/data/training/cats/1 model/sub/ && cat input/data/validation/cats/3 > model/top
        echo extra > output/data/extra.txt
        """,
        InputDataConfig=[aws.channel("training", "training"), aws.channel("validation", "validation/")],
    )
    assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Completed"
    name = job["TrainingJobName"]
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://{aws.bucket}/out/{name}/output/model.tar.gz"
    assert aws.archive(f"out/{name}/output/model.tar.gz") == {"sub/1": b"cat", "top": b"cat 3"}
    assert aws.archive(f"out/{name}/output/output.tar.gz") == {"extra.txt": b"extra\n"}


def test_the_states_follow_each_other_without_gaps(aws: Any) -> None:
    job = aws.run("true")
    transitions = job["SecondaryStatusTransitions"]
    statuses = [transition["Status"] for transition in transitions]
    assert statuses == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    for before, after in itertools.pairwise(transitions):
        assert before["EndTime"] == after["StartTime"]
        assert before["StatusMessage"]
    assert job["CreationTime"] <= job["TrainingStartTime"] <= job["TrainingEndTime"] == job["LastModifiedTime"]
    assert job["BillableTimeInSeconds"] == job["TrainingTimeInSeconds"] == 1


def test_the_waiter_of_boto3_sees_the_end(aws: Any) -> None:
    name = aws.start("true")
    waiter = aws.sagemaker.get_waiter("training_job_completed_or_stopped")
    waiter.wait(TrainingJobName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    assert aws.describe(name)["TrainingJobStatus"] == "Completed"


def test_the_program_is_told_its_job(aws: Any) -> None:
    aws.put(data__1="x")
    name = aws.start(
        PRINT_CONFIG,
        HyperParameters={"training.epochs": "3", "flag": "false"},
        InputDataConfig=[
            aws.channel("training", "data", ContentType="image/png"),
            aws.channel("streamed", "data/", InputMode="FastFile"),
        ],
    )
    aws.finish(name)
    hyperparameters, resources, inputs = (json.loads(line) for line in aws.lines(name))
    assert hyperparameters == {"training.epochs": "3", "flag": "false"}
    assert resources == {
        "current_host": "algo-1",
        "current_instance_type": "local",
        "current_group_name": "homogeneousCluster",
        "hosts": ["algo-1"],
        "instance_groups": [
            {"instance_group_name": "homogeneousCluster", "instance_type": "local", "hosts": ["algo-1"]}
        ],
        "network_interface_name": "lo",
    }
    assert aws.log(name)[0] == "local_aws: ml.m5.large: this machine stands in for it"
    common = {"S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"}
    assert inputs == {
        "training": {"ContentType": "image/png", "TrainingInputMode": "File", **common},
        "streamed": {"TrainingInputMode": "FastFile", **common},
    }


def test_fast_file_is_read_only(aws: Any) -> None:
    aws.put(data__folder__1="x")
    name = aws.start(
        'cd "$SAGEMAKER_BASE_DIR/input/data"; stat -c "%a %n" a a/folder a/folder/1',
        InputDataConfig=[aws.channel("a", "data", InputMode="FastFile")],
    )
    aws.finish(name)
    assert aws.lines(name) == ["555 a", "555 a/folder", "444 a/folder/1"]
    said = "local_aws: FastFile channel a: all objects were copied beforehand, not each when it is read"
    assert said in aws.log(name)


def test_jobs_run_side_by_side_and_a_name_is_taken_once(aws: Any) -> None:
    image = aws.push(aws.image_directory("echo $TRAINING_JOB_NAME"))
    requests = [aws.request(image) for _ in range(4)]
    taken: list[str] = []
    accepted: list[str] = []

    def create(request: dict[str, Any]) -> None:
        try:
            aws.sagemaker.create_training_job(**request)
            accepted.append(request["TrainingJobName"])
        except aws.sagemaker.exceptions.ResourceInUse:
            taken.append(request["TrainingJobName"])

    threads = [threading.Thread(target=create, args=(request,)) for request in requests * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = sorted(request["TrainingJobName"] for request in requests)
    assert sorted(accepted) == names
    assert sorted(taken) == sorted(names * 2)
    for name in names:
        assert aws.finish(name)["TrainingJobStatus"] == "Completed"
        assert aws.lines(name) == [name]


def test_the_environment_is_clean_and_complete(aws: Any, server: Any) -> None:
    name = aws.start("env; pwd; id > $HOME/a; id > $TMPDIR/b", Environment={"GREETING": "two words"})
    job = aws.finish(name)
    *variables, working_directory = aws.lines(name)
    environment = dict(line.split("=", 1) for line in variables)
    assert environment.pop("GREETING") == "two words"
    assert environment.pop("TRAINING_JOB_NAME") == name
    assert environment.pop("TRAINING_JOB_ARN") == job["TrainingJobArn"]
    assert environment.pop("AWS_REGION") == environment.pop("AWS_DEFAULT_REGION") == "eu-central-1"
    assert environment.pop("AWS_ENDPOINT_URL") == server.endpoint_url
    base = environment.pop("SAGEMAKER_BASE_DIR")
    assert base.startswith(str(server.home / "jobs"))
    assert environment["PATH"].split(":")[0].endswith("/program")
    # PWD, SHLVL and _ are the shell's own.
    assert set(environment) - {"PWD", "OLDPWD", "SHLVL", "_"} == {
        "PATH", "HOME", "TMPDIR", "LANG", "PYTHONUNBUFFERED", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
    }  # fmt: skip
    assert working_directory == environment["HOME"]


def test_the_program_can_be_a_client_of_the_same_aws_unless_isolated(aws: Any) -> None:
    train = 'echo "endpoint=$AWS_ENDPOINT_URL key=$AWS_ACCESS_KEY_ID"'
    name = aws.start(train, EnableNetworkIsolation=True)
    aws.finish(name)
    assert aws.lines(name) == ["endpoint= key="]
    assert "EnableNetworkIsolation" in aws.warnings(name)


def test_entrypoint_and_arguments_are_those_of_docker_run(aws: Any) -> None:
    image = aws.push(aws.image_directory('echo "train: $@"'))
    algorithm = {"TrainingImage": image, "TrainingInputMode": "File"}
    cases = [
        ({}, "train: "),
        ({"ContainerEntrypoint": ["train", "a b"]}, "train: a b"),
        ({"ContainerEntrypoint": ["sh", "-c"], "ContainerArguments": ["echo $0 $1", "x", "y"]}, "x y"),
        ({"ContainerArguments": ["train", "c"]}, "train: c"),
    ]
    for changes, expected in cases:
        request = aws.request(image, AlgorithmSpecification={**algorithm, **changes})
        aws.sagemaker.create_training_job(**request)
        aws.finish(request["TrainingJobName"])
        assert aws.lines(request["TrainingJobName"]) == [expected]


def test_metrics_are_the_last_values_in_the_log(aws: Any) -> None:
    image = aws.push(aws.image_directory("echo epoch=1 loss=0.5 acc=nan; echo epoch=2 loss=2.5e-1 acc=inf; echo bye"))
    definitions = [
        {"Name": "loss", "Regex": r"loss=([0-9.e-]+)"},
        {"Name": "accuracy", "Regex": "acc=([a-z]+)"},
        {"Name": "unseen", "Regex": "f1=(.*)"},
        {"Name": "no group", "Regex": "epoch"},
    ]
    algorithm = {"TrainingImage": image, "TrainingInputMode": "File", "MetricDefinitions": definitions}
    request = aws.request(image, AlgorithmSpecification=algorithm)
    aws.sagemaker.create_training_job(**request)
    job = aws.finish(request["TrainingJobName"])
    (metric,) = job["FinalMetricDataList"]
    assert (metric["MetricName"], metric["Value"]) == ("loss", 0.25)
    assert job["TrainingStartTime"] <= metric["Timestamp"] <= job["TrainingEndTime"]
    assert "no group" in aws.warnings(request["TrainingJobName"])


def test_every_field_of_the_request_comes_back(aws: Any) -> None:
    aws.put(data__1="x")
    image = aws.push(aws.image_directory("true"))
    bucket = f"s3://{aws.bucket}"
    request = aws.request(
        image,
        HyperParameters={"epochs": "3"},
        AlgorithmSpecification={
            "TrainingImage": image,
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "loss", "Regex": "loss=(.*)"}],
            "ContainerEntrypoint": ["train"],
            "ContainerArguments": ["now"],
            "EnableSageMakerMetricsTimeSeries": True,
        },
        InputDataConfig=[aws.channel("training", "data", ContentType="image/png", CompressionType="None")],
        OutputDataConfig={"S3OutputPath": f"{bucket}/out/", "KmsKeyId": "alias/key"},
        ResourceConfig={
            "InstanceType": "ml.g5.xlarge",
            "InstanceCount": 1,
            "VolumeSizeInGB": 30,
            "VolumeKmsKeyId": "alias/key",
        },
        StoppingCondition={"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 90},
        VpcConfig={"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]},
        EnableNetworkIsolation=True,
        EnableInterContainerTrafficEncryption=True,
        EnableManagedSpotTraining=True,
        CheckpointConfig={"S3Uri": f"{bucket}/checkpoints", "LocalPath": "/opt/ml/checkpoints"},
        DebugHookConfig={"S3OutputPath": f"{bucket}/debug"},
        TensorBoardOutputConfig={"S3OutputPath": f"{bucket}/tensorboard"},
        ExperimentConfig={"ExperimentName": "one"},
        ProfilerConfig={"S3OutputPath": f"{bucket}/profile", "DisableProfiler": True},
        Environment={"A": "b"},
        RetryStrategy={"MaximumRetryAttempts": 2},
        RemoteDebugConfig={"EnableRemoteDebug": False},
        InfraCheckConfig={"EnableInfraCheck": True},
    )
    tags = [{"Key": "Project", "Value": "digits"}]
    arn = aws.sagemaker.create_training_job(**request, Tags=tags)["TrainingJobArn"]
    name = request["TrainingJobName"]
    job = aws.finish(name)
    assert job["TrainingJobStatus"] == "Completed"
    assert {field: job[field] for field in request} == request
    assert aws.sagemaker.list_tags(ResourceArn=arn)["Tags"] == tags
    assert aws.keys() == ["data/1"], "an empty model directory leaves no archive"
    assert "there is no model.tar.gz" in aws.warnings(name)
    warnings = aws.warnings(name)
    for field in ("VpcConfig", "KmsKeyId", "VolumeKmsKeyId",
                  "DebugHookConfig", "ExperimentConfig", "ProfilerConfig",
                  "InfraCheckConfig", "EnableNetworkIsolation", "EnableSageMakerMetricsTimeSeries"):  # fmt: skip
        assert f"{field} is kept with the job but has no effect here" in warnings
    honored = ("RetryStrategy", "Environment", "CompressionType", "EnableManagedSpotTraining", "CheckpointConfig")
    for field in ("RemoteDebugConfig", "TensorBoardOutputConfig", *honored):
        assert field not in warnings


def test_the_describe_answer_has_what_the_service_model_has(aws: Any) -> None:
    name = aws.start("true")
    aws.finish(name)
    model: ServiceModel = aws.sagemaker.meta.service_model
    shape = model.operation_model("DescribeTrainingJob").output_shape
    assert shape is not None
    assert set(shape.required_members) <= set(aws.describe(name))


def test_jobs_are_listed_filtered_sorted_and_paged(aws: Any) -> None:
    image, failing = aws.push(aws.image_directory("true")), aws.image_directory("exit 1", "failing")
    prefix = aws.repository.split("/")[1]
    for number, uri in ((2, image), (1, image), (3, aws.push(failing, "failing"))):
        request = aws.request(uri, TrainingJobName=f"{prefix}-{number}")
        aws.sagemaker.create_training_job(**request)
        aws.finish(request["TrainingJobName"])

    def names(**arguments: Any) -> list[str]:
        answer = aws.sagemaker.list_training_jobs(NameContains=prefix, **arguments)
        return [summary["TrainingJobName"].removeprefix(f"{prefix}-") for summary in answer["TrainingJobSummaries"]]

    assert names() == ["2", "1", "3"]
    assert names(SortBy="Name", SortOrder="Descending") == ["3", "2", "1"]
    assert names(SortBy="Status", SortOrder="Ascending", MaxResults=2) == ["2", "1"]
    assert names(StatusEquals="Failed") == ["3"]
    created = aws.describe(f"{prefix}-1")["CreationTime"]
    assert names(CreationTimeAfter=created) == ["3"]
    pages = aws.sagemaker.get_paginator("list_training_jobs").paginate(
        NameContains=prefix, SortBy="Name", PaginationConfig={"PageSize": 2}
    )
    assert [len(page["TrainingJobSummaries"]) for page in pages] == [2, 1]


def test_a_job_that_has_ended_can_be_deleted(aws: Any) -> None:
    name = aws.start("true")
    aws.finish(name)
    aws.sagemaker.delete_training_job(TrainingJobName=name)
    assert name not in {
        summary["TrainingJobName"]
        for summary in aws.sagemaker.list_training_jobs(NameContains=name)["TrainingJobSummaries"]
    }


def test_nothing_is_left_in_the_jobs_directory(aws: Any, server: Any) -> None:
    aws.put(data__1="x")
    aws.run(
        'cd "$SAGEMAKER_BASE_DIR"; mkdir -p model/locked; echo 1 > model/locked/file; chmod 500 model/locked',
        InputDataConfig=[aws.channel("training", "data", InputMode="FastFile")],
    )
    aws.eventually(lambda: not list((server.home / "jobs").iterdir()))


def test_a_bucket_with_a_policy_against_plain_http_works(aws: Any) -> None:
    arn = f"arn:aws:s3:::{aws.bucket}"
    statements = [
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [arn, f"{arn}/*"],
            "Condition": condition,
        }
        for condition in ({"Bool": {"aws:SecureTransport": "false"}}, {"NumericLessThan": {"s3:TlsVersion": "1.2"}})
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    aws.s3.put_bucket_policy(Bucket=aws.bucket, Policy=policy)
    aws.put(data__1="x")
    job = aws.run("true", InputDataConfig=[aws.channel("training", "data")])
    assert job["TrainingJobStatus"] == "Completed"


def test_the_engine_takes_little_time_of_its_own(aws: Any) -> None:
    for number in range(150):
        aws.put_key(f"data/{number % 10}/{number}.png")
    job = aws.run(
        'head -c 20000000 /dev/urandom > "$SAGEMAKER_BASE_DIR/model/weights"; date +%s.%N',
        InputDataConfig=[aws.channel("training", "data")],
    )
    seconds = {
        transition["Status"]: (transition["EndTime"] - transition["StartTime"]).total_seconds()
        for transition in job["SecondaryStatusTransitions"]
    }
    assert seconds["Starting"] + seconds["Downloading"] + seconds["Uploading"] < 2
