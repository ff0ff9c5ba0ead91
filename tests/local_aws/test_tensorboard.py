"""Events of TensorBoard: in S3 where SageMaker puts them, while a program writes them and after it has ended."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

# Waits until the test lets it go.
WAIT = 'until [ -e "$HOME/../go" ]; do sleep 0.02; done'
EVENTS = "$SAGEMAKER_BASE_DIR/output/tensorboard"


def config(aws: Any, **changes: str) -> dict[str, str]:
    return {"S3OutputPath": f"s3://{aws.bucket}/tensorboard", **changes}


def events(aws: Any, name: str) -> dict[str, str]:
    """The job's events: names without what all have in common, and contents."""
    prefix = f"tensorboard/{name}/tensorboard-output/"
    found = aws.s3.list_objects_v2(Bucket=aws.bucket, Prefix=prefix).get("Contents", [])
    keys = [entry["Key"] for entry in found]
    return {
        key.removeprefix(prefix): aws.s3.get_object(Bucket=aws.bucket, Key=key)["Body"].read().decode() for key in keys
    }


@pytest.mark.slow
def test_what_a_program_writes_comes_to_s3_while_it_runs_and_at_its_end(own_aws: Any) -> None:
    aws = own_aws
    name = aws.start(
        f'cd "{EVENTS}"; mkdir plugins; echo 1 > plugins/profile; echo 1 > events; {WAIT}\n'
        "echo 2 >> events; rm plugins/profile",
        TensorBoardOutputConfig=config(aws),
    )
    aws.eventually(lambda: events(aws, name) == {"events": "1\n", "plugins/profile": "1\n"})
    assert aws.describe(name)["SecondaryStatus"] == "Training"
    (home,) = aws.server.home.glob("jobs/*/1/home")
    (home.parent / "go").touch()
    assert aws.finish(name)["TrainingJobStatus"] == "Completed"
    assert events(aws, name) == {"events": "1\n2\n", "plugins/profile": "1\n"}
    assert "TensorBoardOutputConfig" not in aws.warnings(name)


def test_the_request_is_told_as_it_was(aws: Any) -> None:
    asked = config(aws, LocalPath="/opt/ml/events")
    job = aws.run('echo 1 > "$SAGEMAKER_BASE_DIR/events/a"', TensorBoardOutputConfig=asked)
    assert job["TensorBoardOutputConfig"] == asked
    assert events(aws, job["TrainingJobName"]) == {"a": "1\n"}


def test_events_are_no_result_and_a_failed_job_keeps_them(aws: Any) -> None:
    job = aws.run(f'echo 1 > "{EVENTS}/a"; exit 3', TensorBoardOutputConfig=config(aws))
    assert job["TrainingJobStatus"] == "Failed"
    assert events(aws, job["TrainingJobName"]) == {"a": "1\n"}
    found = aws.keys()
    assert f"{job['TrainingJobName']}/output/output.tar.gz" not in found


def test_several_hosts_share_the_folder(aws: Any) -> None:
    name = aws.start(
        'host=$(grep -o \'current_host": "[^"]*\' "$SAGEMAKER_BASE_DIR/input/config/resourceconfig.json")\n'
        f'echo 1 > "{EVENTS}/${{host##*.}}"',
        TensorBoardOutputConfig=config(aws),
        ResourceConfig={"InstanceType": "ml.c5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 1},
    )
    aws.finish(name)
    assert events(aws, name) == {"1": "1\n", "2": "1\n"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"LocalPath": "/opt/ml"}, "LocalPath '/opt/ml' of TensorBoardOutputConfig must be an absolute path"),
        ({"LocalPath": "/var/events"}, "of TensorBoardOutputConfig must lie below /opt/ml"),
        ({"S3OutputPath": "s3://no.such/x"}, r'Could not find S3 bucket "no\.such" given in TensorBoardOutputConfig'),
        ({"S3OutputPath": "https://example.com/x"}, "is no S3 URI"),
    ],
)
def test_a_directory_or_a_bucket_that_cannot_be_had_is_refused(aws: Any, changes: dict[str, str], reason: str) -> None:
    with pytest.raises(ClientError, match=reason) as caught:
        aws.start("true", TensorBoardOutputConfig=config(aws, **changes))
    assert caught.value.response["Error"]["Code"] == "ValidationException"
