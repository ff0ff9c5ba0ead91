"""One function per flag of `project_manager.py` that has to do with batch transforms."""

from datetime import datetime
from typing import Any

from container.words import plural
from manager import batch_transform, endpoint, labeled_predictions, names, pricing, results, served_model
from manager import serving_monitoring as monitoring
from manager.endpoint import FAILED
from manager.errors import AwsError, JobError
from manager.monitoring import ENDED
from manager.plan import Plan
from manager.pricing import Machines
from manager.session import Session


def launch_batch_transform(session: Session, named: str, job: str) -> str:
    """Launch the transform job that predicts a folder of images; return its name.

    Args:
        session: the session.
        named: a folder of this machine, or an s3:// URI.
        job: the training job whose model predicts.

    Raises:
        ProjectError: there are no such images, the job left no model, the role is not as it must be, or AWS refuses.
    """
    settings, hosting = session.settings, session.settings.batch_transform
    name = names.transform_job(settings, datetime.now())
    batch = batch_transform.read_batch(session.aws, settings, named, name, session.terminal)
    model = served_model.model_request(
        settings, session.aws.place, served_model.trained_model(session, job, hosting), hosting
    )
    session.terminal.heading(f"Transform job {name} of {plural(batch.images, 'image')} with the model of {job}")
    if not session.aws.endpoint_url and (url := names.console_url(session.aws.place, name, "transform-jobs")):
        session.terminal.plain(f"  its page in the console is {url}")
    machines = Machines(hosting.instance_type, hosting.instance_count)
    session.terminal.prose(f"  {pricing.hourly_cost(session.aws, machines, 'Tsform')}")
    is_there = model["ModelName"] in endpoint.read_served(session.aws, settings).models
    create = Plan(unchanged=(f"model {model['ModelName']}",)) if is_there else Plan((served_model.model_call(model),))
    request = batch_transform.transform_request(settings, name, model["ModelName"], batch)
    try:
        session.carry_out(create + batch_transform.plan_transform(request, batch))
    except AwsError:
        _remove_input(session, name)
        raise
    return name


def monitor_transform(session: Session, job: str) -> bool:
    """Follow a transform job; return whether it was followed to its end.

    Raises:
        ProjectError: the job failed or was stopped, does not exist, or AWS refuses.
    """
    ended = monitoring.follow_transform_job(session.aws, job, session.terminal)
    again, stop = f"{session.command} --monitor {job}", f"{session.command} --stop_transform {job}"
    if ended is None:
        session.terminal.prose(f"\n{job} goes on. Follow it again by `{again}`, stop it by `{stop}`.")
        return False
    status = ended["TransformJobStatus"]
    # What is missing is known as long as the uploaded images are there.
    missing = _missing(session, ended) if status == FAILED else ""
    _remove_input(session, job)
    if status == FAILED:
        reason = ended.get("FailureReason", "SageMaker gives no reason")
        hint = _hint_of_outputs(session, ended)
        raise JobError(f"{job} failed: {reason}{f'; {missing}' if missing and hint else ''}{hint}")
    if status == monitoring.STOPPED:
        raise JobError(f"{job} was stopped before it was done: {monitoring.STORES_NOTHING}")
    session.terminal.done(f"{job} completed")
    return True


def transform_results(session: Session, job: str) -> None:
    """Fetch what a transform job predicted into `results/JOB/predictions.csv`, and show it.

    Raises:
        JobError: the job failed, or does not exist; of one that failed what it predicted is shown.
        ProjectError: the job is not over or left nothing, or AWS refuses.
    """
    from manager import transform_results

    description = monitoring.describe_transform_job(session.aws, job)
    has_failed = description["TransformJobStatus"] == FAILED
    missing = _missing(session, description) if has_failed else ""
    if description["TransformJobStatus"] in ENDED:
        _remove_input(session, job)
    rows = transform_results.collect(session.aws, description, session.terminal)
    file = transform_results.results_file(session.project_root / results.FOLDER, job)
    labeled_predictions.write_predictions(file, rows)
    labeled_predictions.show_predictions(rows, session.settings.evaluation, session.terminal)
    session.terminal.plain(f"the predictions are in {file.relative_to(session.project_root)}")
    if has_failed:
        reason = description.get("FailureReason", "SageMaker gives no reason")
        raise JobError(f"{job} failed: {reason}; {missing or 'what it did not predict is missing here'}")


def stop_transform(session: Session, job: str) -> None:
    """Ask SageMaker to stop a transform job.

    Raises:
        ProjectError: the job is over already, does not exist, or AWS refuses.
    """
    description = monitoring.describe_transform_job(session.aws, job)
    if (status := description["TransformJobStatus"]) in ENDED:
        _remove_input(session, job)
        raise JobError(f"{job} is over: its status is {status}{_hint_of_outputs(session, description)}")
    session.carry_out(batch_transform.plan_stop(job))


def await_stopped_transform(session: Session, job: str) -> None:
    """Wait until a transform job that is being stopped is over, and remove what was uploaded for it.

    Raises:
        ProjectError: the job does not exist, or AWS refuses.
    """
    if monitoring.wait_for_transform_job(session.aws, job, session.terminal):
        _remove_input(session, job)
    else:
        again = f"{session.command} --monitor {job}"
        session.terminal.prose(
            f"\n{job} is still being stopped: `{again}` removes what was uploaded for it after that."
        )


def last_transform_job(session: Session) -> str:
    """Return the name of the transform job that was launched last.

    Raises:
        ProjectError: there is none, or AWS refuses.
    """
    return batch_transform.last_transform_job(session.aws, session.settings)


def is_transform_job(session: Session, job: str) -> bool:
    """Whether a name is a transform job's of the project's."""
    return names.is_transform_job(session.settings, job)


def _hint_of_outputs(session: Session, description: Any) -> str:
    """Return how the outputs of a transform job that is over are fetched; empty: it left none."""
    if not monitoring.output_keys(session.aws, monitoring.output_folder(description)):
        return ""
    return f"; --transform_results {description['TransformJobName']} fetches what it predicted"


def _missing(session: Session, description: Any) -> str:
    from manager import transform_results

    return transform_results.missing_images(session.aws, description, session.project_root / results.FOLDER)


def _remove_input(session: Session, job: str) -> None:
    """Remove the images that were uploaded for a transform job that is over, or was never launched."""
    try:
        session.carry_out(batch_transform.plan_input_removal(session.aws, session.settings, job))
    except AwsError as error:
        # How the job ended is worth more.
        session.terminal.warn(f"the images that were uploaded for {job} are not removed: {error}")
