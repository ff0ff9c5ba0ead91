"""A real AWS on this machine for the tests, and short ways to ask it for things; all goes over HTTP, by boto3."""

from __future__ import annotations

import io
import itertools
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import boto3
from botocore.config import Config

from local_aws.images import image_manifest

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
ENGINE = "local_aws: "
WARNING = f"{ENGINE}warning: "
REGION = "eu-central-1"
REPOSITORY = Path(__file__).resolve().parents[1]
STOP_GRACE_SECONDS = 0.5

T = TypeVar("T")

_numbers = itertools.count(1)


@dataclass
class Server:
    """A server in the foreground, as a person would run it, and its home directory."""

    process: subprocess.Popen[str]
    endpoint_url: str
    home: Path
    _clients: dict[str, Any] = field(default_factory=dict)

    def client(self, service: str, region: str = REGION) -> Any:
        key = f"{service} {region}"
        if key not in self._clients:
            self._clients[key] = self._new_client(service, region)
        return self._clients[key]

    def patient_client(self, service: str) -> Any:
        """A client that waits for an answer for longer than a minute."""
        return self._new_client(service, REGION, read_timeout=90)

    def _new_client(self, service: str, region: str, **config: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.endpoint_url,
            region_name=region,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, **config),
        )


@dataclass
class Aws:
    """What a test asks of a server. Every test has a bucket and a repository of its own."""

    server: Server
    directory: Path

    def __post_init__(self) -> None:
        number = next(_numbers)
        self.bucket, self.repository = f"bucket.{number}", f"team/image-{number}"
        self.s3, self.ecr, self.iam = (self.server.client(service) for service in ("s3", "ecr", "iam"))
        self.logs, self.sagemaker = self.server.client("logs"), self.server.client("sagemaker")
        self.s3.create_bucket(Bucket=self.bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        created = self.ecr.create_repository(repositoryName=self.repository)
        self.repository_uri: str = created["repository"]["repositoryUri"]
        self.role = self.create_role(f"role-{number}", "sagemaker.amazonaws.com")

    def create_role(self, name: str, principal: str) -> str:
        trust = {"Effect": "Allow", "Principal": {"Service": principal}, "Action": "sts:AssumeRole"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        return self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy)["Role"]["Arn"]

    def put(self, **objects: str) -> None:
        """Puts objects; a double underscore in a name is a slash."""
        for name, content in objects.items():
            self.put_key(name.replace("__", "/"), content)

    def put_key(self, key: str, content: str = "x") -> None:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=content.encode())

    def keys(self) -> list[str]:
        return [entry["Key"] for entry in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])]

    def archive(self, key: str) -> dict[str, bytes]:
        """The files of a tar archive in the bucket."""
        content = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            files = {member.name: tar.extractfile(member) for member in tar.getmembers() if member.isfile()}
            return {name: file.read() for name, file in files.items() if file}

    def image_directory(self, train: str, name: str = "program") -> Path:
        """A directory image whose `train` is this script; a shell script where it has no first line of its own."""
        directory = self.directory / name
        directory.mkdir(exist_ok=True)
        (directory / "train").write_text(train if train.startswith("#!") else f"#!/bin/sh\n{train}\n")
        (directory / "train").chmod(0o755)
        return directory

    def push(self, directory: Path, tag: str = "1") -> str:
        """Pushes a directory image and returns its URI."""
        self.ecr.put_image(repositoryName=self.repository, imageTag=tag, imageManifest=image_manifest(directory))
        return f"{self.repository_uri}:{tag}"

    def request(self, image: str, **changes: Any) -> dict[str, Any]:
        """A small CreateTrainingJob request with some fields changed; a field that is None is left out."""
        request = {
            "TrainingJobName": f"job-{next(_numbers)}",
            "RoleArn": self.role,
            "AlgorithmSpecification": {"TrainingImage": image, "TrainingInputMode": "File"},
            "OutputDataConfig": {"S3OutputPath": f"s3://{self.bucket}/out"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
            **changes,
        }
        return {name: value for name, value in request.items() if value is not None}

    def channel(self, name: str, prefix: str, **changes: Any) -> dict[str, Any]:
        source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{self.bucket}/{prefix}"}
        return {"ChannelName": name, "DataSource": {"S3DataSource": source}, **changes}

    def start(self, train: str, **changes: Any) -> str:
        """Starts a job that runs this script, and returns its name."""
        request = self.request(self.push(self.image_directory(train)), **changes)
        self.sagemaker.create_training_job(**request)
        return request["TrainingJobName"]

    def describe(self, name: str) -> dict[str, Any]:
        return self.sagemaker.describe_training_job(TrainingJobName=name)

    def finish(self, name: str) -> dict[str, Any]:
        """Waits for the end of a job and returns its description."""

        def ended() -> dict[str, Any] | None:
            job = self.describe(name)
            return None if job["TrainingJobStatus"] in ("InProgress", "Stopping") else job

        return self.eventually(ended)

    def run(self, train: str, **changes: Any) -> dict[str, Any]:
        """Runs this script as a job to its end."""
        return self.finish(self.start(train, **changes))

    @staticmethod
    def eventually(look: Callable[[], T | None], seconds: float = 20.0) -> T:
        """What `look` returns once that is true."""
        return eventually(look, seconds)

    def stream(self, name: str, host: str = "algo-1") -> str | None:
        """The name of a host's stream in the log of a job, once it is there."""
        try:
            streams = self.logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{name}/{host}-")
        except self.logs.exceptions.ResourceNotFoundException:
            return None
        return streams["logStreams"][0]["logStreamName"] if streams["logStreams"] else None

    def lines(self, name: str, host: str = "algo-1") -> list[str]:
        """The lines of a host's log so far, the engine's own left out."""
        return [line for line in self.log(name, host) if not line.startswith(ENGINE)]

    def warnings(self, name: str) -> str:
        """The engine's warnings in a job's log, one in a line."""
        return "\n".join(line for line in self.log(name) if line.startswith(WARNING))

    def log(self, name: str, host: str = "algo-1") -> list[str]:
        """All lines of a host's log so far."""
        stream = self.stream(name, host)
        if stream is None:
            return []
        events = self.logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=stream, startFromHead=True)
        return [event["message"] for event in events["events"]]


def run_local_aws(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs one command of `python -m local_aws` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "local_aws", *arguments],
        cwd=REPOSITORY,
        # Whatever engine the machine has: the tests of containers ask for it.
        env={**os.environ, "LOCAL_AWS_EXECUTOR": "process", "LOCAL_AWS_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def start_in_foreground(
    home: Path, user: int | None = None, groups: Sequence[int] = (), python: str = sys.executable, **environment: str
) -> Server:
    """Starts `python -m local_aws` and reads from its output where it answers.

    Args:
        user: that it runs as, with these groups; None means who runs the tests.
        python: the interpreter.
        environment: more variables. Without them images are run as processes.
    """
    process = subprocess.Popen(
        [python, "-m", "local_aws"],
        cwd=REPOSITORY,
        env={
            **os.environ,
            "LOCAL_AWS_EXECUTOR": "process",
            "LOCAL_AWS_HOME": str(home),
            "LOCAL_AWS_STOP_GRACE_SECONDS": str(STOP_GRACE_SECONDS),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        **({} if user is None else {"user": user, "group": user, "extra_groups": groups}),
    )
    assert process.stdout
    line = process.stdout.readline().strip()
    assert line.startswith("export AWS_ENDPOINT_URL="), line
    return Server(process, line.removeprefix("export AWS_ENDPOINT_URL="), home)


def eventually(look: Callable[[], T | None], seconds: float = 20.0) -> T:
    """What `look` returns once that is true."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"nothing came within {seconds} s"
        time.sleep(0.01)
    return seen
