"""The `aws` command line as a client: it knows nothing of this project."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any


def test_a_job_is_created_and_its_log_read(aws: Any, server: Any, tmp_path: Path) -> None:
    def command(*arguments: str) -> str:
        program = shutil.which("aws", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        assert program, "the tests need the aws command line: pip install awscli"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "AWS_ENDPOINT_URL": server.endpoint_url,
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_DEFAULT_REGION": "eu-central-1",
        }
        done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    request = aws.request(aws.push(aws.image_directory("echo epoch=1 loss=0.5; echo epoch=2 loss=0.25")))
    (tmp_path / "request.json").write_text(json.dumps(request))
    answer = command("sagemaker", "create-training-job", "--cli-input-json", f"file://{tmp_path}/request.json")
    assert json.loads(answer)["TrainingJobArn"].endswith(f":training-job/{request['TrainingJobName']}")
    command("sagemaker", "wait", "training-job-completed-or-stopped", "--training-job-name", request["TrainingJobName"])
    # `aws logs tail`, which only version 2 of the command line has, sends this request too.
    answer = command(
        *("logs", "filter-log-events", "--log-group-name", "/aws/sagemaker/TrainingJobs", "--interleaved"),
        *("--log-stream-name-prefix", f"{request['TrainingJobName']}/"),
    )
    messages = [event["message"] for event in json.loads(answer)["events"]]
    assert messages[1:3] == ["epoch=1 loss=0.5", "epoch=2 loss=0.25"]
