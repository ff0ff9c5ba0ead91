"""Events of TensorBoard that containers write."""

from __future__ import annotations

import pytest

from tests.docker.conftest import DockerAws


@pytest.mark.parametrize("path", ["/opt/ml/output/tensorboard", "/var/events"])
def test_events_come_to_s3_while_a_container_writes_them(aws: DockerAws, path: str) -> None:
    name = aws.start(
        f"echo 1 > {path}/events; until [ -e /opt/ml/checkpoints/go ]; do sleep 0.05; done",
        TensorBoardOutputConfig={"S3OutputPath": f"s3://{aws.bucket}/tensorboard", "LocalPath": path},
    )
    key = f"tensorboard/{name}/tensorboard-output/events"

    def is_there() -> bool:
        return bool(aws.s3.list_objects_v2(Bucket=aws.bucket, Prefix=key)["KeyCount"])

    aws.eventually(is_there)
    aws.sagemaker.stop_training_job(TrainingJobName=name)
    aws.finish(name)
    assert is_there()
