"""One function per flag of `project_manager.py`: what is read, what is planned from it, what is shown."""

import itertools
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from container.errors import DataError
from container.report.facts import REPORT_FILE
from manager import (
    bucket_aspects,
    buckets,
    comparison,
    doctor,
    image,
    job_history,
    launching,
    local,
    local_sets,
    monitoring,
    names,
    permissions,
    pricing,
    processing_results,
    repository,
    results,
    resuming,
    role,
    teardown,
    training,
    upload_commands,
)
from manager.console import Terminal
from manager.docker_engine import Engine
from manager.errors import AwsError, CheckError, JobError
from manager.plan import RETRY_SECONDS, Plan, outline
from manager.serving_commands import warn_of_endpoint
from manager.session import Session
from manager.status import last_jobs, prices_of, show_jobs

USER_POLICIES_FOLDER = "user-policies"


def check(patient: doctor.Patient, terminal: Terminal) -> None:
    """Look at everything that the way to a trained model needs, and change nothing.

    Raises:
        CheckError: something stops the way.
    """
    terminal.heading("What the way to a trained model needs")
    problems = 0
    for finding in doctor.examine(patient):
        terminal.finding(finding.level, finding.subject, finding.text)
        problems += finding.level == "problem"
    if problems:
        raise CheckError(f"{problems} {'problem stops' if problems == 1 else 'problems stop'} the way: see above")


def write_user_policies(session: Session) -> None:
    """Write what a person needs to be allowed to do, as IAM policies, for an administrator to grant.

    Raises:
        TemplateError: a policy's template is missing or broken.
        DataError: the files cannot be written.
    """
    folder = session.project_root / USER_POLICIES_FOLDER
    policies = permissions.user_policies(session.settings, session.aws.place)
    try:
        folder.mkdir(exist_ok=True)
        for (name, purpose), policy in zip(permissions.USER_POLICIES.items(), policies, strict=True):
            (folder / name).write_text(json.dumps(policy, indent=2) + "\n", encoding="utf-8")
            session.terminal.done(f"{USER_POLICIES_FOLDER}/{name} has what {purpose} needs")
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror or error}") from None
    if session.aws.endpoint_url:
        session.terminal.warn("they are for the account of the AWS on this machine; without --local they are for yours")


def init_s3_buckets(session: Session, *, prune: bool = False) -> None:
    """Create the buckets and the role where they are missing, and upload the sets of images.

    Raises:
        ProjectError: the images are not split, or AWS refuses.
    """
    settings, place = session.settings, session.aws.place
    files = local_sets.local_files(settings, session.project_root)
    session.terminal.heading(f"Buckets and role in account {place.account}, {place.region}")
    plan, data_bucket = Plan(), names.data_bucket(settings)
    again = False
    for bucket in names.buckets(settings):
        wanted = bucket_aspects.aspects(settings, bucket, place)
        state = buckets.read_bucket(session.aws, bucket, wanted)
        plan += buckets.plan_bucket(settings, bucket, place.region, wanted, state)
        again |= bucket == data_bucket and not bucket_aspects.has_encryption(wanted, state.present)
    plan += role.plan_role(settings, place, role.read_role(session.aws, names.role(settings)))
    plan += upload_commands.plan_sets(session, files, prune=prune, again=again)
    session.carry_out(plan)


def build_and_push_docker_image(session: Session) -> image.Image:
    """Make the image of the present code and push it to the project's repository; return it.

    Raises:
        ProjectError: the image cannot be built, or AWS refuses.
    """
    settings, container = session.settings, session.project_root / "container"
    session.terminal.heading("Training image")
    state = repository.read_repository(session.aws, settings)
    session.carry_out(repository.plan_repository(settings, session.aws.place, state))
    if difference := repository.fixed_encryption(settings, state):
        session.terminal.warn(difference)
    # Where nothing was done but shown, the repository is not there.
    uri = repository.uri(session.aws, settings) or repository.future_uri(session.aws, settings)
    tag = image.content_tag(container, session.flavor, image.additions(settings))
    if session.flavor == "directory":
        planned, plan = image.Image(uri, tag), image.plan_directory_image(settings, container, tag)
    else:
        engine = Engine.connect()
        base = engine.base_digest(settings.training_image.base_image)
        planned = image.Image(uri, f"{tag}-{base.removeprefix('sha256:')[:12]}")
        plan = image.plan_docker_image(settings, engine, container, session.flavor, planned, session.aws)
    if present := image.find(session.aws, settings, planned.tag):
        session.carry_out(Plan(unchanged=(f"image {present.repository_uri}:{present.tag}",)))
        return present
    session.carry_out(plan)
    pushed = image.find(session.aws, settings, planned.tag) or planned
    if pushed.digest:
        _show_scan(session, pushed.digest)
    return pushed


def launch_training(
    session: Session,
    pushed: image.Image | None,
    *,
    initialized: bool = False,
    uploaded: bool = False,
    earlier: resuming.EarlierJob | None = None,
) -> str:
    """Launch a training job and return its name.

    Args:
        session: the session.
        pushed: the image that this command line has just pushed; None: it is looked up.
        initialized: whether this command line has just made buckets and role and uploaded the images, or shown how;
            otherwise it is checked that the bucket holds the present split and the role may do what the job needs.
        uploaded: whether it has just uploaded the images, or shown how.
        earlier: a job whose checkpoints this one goes on from, with the session of `resumed`; None: it begins anew.

    Raises:
        ProjectError: a function of the user's own does not exist, there is no image of the present code, the role is
            not as the job needs it, the template is wrong, or AWS refuses.
    """
    settings, root = session.settings, session.project_root
    pushed = launching.launchable_image(session, pushed, initialized=initialized, uploaded=uploaded)
    job = training.new_job_name(settings)
    session.terminal.heading(f"Training job {job}")
    uri, upload = launching.pretrained_channel(session)
    fingerprint = processing_results.fingerprint(session.aws, settings)
    request = training.render_request(
        settings, session.aws.place, pushed.uri, job, root / training.TEMPLATE, uri, fingerprint
    )
    if url := session.aws.console_url(job):
        session.terminal.plain(f"  its page in the console is {url}")
    copy = resuming.plan_copy(earlier, request) if earlier else Plan()
    launching.confirm_cost(session, request)
    launching.check_still_uploaded(session, fingerprint, shown=initialized or uploaded)
    session.carry_out(upload + copy + training.plan_training(request, root / training.RENDERED))
    return str(request["TrainingJobName"])


def resumed(session: Session, job: str, assignments: Mapping[str, str]) -> tuple[Session, resuming.EarlierJob]:
    """Return what it takes to go on from an earlier training job: a session with its settings, and the job.

    Args:
        session: the session.
        job: the earlier job.
        assignments: what this command line overrides of the settings, by name.

    Raises:
        ProjectError: the job is not over, left no checkpoints, or has settings that are no more.
    """
    earlier = resuming.read_earlier_job(session.aws, job)
    return replace(session, settings=resuming.resumed_settings(session.settings, earlier, assignments)), earlier


def interrupt(session: Session, job: str) -> None:
    """Take the capacity of a spot job on this machine away.

    Raises:
        ProjectError: there is no such job, it is no spot job, or it is not training.
    """
    endpoint_url = session.aws.endpoint_url
    if endpoint_url is None:
        raise JobError("only the AWS on this machine takes spot capacity away on request: add --local")
    session.carry_out(local.plan_interruption(endpoint_url, session.aws.place.region, job))


def monitor(session: Session, job: str) -> bool:
    """Follow a training job; return whether it was followed to its end.

    Raises:
        ProjectError: the job failed or was stopped, does not exist, or AWS refuses.
    """
    hint = (
        f"Follow it again by `{session.command} --monitor {job}`, stop it by `{session.command} --stop_training {job}`."
    )
    return monitoring.follow(session.aws, job, session.terminal, hint)


def stop_training(session: Session, job: str) -> None:
    """Ask SageMaker to stop a training job.

    Raises:
        ProjectError: AWS refuses.
    """
    status = monitoring.describe_job(session.aws, job)["TrainingJobStatus"]
    if status in monitoring.ENDED:
        raise JobError(f"{job} is over: its status is {status}; --download_results {job} fetches what it left")
    session.carry_out(training.plan_stop(job))
    session.terminal.plain(f"  it keeps its best model so far: --monitor {job} tells when it is there")


def download_results(
    session: Session, job: str, *, remake: bool = False, data: Path | None = None, in_browser: bool = False
) -> None:
    """Download what a training job left behind into `results/JOB/`, and show how good the model is.

    Args:
        session: the session.
        job: its name.
        remake: whether the report is made anew.
        data: the folder of the sets, whose images the new report may show; None: it shows none.
        in_browser: whether the report is opened.

    Raises:
        ProjectError: the job has no results, they are damaged, the folder has no sets, or AWS refuses.
    """
    if names.is_tuning_job(session.settings, job):
        raise JobError(
            f"{job} is a tuning job: --tuning_results {job} shows its training jobs, whose results there are"
        )
    directory = results.download(session.aws, job, session.project_root / results.FOLDER, session.terminal)
    if remake:
        results.remake_report(directory, data, session.terminal)
    results.show(directory, f"{directory.relative_to(session.project_root)}/", session.terminal)
    if in_browser:
        results.open_in_browser(directory / REPORT_FILE, session.terminal)


def status(session: Session) -> None:
    """Show what the project has at work: its last training jobs, and an endpoint that is left running.

    Raises:
        ProjectError: AWS refuses.
    """
    jobs = last_jobs(session.aws, session.settings)
    if jobs:
        show_jobs(jobs, prices_of(session.aws, jobs), session.terminal)
    else:
        session.terminal.plain(f"there is no training job of {session.settings.algorithm_name} yet")
    warn_of_endpoint(session)


def history(session: Session) -> None:
    """Show the project's last training jobs: what each changed, and how good its model became.

    Raises:
        ProjectError: AWS refuses.
    """
    jobs = job_history.latest_jobs(session.aws, session.settings)
    if not jobs:
        session.terminal.plain(f"there is no training job of {session.settings.algorithm_name} yet")
        return
    job_history.show_history(jobs, _prices(session, jobs), session.terminal)


def compare(session: Session, jobs: Sequence[str], *, with_page: bool = True, in_browser: bool = False) -> None:
    """Show training jobs side by side, in a table and on a page, for which their results are downloaded.

    Args:
        session: the session.
        jobs: their names.
        with_page: whether there is a page, and not only the table.
        in_browser: whether the page is opened.

    Raises:
        ProjectError: there is no such job, there are too few or too many, or AWS refuses.
    """
    job_history.check_comparable(jobs)
    compared = job_history.read_jobs(session.aws, jobs)
    prices = _prices(session, compared)
    job_history.show_comparison(compared, prices, session.terminal)
    if not with_page:
        return
    page = comparison.write_page(session.aws, compared, prices, session.project_root / results.FOLDER, session.terminal)
    session.terminal.plain(f"the page, with curves and classes, is {page.relative_to(session.project_root)}")
    if in_browser:
        results.open_in_browser(page, session.terminal)


def delete(session: Session, *, with_data: bool) -> None:
    """Remove all that the project made on AWS and nothing else.

    Args:
        session: the session; it asks before it deletes.
        with_data: whether buckets go that hold objects.

    Raises:
        ProjectError: a training job is running, the user says no, or AWS refuses.
    """
    settings, place = session.settings, session.aws.place
    session.terminal.heading(f"Everything of {settings.project_name} in account {place.account}, {place.region}")
    holdings = teardown.read_holdings(session.aws, settings)
    if holdings.is_empty:
        session.terminal.plain("  there is nothing of it")
        return
    silence = teardown.plan_silence(settings, holdings) if with_data else Plan()
    plan = silence + teardown.plan_teardown(settings, holdings, with_data=with_data)
    outline(plan, session.terminal)
    if not plan.calls:
        return
    session.confirm("This cannot be undone", settings.project_name)
    session.carry_out(silence)
    _tear_down(session, with_data=with_data)


def last_job(session: Session) -> str:
    """Return the name of the training job that was launched last.

    Raises:
        ProjectError: there is none, or AWS refuses.
    """
    return training.last_job(session.aws, session.settings)


def _tear_down(session: Session, *, with_data: bool) -> None:
    """Carry out the removal; begin again where a record of an access came into a bucket after it was emptied."""
    for attempt in itertools.count(1):
        holdings = teardown.read_holdings(session.aws, session.settings)
        try:
            session.carry_out(teardown.plan_teardown(session.settings, holdings, with_data=with_data))
            return
        except AwsError as error:
            if error.code != "BucketNotEmpty" or attempt == teardown.ATTEMPTS:
                raise
        session.terminal.labeled("waiting", "something came into a bucket after it was emptied; emptying it again")
        # What came is listed at once; what keeps coming needs time.
        time.sleep(RETRY_SECONDS * (attempt - 1))


def _show_scan(session: Session, digest: str) -> None:
    counts = repository.read_scan(session.aws, session.settings, digest)
    if counts is None:
        session.terminal.plain("  ECR has no result of a scan of the image yet")
        return
    found = ", ".join(f"{count:,} {severity.lower()}" for severity, count in counts.items()) or "nothing"
    session.terminal.plain(f"  ECR's scan of the image found: {found}")


def _prices(session: Session, jobs: Sequence[job_history.TrainedJob]) -> dict[str, pricing.Price]:
    return prices_of(session.aws, [job.record for job in jobs])
