"""A tuning job as AWS tells of it, for the wire: its description, and its trials in pages."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.manager.wire import Answer, Wire

JOB = "digits-cnn-300102-030405"
# 2030-01-01 12:00
BEGUN = datetime(2030, 1, 1, 12, tzinfo=UTC).timestamp()
ARN = "arn:aws:sagemaker:eu-central-1:123456789012"


def trial(
    number: int, status: str = "Completed", objective: float | None = None, failure: str = "", **tuned: str
) -> dict[str, Any]:
    """A trial that began after `number` minutes and took 90 s; in names of settings, `__` stands for a dot."""
    summary: dict[str, Any] = {
        "TrainingJobName": f"{JOB}-{number:03}-0123abcd",
        "TrainingJobArn": f"{ARN}:training-job/{JOB}-{number:03}-0123abcd",
        "CreationTime": BEGUN + 60 * number,
        "TrainingJobStatus": status,
        "TunedHyperParameters": {name.replace("__", "."): text for name, text in tuned.items()},
    }
    if status != "InProgress":
        summary |= {"TrainingStartTime": BEGUN + 60 * number, "TrainingEndTime": BEGUN + 60 * number + 90}
    if objective is not None:
        metric = {"MetricName": "best_val_accuracy", "Type": "Maximize", "Value": objective}
        summary["FinalHyperParameterTuningJobObjectiveMetric"] = metric
    return summary | ({"FailureReason": failure} if failure else {})


TRIALS = (
    trial(1, "Completed", 0.75, training__learning_rate="0.0123456", training__batch_size="32", training__xla="true"),
    trial(2, "Failed", failure="AlgorithmError: no", training__learning_rate="0.1", training__batch_size="64"),
    trial(3, "Completed", 0.9, training__learning_rate="0.001", training__batch_size="128", training__xla="false"),
)


@dataclass
class Tuned:
    """What the answers tell; each description takes the next of the statuses, and the last one goes on."""

    statuses: list[str] = field(default_factory=lambda: ["Completed"])
    trials: tuple[dict[str, Any], ...] = TRIALS
    direction: str = "Maximize"
    failure: str = ""
    asked: int = 0

    def describe(self, document: Any) -> Answer:
        if document["HyperParameterTuningJobName"] != JOB:
            return Answer.of_json({"__type": "ResourceNotFound", "message": "Could not find it."}, 400)
        self.asked += 1
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        ranges = {
            "ContinuousParameterRanges": [{"Name": "training.learning_rate", "MinValue": "0.001", "MaxValue": "0.1"}],
            "CategoricalParameterRanges": [
                {"Name": "training.batch_size", "Values": ["32", "64", "128"]},
                {"Name": "training.xla", "Values": ["true", "false"]},
            ],
        }
        description = {
            "HyperParameterTuningJobName": JOB,
            "HyperParameterTuningJobArn": f"{ARN}:hyper-parameter-tuning-job/{JOB}",
            "HyperParameterTuningJobConfig": {
                "Strategy": "Bayesian",
                "HyperParameterTuningJobObjective": {"Type": self.direction, "MetricName": "best_val_accuracy"},
                "ResourceLimits": {"MaxNumberOfTrainingJobs": 12, "MaxParallelTrainingJobs": 2},
                "ParameterRanges": ranges,
            },
            "HyperParameterTuningJobStatus": status,
            "CreationTime": BEGUN,
        }
        return Answer.of_json(description | ({"FailureReason": self.failure} if self.failure else {}))

    def list_trials(self, document: Any) -> Answer:
        # Two on a page.
        begin = int(document.get("NextToken", "0"))
        page: dict[str, Any] = {"TrainingJobSummaries": list(self.trials[begin : begin + 2])}
        return Answer.of_json(page | ({"NextToken": str(begin + 2)} if len(self.trials) > begin + 2 else {}))

    def answer_on(self, wire: Wire) -> "Tuned":
        """Let a wire tell of this job."""
        wire.answers["DescribeHyperParameterTuningJob"] = self.describe
        wire.answers["ListTrainingJobsForHyperParameterTuningJob"] = self.list_trials
        return self
