"""The project's training jobs side by side: what was tried, and what came of it (`--history`, `--compare`)."""

import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from container.modeling import overrides
from container.modeling.job import without_sagemakers_own
from container.modeling.settings import ContainerSettings, Settings
from manager import training
from manager.aws import Aws
from manager.console import Terminal
from manager.errors import JobError
from manager.monitoring import describe_job, duration
from manager.pricing import Price
from manager.status import PARALLEL_QUESTIONS, UNKNOWN, JobRecord

# What SageMaker found in the log, by the template's names: the most telling ones first.
METRICS = ("evaluation_accuracy", "best_val_accuracy", "best_val_f1", "best_val_loss")
MOST_COMPARED = 8
# AWS is asked twice about each.
MOST_SHOWN = 50


@dataclass(frozen=True)
class TrainedJob:
    """A training job as something that was tried: its settings, and how good its model became."""

    record: JobRecord
    launched: datetime
    settings: Mapping[str, str]
    """Those that differ from their defaults, as texts by name."""
    metrics: Mapping[str, float]
    """The last value of each metric that SageMaker found in the log."""

    @classmethod
    def read(cls, description: Any, now: datetime) -> Self:
        """Return what DescribeTrainingJob's answer says."""
        given: Mapping[str, str] = description.get("HyperParameters", {})
        found = description.get("FinalMetricDataList", [])
        return cls(
            JobRecord.read(description, now),
            description["CreationTime"],
            without_sagemakers_own(given),
            {metric["MetricName"]: float(metric["Value"]) for metric in found},
        )

    @property
    def name(self) -> str:
        """TrainingJobName."""
        return self.record.name


def latest_jobs(aws: Aws, settings: Settings) -> list[TrainedJob]:
    """Return the project's training jobs, the last one first, up to MOST_SHOWN.

    Raises:
        AwsError: AWS refuses to tell.
    """
    return read_jobs(aws, list(itertools.islice(training.job_names(aws, settings), MOST_SHOWN)))


def read_jobs(aws: Aws, jobs: Sequence[str]) -> list[TrainedJob]:
    """Return training jobs by their names, in the same order.

    Raises:
        JobError: there is no such job.
        AwsError: AWS refuses to tell.
    """
    with ThreadPoolExecutor(PARALLEL_QUESTIONS) as pool:
        descriptions = list(pool.map(lambda job: describe_job(aws, job), jobs))
    return [TrainedJob.read(description, datetime.now(UTC)) for description in descriptions]


def check_comparable(jobs: Sequence[str]) -> None:
    """Raise JobError where jobs cannot stand side by side."""
    if len(set(jobs)) < 2:
        raise JobError("--compare needs the names of two different training jobs or more: --history lists them")
    if len(jobs) > MOST_COMPARED:
        raise JobError(f"--compare takes up to {MOST_COMPARED} training jobs, not {len(jobs)}")


def differences(jobs: Sequence[TrainedJob]) -> dict[str, tuple[str, ...]]:
    """Return the settings in which jobs differ, by name: their texts, in the order of the jobs."""
    defaults = {name: overrides.to_text(value) for name, value in overrides.flatten(ContainerSettings())}
    names = sorted({name for job in jobs for name in job.settings})
    table = {name: tuple(job.settings.get(name, defaults.get(name, UNKNOWN)) for job in jobs) for name in names}
    return {name: texts for name, texts in table.items() if len(set(texts)) > 1}


def show_history(jobs: Sequence[TrainedJob], prices: Mapping[str, Price], terminal: Terminal) -> None:
    """Print jobs in a table, and what each was tried with that the one before it was not."""
    header = (
        "training job",
        "status",
        "duration",
        "about USD",
        "evaluation\naccuracy",
        "best val\naccuracy",
        "changed",
    )
    rows = []
    for job, before in zip(jobs, [*jobs[1:], None], strict=True):
        changed = differences([job, before]) if before else {}
        rows.append(
            (
                job.name,
                job.record.status,
                _duration(job),
                _cost(job, prices),
                _metric(job, "evaluation_accuracy"),
                _metric(job, "best_val_accuracy"),
                "\n".join(f"{name}={texts[0]}" for name, texts in changed.items()),
            )
        )
    terminal.table("Training jobs, and what each changed of the settings of the one before", header, rows, whole=2)
    if len(jobs) == MOST_SHOWN:
        terminal.prose(f"these are the last {MOST_SHOWN}; --compare takes any others by their names")


def show_comparison(jobs: Sequence[TrainedJob], prices: Mapping[str, Price], terminal: Terminal) -> None:
    """Print jobs side by side: the settings that differ, the metrics, the costs."""
    facts = zip(*(job_facts(job, prices) for job in jobs), strict=True)
    rows: list[tuple[str, ...]] = [(column[0][0], *(text for _, text in column)) for column in facts]
    rows += [(name, *(_metric(job, name) for job in jobs)) for name in METRICS]
    rows += [(name, *texts) for name, texts in differences(jobs).items()]
    terminal.table("Training jobs side by side", ("", *(job.name for job in jobs)), rows)


def job_facts(job: TrainedJob, prices: Mapping[str, Price]) -> tuple[tuple[str, str], ...]:
    """Return what AWS tells of how a job went, each by its name, in an order that is the same for all jobs."""
    return (
        ("status", job.record.status),
        ("instances", " and ".join(map(str, job.record.machines))),
        ("duration", _duration(job)),
        ("about USD", _cost(job, prices)),
    )


def _duration(job: TrainedJob) -> str:
    return UNKNOWN if job.record.seconds is None else duration(job.record.seconds)


def _cost(job: TrainedJob, prices: Mapping[str, Price]) -> str:
    cost = job.record.cost(prices)
    return UNKNOWN if cost is None else f"{cost:,.2f}"


def _metric(job: TrainedJob, name: str) -> str:
    return f"{job.metrics[name]:.4f}" if name in job.metrics else UNKNOWN
