"""A tuning job by the `aws` command line, which knows nothing of this project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tuning import NEAR, Tuning


@pytest.mark.slow
def test_a_tuning_job_is_created_and_its_result_read(aws: Any, aws_cli: Any, tmp_path: Path) -> None:
    def command(*arguments: str) -> dict[str, Any]:
        return json.loads(aws_cli("sagemaker", *arguments))

    tuning = Tuning(aws)
    request = tuning.request(NEAR, Strategy="Bayesian", RandomSeed=1)
    name = request["HyperParameterTuningJobName"]
    (tmp_path / "request.json").write_text(json.dumps(request))
    created = command("create-hyper-parameter-tuning-job", "--cli-input-json", f"file://{tmp_path}/request.json")
    assert created["HyperParameterTuningJobArn"].endswith(f":hyper-parameter-tuning-job/{name}")
    tuning.finish(name)
    job = command("describe-hyper-parameter-tuning-job", "--hyper-parameter-tuning-job-name", name)
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    listed = command(
        *("list-training-jobs-for-hyper-parameter-tuning-job", "--hyper-parameter-tuning-job-name", name),
        *("--sort-by", "FinalObjectiveMetricValue", "--sort-order", "Descending"),
    )
    assert len(listed["TrainingJobSummaries"]) == 3
    assert listed["TrainingJobSummaries"][0] == job["BestTrainingJob"]
