"""What of the project's processing jobs is left, of whatever ALGORITHM_NAME, and its removal (part of `--delete`)."""

from dataclasses import dataclass, field

from container.modeling.settings import Settings
from manager import names
from manager.aws import LARGE_PAGES, Aws
from manager.errors import JobError
from manager.job_logs import JobLogs, log_removals, read_job_logs
from manager.plan import ApiCall
from manager.training import is_own

RUNNING = ("InProgress", "Stopping")


@dataclass(frozen=True)
class ProcessingHoldings:
    """What was found."""

    jobs: tuple[str, ...] = ()
    logs: JobLogs = field(default_factory=lambda: JobLogs(names.PROCESSING_JOBS_LOG_GROUP))

    @property
    def is_empty(self) -> bool:
        """Whether nothing was found."""
        return not (self.jobs or self.logs.streams)


def read_processing_holdings(aws: Aws, settings: Settings) -> ProcessingHoldings:
    """Ask AWS what there is.

    Raises:
        JobError: a processing job is running.
        AwsError: AWS refuses to tell.
    """
    jobs = []
    pages = aws.client("sagemaker").get_paginator("list_processing_jobs")
    with aws.explained("could not list the processing jobs"):
        for page in pages.paginate(PaginationConfig=LARGE_PAGES):
            for found in page["ProcessingJobSummaries"]:
                if not is_own(aws, settings, found["ProcessingJobArn"]):
                    continue
                name = str(found["ProcessingJobName"])
                if found["ProcessingJobStatus"] in RUNNING:
                    raise JobError(
                        f"{name} is still running: end it first by python data_handler.py --prepare --on_sagemaker "
                        f"{name} --stop, then delete"
                    )
                jobs.append(name)
    return ProcessingHoldings(tuple(jobs), read_job_logs(aws, names.PROCESSING_JOBS_LOG_GROUP, jobs))


def processing_removals(holdings: ProcessingHoldings) -> list[ApiCall]:
    """Return the calls that remove it; the records go last, since they tell which logs are the project's."""
    records = [
        ApiCall(
            "sagemaker",
            "delete_processing_job",
            {"ProcessingJobName": name},
            f"delete the record of the processing job {name}",
            "deleted",
            "delete the records of processing jobs",
        )
        for name in holdings.jobs
    ]
    return [*log_removals(holdings.logs, "processing jobs"), *records]
