"""Short ways to ask a server on this machine for processing jobs; all goes over HTTP, by boto3."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from tests.aws import ENGINE, WARNING, Aws

LOG_GROUP = "/aws/sagemaker/ProcessingJobs"
PROCESSING = "/opt/ml/processing"

_numbers = itertools.count(1)


@dataclass
class Processing:
    """What a test asks for. Programs are shell scripts, to which `$ml` is their /opt/ml."""

    aws: Aws

    def request(self, script: str, **changes: Any) -> dict[str, Any]:
        """A small CreateProcessingJob request that runs this script; a field that is None is left out.

        Args:
            changes: fields of the request; `inputs`, `outputs` and `cluster` stand for what lies deeper.
        """
        number = next(_numbers)
        directory = self.aws.image_directory("exit 1", f"processing-{number}")
        (directory / "work").write_text(f'#!/bin/sh\nml="$SAGEMAKER_BASE_DIR"\n{script}\n')
        (directory / "work").chmod(0o755)
        cluster = {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 5, **changes.pop("cluster", {})}
        application = {"ImageUri": self.aws.push(directory, tag=directory.name), "ContainerEntrypoint": ["work"]}
        small = {
            "ProcessingJobName": f"processing-{number}",
            "RoleArn": self.aws.role,
            "AppSpecification": {**application, **changes.pop("application", {})},
            "ProcessingInputs": changes.pop("inputs", None),
            "ProcessingOutputConfig": {"Outputs": changes.pop("outputs", [])},
            "ProcessingResources": {"ClusterConfig": cluster},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
            **changes,
        }
        return {name: value for name, value in small.items() if value is not None}

    def input(self, name: str = "in", prefix: str = "in", **changes: Any) -> dict[str, Any]:
        """An input of all objects with a prefix, below `$ml/processing/NAME`."""
        uri = f"s3://{self.aws.bucket}/{prefix}"
        source = {"S3Uri": uri, "LocalPath": f"{PROCESSING}/{name}", "S3DataType": "S3Prefix", "S3InputMode": "File"}
        return {"InputName": name, "S3Input": {**source, **changes}}

    def output(self, name: str = "out", **changes: Any) -> dict[str, Any]:
        """An output of `$ml/processing/NAME` to the folder NAME in the bucket."""
        target = {"S3Uri": f"s3://{self.aws.bucket}/{name}", "LocalPath": f"{PROCESSING}/{name}"}
        return {"OutputName": name, "S3Output": {**target, "S3UploadMode": "EndOfJob", **changes}}

    def start(self, script: str, **changes: Any) -> str:
        """Starts a job and returns its name."""
        request = self.request(script, **changes)
        self.aws.sagemaker.create_processing_job(**request)
        return request["ProcessingJobName"]

    def describe(self, name: str) -> dict[str, Any]:
        return self.aws.sagemaker.describe_processing_job(ProcessingJobName=name)

    def finish(self, name: str) -> dict[str, Any]:
        """Waits for the end of a job and returns its description."""

        def ended() -> dict[str, Any] | None:
            job = self.describe(name)
            return None if job["ProcessingJobStatus"] in ("InProgress", "Stopping") else job

        return self.aws.eventually(ended)

    def run(self, script: str, **changes: Any) -> dict[str, Any]:
        """Runs a job to its end."""
        return self.finish(self.start(script, **changes))

    def outputs(self, prefix: str = "out/") -> dict[str, str]:
        """The content of all objects with a prefix, by what follows it in their keys."""
        s3, bucket = self.aws.s3, self.aws.bucket
        found = s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
        return {
            entry["Key"].removeprefix(prefix): s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read().decode()
            for entry in found
        }

    def streams(self, name: str) -> list[str]:
        """The names of a job's log streams."""
        try:
            found = self.aws.logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{name}/")
        except self.aws.logs.exceptions.ResourceNotFoundException:
            return []
        return [entry["logStreamName"] for entry in found["logStreams"]]

    def log(self, name: str) -> list[str]:
        """What the programs of all hosts have written so far, the engine's own lines left out."""
        return [line for line in self._lines(name) if not line.startswith(ENGINE)]

    def warnings(self, name: str) -> str:
        """The engine's warnings in a job's log, one in a line."""
        return "\n".join(line for line in self._lines(name) if line.startswith(WARNING))

    def _lines(self, name: str) -> list[str]:
        return [
            event["message"]
            for stream in self.streams(name)
            for event in self.aws.logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=stream, startFromHead=True)[
                "events"
            ]
        ]
