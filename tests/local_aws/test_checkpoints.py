"""Checkpoints: restored from S3 before a program starts, kept there while it runs, and never half of a file."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import pytest
from botocore.exceptions import ClientError

pytestmark = pytest.mark.slow

# Waits until the test lets it go.
WAIT = 'until [ -e "$HOME/../go" ]; do sleep 0.02; done'


def config(aws: Any, prefix: str = "checkpoints", **changes: str) -> dict[str, str]:
    return {"S3Uri": f"s3://{aws.bucket}/{prefix}", **changes}


def objects(aws: Any, prefix: str = "checkpoints/") -> dict[str, str]:
    """The objects below a prefix: names without it, and contents; not those that vanish just now."""
    found = {}
    for entry in aws.s3.list_objects_v2(Bucket=aws.bucket, Prefix=prefix).get("Contents", []):
        with contextlib.suppress(aws.s3.exceptions.NoSuchKey):
            content = aws.s3.get_object(Bucket=aws.bucket, Key=entry["Key"])["Body"].read().decode()
            found[entry["Key"].removeprefix(prefix)] = content
    return found


def let_go(aws: Any) -> None:
    """Lets the only running program that WAITs go on."""
    (home,) = aws.server.home.glob("jobs/*/1/home")
    (home.parent / "go").touch()


def test_what_lies_in_s3_is_restored_and_what_did_not_change_is_not_written_again(aws: Any) -> None:
    aws.put(checkpoints__1__weights="one", checkpoints__latest="1", checkpointsx="another")
    aws.s3.put_bucket_versioning(Bucket=aws.bucket, VersioningConfiguration={"Status": "Enabled"})
    name = aws.start(
        'cd "$SAGEMAKER_BASE_DIR/checkpoints"; find . -type f | sort; cat 1/weights; echo; echo 2 > latest',
        CheckpointConfig=config(aws),
    )
    aws.finish(name)
    assert aws.lines(name) == ["./1/weights", "./latest", "one"]
    assert objects(aws) == {"1/weights": "one", "latest": "2\n"}
    versions = aws.s3.list_object_versions(Bucket=aws.bucket, Prefix="checkpoints/")["Versions"]
    assert sorted(version["Key"] for version in versions) == ["checkpoints/1/weights", *["checkpoints/latest"] * 2]


def test_what_a_program_writes_and_deletes_comes_to_s3_while_it_runs(own_aws: Any) -> None:
    aws = own_aws
    aws.put(checkpoints__old="old")
    name = aws.start(
        f'cd "$SAGEMAKER_BASE_DIR/checkpoints"; mkdir .new; echo 1 > .new/a; mv .new 1; rm old; {WAIT}; echo 2 > 1/a',
        CheckpointConfig=config(aws),
    )
    aws.eventually(lambda: objects(aws) == {"1/a": "1\n"}, 5)
    assert aws.describe(name)["SecondaryStatus"] == "Training"
    let_go(aws)
    assert aws.finish(name)["TrainingJobStatus"] == "Completed"
    assert objects(aws) == {"1/a": "2\n"}
    assert "checkpoint" not in aws.warnings(name)


def test_a_file_that_is_being_written_is_not_uploaded(own_aws: Any) -> None:
    aws = own_aws
    name = aws.start(
        'cd "$SAGEMAKER_BASE_DIR/checkpoints"; echo whole > marker\n'
        'for n in $(seq 150); do printf "%064d" $n >> growing; sleep 0.02; done\n'
        f"echo done > second; {WAIT}",
        CheckpointConfig=config(aws),
    )
    seen: set[int] = set()

    def look() -> bool:
        found = objects(aws)
        seen.update(len(found[key]) for key in ("growing",) if key in found)
        return "second" in found

    aws.eventually(look)
    assert seen <= {150 * 64}
    let_go(aws)
    aws.finish(name)
    assert len(objects(aws)["growing"]) == 150 * 64


def test_a_failed_and_a_stopped_job_keep_their_checkpoints(aws: Any) -> None:
    aws.run('echo 1 > "$SAGEMAKER_BASE_DIR/checkpoints/failed"; exit 3', CheckpointConfig=config(aws, "f/"))
    assert objects(aws, "f/") == {"failed": "1\n"}
    name = aws.start(
        "trap 'echo last > \"$SAGEMAKER_BASE_DIR/checkpoints/stopped\"; exit 0' TERM; echo ready; "
        "while true; do sleep 0.02; done",
        CheckpointConfig=config(aws, "s"),
    )
    aws.eventually(lambda: aws.lines(name) == ["ready"])
    aws.sagemaker.stop_training_job(TrainingJobName=name)
    assert aws.finish(name)["TrainingJobStatus"] == "Stopped"
    assert objects(aws, "s/") == {"stopped": "last\n"}


def test_the_directory_may_be_another_one(aws: Any) -> None:
    name = aws.start(
        'ls "$SAGEMAKER_BASE_DIR"; echo 1 > "$SAGEMAKER_BASE_DIR/state/deep/a"',
        CheckpointConfig=config(aws, LocalPath="/opt/ml/state/deep/"),
    )
    aws.finish(name)
    assert aws.lines(name) == ["input", "model", "output", "state"]
    assert objects(aws) == {"a": "1\n"}


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/opt/ml", "neither is nor holds /opt/ml"),
        ("/", "neither is nor holds /opt/ml"),
        ("checkpoints", "must be an absolute path"),
        ("/opt/ml/a/../../../etc", "must be an absolute path"),
        ("/opt/ml/input/data/x", "holds the job's input"),
        ("/var/checkpoints", "must lie below /opt/ml"),
    ],
)
def test_a_directory_that_cannot_be_given_is_refused(aws: Any, path: str, reason: str) -> None:
    with pytest.raises(ClientError, match=reason) as caught:
        aws.start("true", CheckpointConfig=config(aws, LocalPath=path))
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_a_bucket_that_is_not_there_is_refused(aws: Any) -> None:
    with pytest.raises(ClientError, match=r'Could not find S3 bucket "no\.such" given in CheckpointConfig'):
        aws.start("true", CheckpointConfig={"S3Uri": "s3://no.such/x"})


def test_a_link_shows_nothing_of_this_machine(aws: Any, tmp_path: Any) -> None:
    (tmp_path / "secret").write_text("secret")
    aws.put(checkpoints__1="one")
    linked = aws.start(
        f'cd "$SAGEMAKER_BASE_DIR/checkpoints"; ln -s {tmp_path / "secret"} file; ln -s {tmp_path} directory',
        CheckpointConfig=config(aws),
    )
    aws.finish(linked)
    assert objects(aws) == {"1": "one"}
    replaced = aws.start(
        f'rm -r "$SAGEMAKER_BASE_DIR/checkpoints"; ln -s {tmp_path} "$SAGEMAKER_BASE_DIR/checkpoints"',
        CheckpointConfig=config(aws),
    )
    aws.finish(replaced)
    assert objects(aws) == {"1": "one"}
    assert "cannot read /opt/ml/checkpoints: it is a link" in aws.warnings(replaced)


def test_what_cannot_be_kept_is_said_in_the_log(aws: Any) -> None:
    aws.s3.create_bucket(Bucket=f"{aws.bucket}.other", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    name = aws.start(
        'trap "exit 0" TERM; echo ready; echo 1 > "$SAGEMAKER_BASE_DIR/checkpoints/a"; while true; do sleep 0.02; done',
        CheckpointConfig={"S3Uri": f"s3://{aws.bucket}.other/x"},
    )
    aws.eventually(lambda: aws.lines(name) == ["ready"])
    aws.s3.delete_bucket(Bucket=f"{aws.bucket}.other")
    aws.sagemaker.stop_training_job(TrainingJobName=name)
    assert aws.finish(name)["TrainingJobStatus"] == "Stopped"
    assert f"the checkpoint /opt/ml/checkpoints/a did not get to s3://{aws.bucket}.other/x/a" in aws.warnings(name)


def test_names_that_cannot_be_files_fail_the_job(aws: Any) -> None:
    aws.s3.put_object(Bucket=aws.bucket, Key="checkpoints/../x", Body=io.BytesIO(b"x"))
    job = aws.run("true", CheckpointConfig=config(aws))
    assert job["FailureReason"].startswith("ClientError: Data download failed: checkpoints: the key")
