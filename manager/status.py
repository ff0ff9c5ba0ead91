"""What the project has on AWS at work: its last training jobs in a table (`--status`)."""

import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from container.modeling.settings import Settings
from manager import training
from manager.aws import Aws
from manager.console import Terminal
from manager.monitoring import describe_job, duration
from manager.pricing import Machines, Price, machines_of, training_price

SHOWN_JOBS = 10
PARALLEL_QUESTIONS = 8
UNKNOWN = "-"
WIDE = ("training job", "status", "instances", "duration", "billable s", "spot saving", "about USD")
# Below so many columns the instances stand below the job's name, and all else fits into the 80 of most terminals.
WIDE_COLUMNS = 110
NARROW = ("training job\non instances", "status", "duration", "billed\ns", "saved", "about\nUSD")


@dataclass(frozen=True)
class JobRecord:
    """What AWS knows of a training job."""

    name: str
    status: str
    machines: tuple[Machines, ...]
    is_spot: bool
    seconds: int | None
    """How long it trained so far; None: it has not begun."""
    billable_seconds: int | None
    """Seconds that each instance is paid for, a spot job's reduction taken off; None: not known before it ended."""

    @classmethod
    def read(cls, description: Any, now: datetime) -> Self:
        """Return what DescribeTrainingJob's answer says."""
        seconds, begun = description.get("TrainingTimeInSeconds"), description.get("TrainingStartTime")
        if seconds is None and begun is not None:
            seconds = round((description.get("TrainingEndTime", now) - begun).total_seconds())
        return cls(
            description["TrainingJobName"],
            description["TrainingJobStatus"],
            machines_of(description),
            description.get("EnableManagedSpotTraining", False),
            seconds,
            description.get("BillableTimeInSeconds"),
        )

    @property
    def spot_saving(self) -> float | None:
        """The share of the price that spot capacity saved, 0 to 1, as AWS computes it; None: not known.

        https://docs.aws.amazon.com/sagemaker/latest/dg/model-managed-spot-training.html
        """
        if not self.is_spot or not self.seconds or self.billable_seconds is None:
            return None
        return max(0.0, 1 - self.billable_seconds / self.seconds)

    def cost(self, prices: Mapping[str, Price]) -> float | None:
        """Return about what its instances cost in USD; None: not known."""
        hourly = [(prices[group.instance_type].usd_per_hour, group.count) for group in self.machines]
        if self.billable_seconds is None or any(price is None for price, _ in hourly):
            return None
        return self.billable_seconds / 3600 * sum((price or 0) * count for price, count in hourly)


def last_jobs(aws: Aws, settings: Settings) -> list[JobRecord]:
    """Return the project's last training jobs, the last one first.

    Raises:
        AwsError: AWS refuses to tell.
    """
    jobs = list(itertools.islice(training.job_names(aws, settings), SHOWN_JOBS))
    with ThreadPoolExecutor(PARALLEL_QUESTIONS) as pool:
        descriptions = list(pool.map(lambda job: describe_job(aws, job), jobs))
    return [JobRecord.read(description, datetime.now(UTC)) for description in descriptions]


def prices_of(aws: Aws, jobs: Sequence[JobRecord]) -> dict[str, Price]:
    """Return the price of each instance type that the jobs ran on.

    Raises:
        AwsError: there are no credentials or no region.
    """
    types = sorted({group.instance_type for job in jobs for group in job.machines})
    return {instance_type: training_price(aws, instance_type) for instance_type in types}


def show_jobs(jobs: Sequence[JobRecord], prices: Mapping[str, Price], terminal: Terminal) -> None:
    """Print training jobs as a table, and why a price is not known."""
    header: tuple[str, ...] = WIDE
    rows: list[tuple[str, ...]] = [_row(job, prices) for job in jobs]
    if terminal.out.width < WIDE_COLUMNS:
        header = NARROW
        rows = [(f"{name}\n{machines}", status, *numbers) for name, status, machines, *numbers in rows]
    terminal.table("Last training jobs", header, rows, whole=len(header))
    for instance_type, price in prices.items():
        if price.usd_per_hour is None:
            terminal.prose(f"the price of {instance_type} is unknown ({price.why_unknown})")


def _row(job: JobRecord, prices: Mapping[str, Price]) -> tuple[str, ...]:
    saving, cost = job.spot_saving, job.cost(prices)
    return (
        job.name,
        job.status,
        " and ".join(map(str, job.machines)),
        UNKNOWN if job.seconds is None else duration(job.seconds),
        UNKNOWN if job.billable_seconds is None else f"{job.billable_seconds:,}",
        UNKNOWN if saving is None else f"{saving:.0%}",
        UNKNOWN if cost is None else f"{cost:,.2f}",
    )
