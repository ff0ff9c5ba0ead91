"""Short ways to ask a server on this machine for tuning jobs; all goes over HTTP, by boto3."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.aws import Aws

_numbers = itertools.count(1)

# What the code of a trial finds: h, its hyperparameters, base, its /opt/ml, and a way to log its objective.
_HEAD = """\
#!/usr/bin/env python3
import json, os, pathlib, signal, sys, time

base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
h = json.loads((base / "input/config/hyperparameters.json").read_text())


def score(value):
    print(f"score={value!r}", flush=True)


"""

CONTINUOUS = {"ContinuousParameterRanges": [{"Name": "x", "MinValue": "0", "MaxValue": "1", "ScalingType": "Linear"}]}

# The nearer x is to 0.7, the better.
NEAR = "score(-abs(float(h['x']) - 0.7))"

# Goes on until it is told to stop, and saves what it has.
ENDLESS = """\
def stop(number, frame):
    (base / "model/weights").write_text("half")
    sys.exit(0)


signal.signal(signal.SIGTERM, stop)
score(float(h["x"]))
while True:
    time.sleep(0.02)
"""


@dataclass
class Tuning:
    """What a test asks for."""

    aws: Aws
    _images: dict[str, str] = field(default_factory=dict)

    def request(
        self, train: str, limits: Mapping[str, Any] = {}, definition: Mapping[str, Any] = {}, **config: Any
    ) -> dict[str, Any]:
        """A small CreateHyperParameterTuningJob request; what is None is left out.

        Args:
            train: Python code, for which `h` are the hyperparameters and `score(value)` logs the objective.
            limits: members of ResourceLimits.
            definition: members of TrainingJobDefinition.
            config: members of HyperParameterTuningJobConfig.
        """
        if train not in self._images:
            directory = self.aws.image_directory(_HEAD + train)
            self._images[train] = self.aws.push(directory, tag=f"{len(self._images) + 1}")
        training = self.aws.request(self._images[train])
        metrics = [{"Name": "score", "Regex": "score=(.*)"}]
        return {
            "HyperParameterTuningJobName": f"tuning-{next(_numbers)}",
            "HyperParameterTuningJobConfig": _without_none(
                {
                    "Strategy": "Random",
                    "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "score"},
                    "ParameterRanges": CONTINUOUS,
                    **config,
                    "ResourceLimits": _without_none(
                        {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 2, **limits}
                    ),
                }
            ),
            "TrainingJobDefinition": _without_none(
                {
                    "AlgorithmSpecification": {**training["AlgorithmSpecification"], "MetricDefinitions": metrics},
                    "StaticHyperParameters": {"training.epochs": "3"},
                    "RoleArn": training["RoleArn"],
                    "OutputDataConfig": training["OutputDataConfig"],
                    "ResourceConfig": training["ResourceConfig"],
                    "StoppingCondition": training["StoppingCondition"],
                    **definition,
                }
            ),
        }

    def start(self, train: str, **changes: Any) -> str:
        """Starts a tuning job (see `request`), and returns its name."""
        request = self.request(train, **changes)
        self.aws.sagemaker.create_hyper_parameter_tuning_job(**request)
        return request["HyperParameterTuningJobName"]

    def describe(self, name: str) -> dict[str, Any]:
        return self.aws.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)

    def finish(self, name: str) -> dict[str, Any]:
        """Waits for the end of a tuning job and returns its description."""

        def ended() -> dict[str, Any] | None:
            job = self.describe(name)
            return None if job["HyperParameterTuningJobStatus"] in ("InProgress", "Stopping") else job

        return self.aws.eventually(ended)

    def run(self, train: str, **changes: Any) -> dict[str, Any]:
        """Runs a tuning job (see `request`) to its end."""
        return self.finish(self.start(train, **changes))

    def trials(self, name: str, **arguments: Any) -> list[dict[str, Any]]:
        """Entries of ListTrainingJobsForHyperParameterTuningJob."""
        answer = self.aws.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=name, **{"MaxResults": 100, **arguments}
        )
        return answer["TrainingJobSummaries"]


def _without_none(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
