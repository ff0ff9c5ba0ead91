"""A tuning job and its trials, the training jobs that it launches, as SageMaker tells of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Self

from botocore.exceptions import ClientError

from container.errors import SettingsError
from container.modeling import overrides
from container.modeling.settings import ContainerSettings
from manager.aws import LARGE_PAGES, Aws, error_code
from manager.errors import JobError
from manager.monitoring import ENDED

Direction = Literal["Maximize", "Minimize"]


@dataclass(frozen=True)
class Trial:
    """A training job of a tuning job."""

    name: str
    """TrainingJobName."""
    status: str
    """TrainingJobStatus."""
    values: Mapping[str, Any]
    """What the tuning job chose, by the setting's name, each of the setting's own type."""
    objective: float | None
    """The last value of the objective metric; None: there is none yet, or there will be none."""
    launched: datetime
    started: datetime | None
    """When its instances began; None: they have not."""
    ended: datetime | None
    failure: str = ""
    """Why it failed."""

    @classmethod
    def read(cls, summary: Any) -> Self:
        """Return what ListTrainingJobsForHyperParameterTuningJob says of one."""
        metric = summary.get("FinalHyperParameterTuningJobObjectiveMetric")
        return cls(
            summary["TrainingJobName"],
            summary["TrainingJobStatus"],
            {name: _value(name, text) for name, text in summary["TunedHyperParameters"].items()},
            float(metric["Value"]) if metric else None,
            summary["CreationTime"],
            summary.get("TrainingStartTime"),
            summary.get("TrainingEndTime"),
            summary.get("FailureReason", ""),
        )

    @property
    def seconds(self) -> float | None:
        """How long it has trained so far; None: it has not begun."""
        if self.started is None:
            return None
        return ((self.ended or datetime.now(UTC)) - self.started).total_seconds()

    @property
    def is_over(self) -> bool:
        """Whether nothing of it will change any more."""
        return self.status in ENDED


@dataclass(frozen=True)
class TuningJob:
    """A tuning job at one moment."""

    name: str
    status: str
    """HyperParameterTuningJobStatus."""
    objective: str
    """The metric that tells trials apart."""
    direction: Direction
    parameters: tuple[str, ...]
    """The settings that it varies, by name."""
    jobs: int | None
    """How many trials there will be at most; None: the request did not say."""
    trials: tuple[Trial, ...]
    """In the order of their launch."""
    failure: str = ""
    """Why it failed."""

    @property
    def is_over(self) -> bool:
        """Whether it launches nothing any more, and nothing of it runs."""
        return self.status in ENDED

    @property
    def best(self) -> Trial | None:
        """The trial with the best objective so far, failed ones left out; of equal ones the first."""
        judged = [trial for trial in self.trials if trial.objective is not None and trial.status != "Failed"]
        choose = max if self.direction == "Maximize" else min
        return choose(judged, key=lambda trial: trial.objective or 0.0, default=None)

    def short_name(self, trial: Trial) -> str:
        """Return what tells a trial from the others of this tuning job."""
        return trial.name.removeprefix(f"{self.name}-")


def describe_tuning_job(aws: Aws, job: str) -> Any:
    """Return AWS's description of a tuning job.

    Raises:
        JobError: there is no such job.
        AwsError: AWS refuses to tell.
    """
    with aws.explained(f"could not look at the tuning job {job}"):
        try:
            return aws.client("sagemaker").describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=job)
        except ClientError as error:
            if error_code(error) in ("ResourceNotFound", "ResourceNotFoundException"):
                raise JobError(
                    f"there is no tuning job {job!r} in this account and region: --launch_tuning launches one"
                ) from None
            raise


def read_tuning_job(aws: Aws, job: str) -> TuningJob:
    """Ask AWS about a tuning job and all its trials.

    Raises:
        JobError: there is no such job, or it is none of one objective.
        AwsError: AWS refuses to tell.
    """
    description = describe_tuning_job(aws, job)
    config = description["HyperParameterTuningJobConfig"]
    if "HyperParameterTuningJobObjective" not in config:
        raise JobError(f"{job} tunes several algorithms at once, each by an objective of its own: it is not ours")
    pages = aws.client("sagemaker").get_paginator("list_training_jobs_for_hyper_parameter_tuning_job")
    with aws.explained(f"could not list the training jobs of {job}"):
        found = [
            Trial.read(summary)
            for page in pages.paginate(
                HyperParameterTuningJobName=job,
                SortBy="CreationTime",
                SortOrder="Ascending",
                PaginationConfig=LARGE_PAGES,
            )
            for summary in page["TrainingJobSummaries"]
        ]
    return TuningJob(
        job,
        description["HyperParameterTuningJobStatus"],
        config["HyperParameterTuningJobObjective"]["MetricName"],
        config["HyperParameterTuningJobObjective"]["Type"],
        tuple(varied["Name"] for ranges in config.get("ParameterRanges", {}).values() for varied in ranges),
        config["ResourceLimits"].get("MaxNumberOfTrainingJobs"),
        # Trials that are launched together have the same time; their names count up.
        tuple(sorted(found, key=lambda trial: (trial.launched, trial.name))),
        description.get("FailureReason", ""),
    )


def _value(name: str, text: str) -> Any:
    try:
        return overrides.parse_value(ContainerSettings, name, text)
    except SettingsError:
        # A job of an earlier time may have varied a setting that is no more.
        return text
