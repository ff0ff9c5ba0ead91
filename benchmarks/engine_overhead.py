"""What the embedded AWS adds to a training job's own time, from CreateTrainingJob to Completed.

    python benchmarks/engine_overhead.py

1,800 small files in three channels go in, a model of 20 MB comes out. Prints the time of the whole job, the time that
the program measured of itself, and the difference, which is the engine's; it should be under 2 seconds.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

REPOSITORY = Path(__file__).resolve().parent.parent
CHANNELS = ("training", "validation", "evaluation")
FILES_PER_CHANNEL = 600
FILE_BYTES = 400

PROGRAM = """\
#!/usr/bin/env python3
import os, pathlib, time
began = time.monotonic()
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
files = [path for path in (base / "input/data").rglob("*") if path.is_file()]
assert len(files) == 1800, len(files)
for number in range(20):
    (base / "model" / f"{number}.bin").write_bytes(os.urandom(1_000_000))
print(f"program_seconds={time.monotonic() - began}")
"""

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def main() -> None:
    """Starts a server of its own, measures one job, prints the figures, and stops the server."""
    with tempfile.TemporaryDirectory() as directory:
        environment = {**os.environ, "LOCAL_AWS_HOME": f"{directory}/home", "LOCAL_AWS_EXECUTOR": "process"}
        server = json.loads(_local_aws("start", environment))
        try:
            whole, program = measure(server["endpoint_url"], Path(directory))
        finally:
            _local_aws("stop", environment)
    print(f"whole job {whole:.2f} s, program {program:.2f} s, engine {whole - program:.2f} s")


def measure(endpoint_url: str, directory: Path) -> tuple[float, float]:
    """Seconds from CreateTrainingJob to Completed, and seconds that the program took of them."""
    s3, ecr, iam, sagemaker, logs = (
        _client(endpoint_url, service) for service in ("s3", "ecr", "iam", "sagemaker", "logs")
    )
    s3.create_bucket(Bucket="overhead")
    keys = [f"{channel}/{number % 10}/{number}.png" for channel in CHANNELS for number in range(FILES_PER_CHANNEL)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: s3.put_object(Bucket="overhead", Key=key, Body=os.urandom(FILE_BYTES)), keys))
    image = directory / "image"
    image.mkdir()
    (image / "train").write_text(PROGRAM)
    (image / "train").chmod(0o755)
    uri = ecr.create_repository(repositoryName="overhead")["repository"]["repositoryUri"]
    ecr.put_image(repositoryName="overhead", imageTag="1", imageManifest=_manifest(image))
    role = iam.create_role(RoleName="overhead", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    began = time.monotonic()
    sagemaker.create_training_job(**_request(f"{uri}:1", role))
    while True:
        job = sagemaker.describe_training_job(TrainingJobName="overhead")
        if job["TrainingJobStatus"] != "InProgress":
            break
        time.sleep(0.05)
    whole = time.monotonic() - began
    if job["TrainingJobStatus"] != "Completed":
        raise SystemExit(f"the job failed: {job.get('FailureReason')}")
    events = logs.filter_log_events(logGroupName="/aws/sagemaker/TrainingJobs")["events"]
    (program,) = re.findall(r"program_seconds=([\d.]+)", "\n".join(event["message"] for event in events))
    return whole, float(program)


def _client(endpoint_url: str, service: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="local-aws",
        aws_secret_access_key="local-aws",
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=16),
    )


def _manifest(image: Path) -> str:
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "annotations": {"local-aws.image-directory": str(image)},
        }
    )


def _request(image_uri: str, role: str) -> dict[str, Any]:
    channels = [
        {
            "ChannelName": channel,
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://overhead/{channel}"}},
        }
        for channel in CHANNELS
    ]
    return {
        "TrainingJobName": "overhead",
        "RoleArn": role,
        "AlgorithmSpecification": {"TrainingImage": image_uri, "TrainingInputMode": "File"},
        "InputDataConfig": channels,
        "OutputDataConfig": {"S3OutputPath": "s3://overhead/output"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
    }


def _local_aws(command: str, environment: dict[str, str]) -> str:
    return subprocess.run(
        [sys.executable, "-m", "local_aws", command],
        cwd=REPOSITORY,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


if __name__ == "__main__":
    main()
