"""The `aws` command line as a client: it knows nothing of this project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def test_a_job_is_created_and_its_log_read(aws: Any, aws_cli: Any, tmp_path: Path) -> None:
    request = aws.request(aws.push(aws.image_directory("echo epoch=1 loss=0.5; echo epoch=2 loss=0.25")))
    (tmp_path / "request.json").write_text(json.dumps(request))
    answer = aws_cli("sagemaker", "create-training-job", "--cli-input-json", f"file://{tmp_path}/request.json")
    assert json.loads(answer)["TrainingJobArn"].endswith(f":training-job/{request['TrainingJobName']}")
    aws_cli("sagemaker", "wait", "training-job-completed-or-stopped", "--training-job-name", request["TrainingJobName"])
    # `aws logs tail`, which only version 2 of the command line has, sends this request too.
    answer = aws_cli(
        *("logs", "filter-log-events", "--log-group-name", "/aws/sagemaker/TrainingJobs", "--interleaved"),
        *("--log-stream-name-prefix", f"{request['TrainingJobName']}/"),
    )
    messages = [event["message"] for event in json.loads(answer)["events"]]
    assert messages[1:3] == ["epoch=1 loss=0.5", "epoch=2 loss=0.25"]
