"""The page that sets training jobs side by side, with the results of those that have some (`--compare`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from container.report.comparison_page import ComparedJob, write_comparison
from manager import results
from manager.aws import Aws
from manager.console import Terminal
from manager.errors import AwsError, ResultsError
from manager.job_history import TrainedJob, differences, job_facts
from manager.pricing import Price

COMPARISON_FILE = "comparison.html"


def write_page(
    aws: Aws, jobs: Sequence[TrainedJob], prices: Mapping[str, Price], directory: Path, terminal: Terminal
) -> Path:
    """Download the jobs' results where they are not here yet, and write the page; return its file.

    A job whose results cannot be had stands there without them: the page and a warning say why.

    Args:
        aws: where the jobs ran.
        jobs: what AWS says of them.
        prices: of the instances that they ran on.
        directory: the folder that has a folder for each job's results; it gets the page.
        terminal: where the downloads are shown.

    Raises:
        OSError: the folder cannot be written.
    """
    texts = differences(jobs)
    compared = []
    for position, job in enumerate(jobs):
        folder, reason = _results(aws, job, directory, terminal)
        settings = {name: of_jobs[position] for name, of_jobs in texts.items()}
        compared.append(ComparedJob(job.name, job_facts(job, prices), settings, folder, reason))
    return write_comparison(directory / COMPARISON_FILE, compared)


def _results(aws: Aws, job: TrainedJob, directory: Path, terminal: Terminal) -> tuple[Path | None, str]:
    """Return the folder of a job's results; or None, and why there are none."""
    try:
        return results.download(aws, job.name, directory, terminal), ""
    except (ResultsError, AwsError) as error:
        terminal.warn(f"{error}; the page shows this job without figures and curves")
        return None, str(error)
