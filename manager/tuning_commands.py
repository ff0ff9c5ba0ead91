"""One function per flag of `project_manager.py` that has to do with tuning jobs."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from container.modeling import overrides
from manager import image, launching, names, processing_results, results, training, trials, tuning, tuning_monitoring
from manager.errors import AwsError, JobError
from manager.monitoring import ENDED, describe_job
from manager.resuming import pretrained_of, settings_of_job
from manager.session import Session
from manager.tuning_ranges import read_ranges

TUNING_PAGE = "tuning.html"


def launch_tuning(
    session: Session, pushed: image.Image | None, *, initialized: bool = False, uploaded: bool = False
) -> str:
    """Launch a tuning job and return its name.

    Args:
        session: the session.
        pushed: the image that this command line has just pushed; None: it is looked up.
        initialized: whether this command line has just made buckets and role and uploaded the images, or shown how.
        uploaded: whether it has just uploaded the images, or shown how.

    Raises:
        ProjectError: a value that may be chosen is wrong, what the trials need is not there, a template is wrong, or
            AWS refuses.
    """
    settings, root = session.settings, session.project_root
    parameters = read_ranges(settings, root / "container" / "parts")
    pushed = launching.launchable_image(session, pushed, initialized=initialized, uploaded=uploaded)
    job, place = names.tuning_job(settings, datetime.now()), session.aws.place
    session.terminal.heading(f"Tuning job {job}")
    uri, upload = launching.pretrained_channel(session)
    fingerprint = processing_results.fingerprint(session.aws, settings)
    training_request = training.render_request(
        settings, place, pushed.uri, job, root / training.TEMPLATE, uri, fingerprint
    )
    definition = tuning.define_trials(session.aws, training_request, parameters)
    request = tuning.render_request(settings, job, definition, parameters, root / tuning.TEMPLATE)
    if definition.left_out:
        session.terminal.warn(f"trials are without what SageMaker's tuning lacks: {', '.join(definition.left_out)}")
    if not session.aws.endpoint_url and (url := names.console_url(place, job, "hyper-tuning-jobs")):
        session.terminal.plain(f"  its page in the console is {url}")
    objective, monitor = settings.tuning.objective, settings.training.monitor
    if objective.startswith("best_") and not objective.endswith(monitor):
        session.terminal.warn(
            f"trials are judged by {objective}, but keep the epoch of the best {monitor}: see docs/tuning.md"
        )
    for parameter in parameters:
        session.terminal.prose(f"  tunes {parameter}")
    launching.confirm_cost(session, training_request, tuning.most_trials(settings, parameters))
    launching.check_still_uploaded(session, fingerprint, shown=initialized or uploaded)
    session.carry_out(upload + tuning.plan_tuning(request, root / tuning.RENDERED))
    return str(request["HyperParameterTuningJobName"])


def monitor(session: Session, job: str) -> bool:
    """Follow a tuning job; return whether it was followed to its end.

    Raises:
        ProjectError: the job failed or was stopped, does not exist, or AWS refuses.
    """
    again, stop = f"{session.command} --monitor {job}", f"{session.command} --stop_tuning {job}"
    hint = f"Follow it again by `{again}`, stop it by `{stop}`."
    ended = tuning_monitoring.follow(session.aws, job, session.terminal, hint)
    if ended is None:
        return False
    session.terminal.done(f"{job} completed")
    _suggest_training(session, ended)
    return True


def stop_tuning(session: Session, job: str) -> None:
    """Ask SageMaker to stop a tuning job and its running trials.

    Raises:
        ProjectError: the job is over already, does not exist, or AWS refuses.
    """
    status = trials.describe_tuning_job(session.aws, job)["HyperParameterTuningJobStatus"]
    if status in ENDED:
        raise JobError(f"{job} is over: its status is {status}; --tuning_results {job} shows what it found")
    session.carry_out(tuning.plan_stop(job))
    session.terminal.plain(f"  its trials keep their best models so far: --tuning_results {job} shows what it found")


def tuning_results(session: Session, job: str, *, in_browser: bool = False) -> trials.TuningJob:
    """Show the trials of a tuning job, write them into `results/JOB/` as a table and as a page, and return them.

    Args:
        session: the session.
        job: its name.
        in_browser: whether the page is opened.

    Raises:
        ProjectError: the job does not exist, or AWS refuses.
    """
    from container.report.tuning_page import write_tuning_page
    from manager import tuning_results

    found = trials.read_tuning_job(session.aws, job)
    tuning_monitoring.show(found, session.terminal)
    directory = session.project_root / results.FOLDER / job
    file = tuning_results.write_trials(found, directory)
    session.terminal.plain(f"the trials are in {file.relative_to(session.project_root)}")
    page = write_tuning_page(directory / TUNING_PAGE, found, _training_command(session, found))
    session.terminal.plain(f"the page, with charts, is {page.relative_to(session.project_root)} (--open shows it)")
    _suggest_training(session, found)
    if in_browser:
        results.open_in_browser(page, session.terminal)
    return found


def winners_session(session: Session, job: str, assignments: Mapping[str, str]) -> Session:
    """Return a session that trains as the best trial of a tuning job did.

    Args:
        session: the session.
        job: the tuning job.
        assignments: what this command line overrides of the settings, by name.

    Raises:
        ProjectError: there is no such job or no best trial yet, or it has settings that are no more.
    """
    found = trials.read_tuning_job(session.aws, job)
    best = found.best
    if best is None:
        raise JobError(
            f"no trial of {job} has logged {found.objective}, so there is none to train by: --tuning_results {job} "
            "shows how they ended"
        )
    if not found.is_over:
        session.terminal.warn(f"{job} is {found.status}: its best trial so far is taken")
    description = describe_job(session.aws, best.name)
    given = description.get("HyperParameters", {})
    settings = settings_of_job(session.settings, given, pretrained_of(description), assignments)
    chosen = ", ".join(f"{name}={overrides.to_text(value)}" for name, value in best.values.items())
    session.terminal.prose(f"as trial {best.name} with {found.objective}={best.objective:.4f}: {chosen}")
    return replace(session, settings=settings)


def last_tuning_job(session: Session) -> str:
    """Return the name of the tuning job that was launched last.

    Raises:
        ProjectError: there is none, or AWS refuses.
    """
    return tuning.last_tuning_job(session.aws, session.settings)


def last_job(session: Session) -> str:
    """Return the name of the training job or tuning job that was launched last.

    Raises:
        ProjectError: there is none, or AWS refuses.
    """
    aws, settings = session.aws, session.settings
    try:
        tuned = next(tuning.tuning_job_names(aws, settings), None)
    except AwsError:
        # Who follows training jobs may not be allowed to list others.
        tuned = None
    trained = next(training.job_names(aws, settings), None)
    if tuned is None or trained is None:
        return tuned or training.last_job(aws, settings)
    launched = trials.describe_tuning_job(aws, tuned)["CreationTime"]
    return tuned if launched > describe_job(aws, trained)["CreationTime"] else trained


def is_tuning_job(session: Session, job: str) -> bool:
    """Whether a name is a tuning job's, and not a training job's."""
    if names.is_training_job(session.settings, job) or names.is_tuning_job(session.settings, job):
        return names.is_tuning_job(session.settings, job)
    try:
        trials.describe_tuning_job(session.aws, job)
    except (JobError, AwsError):
        # Who follows training jobs may not be allowed to ask for others.
        return False
    return True


def _suggest_training(session: Session, found: trials.TuningJob) -> None:
    if found.best:
        session.terminal.plain(f"train with its values: {_training_command(session, found)}")


def _training_command(session: Session, found: trials.TuningJob) -> str:
    return f"{session.command} --launch_training --from_tuning {found.name}"
