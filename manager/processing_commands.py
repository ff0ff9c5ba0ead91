"""What `data_handler.py --prepare --on_sagemaker` does: launch a processing job, follow it, finish its work."""

import contextlib
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from typing import Any

from container.dataset import preparing_hosts as hosts
from container.words import plural, plural_are
from manager import data_bucket, image, launching, names, pricing, processing, processing_results, role
from manager.aws import Aws
from manager.errors import JobError
from manager.left_out import show_left_out
from manager.monitoring import ENDED, LogReader, Look, follow_job
from manager.preparing import show_problems
from manager.pricing import Machines
from manager.session import Session

DIFFERENCES_SHOWN = 5


def launch(session: Session, count: int) -> str:
    """Launch the processing job that prepares the sets of the data bucket on so many instances; return its name.

    Raises:
        ProjectError: the bucket holds no sets, a part of them, or another split than this machine, there is no image of
            the present code, the role is not as it must be, the user says no, or AWS refuses.
        KeyboardInterrupt: Ctrl-C was pressed; once the job may be launched, the text tells what ends it.
    """
    settings, place, own = session.settings, session.aws.place, session.settings.preparation
    if not 1 <= count <= processing.MOST_HOSTS:
        raise JobError(f"a processing job has 1 to {processing.MOST_HOSTS} instances, not {count}")
    if running := processing.running_jobs(session.aws, settings):
        session.confirm(
            f"{running[0]} is running already, and `{_again(session, running[0])}` follows it: this would be another "
            "job, which costs as well",
            "yes",
        )
    if not own.raw_folder:
        data_bucket.check_uploaded(session.aws, settings, session.project_root)
    source = processing.read_source(session.aws, settings)
    pushed = image.pushed(session.aws, settings, session.project_root / "container", session.flavor)
    role.check_role(session.aws, settings)
    job = names.processing_job(settings, datetime.now())
    session.terminal.heading(f"Processing job {job}")
    if not session.aws.endpoint_url and (url := names.console_url(place, job, "processing-jobs")):
        session.terminal.plain(f"  its page in the console is {url}")
    machines = (Machines(own.instance_type, count),)
    most = pricing.limited_cost(session.aws, machines, own.max_runtime_seconds, "Processing")
    launching.confirm_most(session, most)
    order = processing.make_order(settings, source, count)
    request = processing.processing_request(settings, place, pushed.uri, job, order)
    plan = processing.plan_processing(settings, request, order, session.project_root / processing.RENDERED)
    with _interruption_tells_of(session, job):
        session.carry_out(plan)
    return job


def finish(session: Session, job: str) -> bool:
    """Follow a processing job, and make what its hosts prepared prepared sets; return whether it came so far.

    Raises:
        ProjectError: the job failed or was stopped, does not exist, a host left no part, its images changed since the
            launch, or AWS refuses.
        KeyboardInterrupt: Ctrl-C was pressed, not only to end the following; the text tells what goes on with the job.
    """
    with _interruption_tells_of(session, job):
        return _finish(session, job)


def _finish(session: Session, job: str) -> bool:
    ended = _follow(session, job)
    if ended is None:
        again = _again(session, job)
        session.terminal.prose(
            f"\n{job} goes on. Follow it again, and finish it, by `{again}`, stop it by `{again} --stop`."
        )
        return False
    status = ended["ProcessingJobStatus"]
    if status == "Failed":
        said = [ended.get("FailureReason", "SageMaker gives no reason"), ended.get("ExitMessage", "").strip()]
        raise JobError(f"{job} failed: {'; '.join(filter(None, said))}")
    if status == "Stopped":
        raise JobError(f"{job} was stopped before it was done: by somebody, or after preparation.max_runtime_seconds")
    prepared = processing_results.read_prepared(session.aws, session.settings, job)
    session.carry_out(processing_results.plan_indexes(session.settings, job, prepared.indexes))
    _show(session, job, prepared)
    return True


def stop(session: Session, job: str) -> None:
    """Ask SageMaker to stop a processing job.

    Raises:
        ProjectError: the job is over already, does not exist, or AWS refuses.
    """
    status = processing.describe_processing_job(session.aws, job)["ProcessingJobStatus"]
    if status in ENDED:
        raise JobError(f"{job} is over: its status is {status}")
    session.carry_out(processing.plan_stop(job))


def _again(session: Session, job: str) -> str:
    """Return the command that follows a processing job and finishes its work."""
    return f"{session.command.replace('project_manager.py', 'data_handler.py')} --prepare --on_sagemaker {job}"


@contextlib.contextmanager
def _interruption_tells_of(session: Session, job: str) -> Iterator[None]:
    """Let Ctrl-C say that a job, which costs until its end, goes on; the same command again would launch another."""
    try:
        yield
    except KeyboardInterrupt:
        again = _again(session, job)
        raise KeyboardInterrupt(
            f"{job}, if it was launched, goes on: `{again}` follows and finishes it, `{again} --stop` stops it"
        ) from None


def _show(session: Session, job: str, prepared: processing_results.Prepared) -> None:
    indexes, folder = prepared.indexes, names.prepared_uri(session.settings, job)
    rows = [
        (name, f"{index.images:,}", f"{len(index.shards):,}", f"{index.bytes / 1e6:,.1f}")
        for name, index in indexes.items()
    ]
    session.terminal.table("Prepared sets", ("set", "images", "shards", "MB"), rows)
    left_out = prepared.left_out
    count = "them all" if len(left_out.named) == left_out.bad_files else f"the first {len(left_out.named):,}"
    show_left_out(left_out, session.terminal, f"{folder}{hosts.PARTS}/ names {count}")
    differences = hosts.differences(prepared.order, indexes)
    for difference in differences[:DIFFERENCES_SHOWN]:
        session.terminal.warn(f"{difference}: upload the split again by --upload_data --prune, and prepare it again")
    if more := differences[DIFFERENCES_SHOWN:]:
        session.terminal.warn(f"{plural(len(more), 'more such difference')}")
    show_problems([problem for index in indexes.values() for problem in index.problems], session.terminal)
    images = sum(index.images for index in indexes.values())
    session.terminal.done(f"{plural_are(images, 'image')} prepared in {folder}")
    session.terminal.plain(f"train on them by `{session.command} --set data.prepared_by={job} --launch_training`")


def _follow(session: Session, job: str) -> Any:
    """Show a processing job's log and status until it ends; Ctrl-C ends the showing, never the job.

    Returns:
        AWS's description of the job as it ended; None: it goes on.
    """
    reader = LogReader(session.aws, job, names.PROCESSING_JOBS_LOG_GROUP)
    return follow_job(partial(_look, session.aws, job, reader), reader, session.terminal)


def _look(aws: Aws, job: str, reader: LogReader) -> Look:
    description = processing.describe_processing_job(aws, job)
    return Look(description, description["ProcessingJobStatus"], tuple(reader.new_lines()))
