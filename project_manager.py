#!/usr/bin/env python3
"""The project's command line: from buckets to the model that serves, on AWS or on this machine (`--local`)."""

import argparse
import contextlib
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from manager import command_line, flags

if TYPE_CHECKING:
    from container.modeling.settings import Settings
    from manager.aws import Aws
    from manager.console import Terminal
    from manager.image import Flavor
    from manager.local import LocalAws
    from manager.resuming import EarlierJob
    from manager.session import Session

# What comes after a job that is followed, in this order, and what comes after that.
SERVING = ("deploy", "predict", "stop_transform", "batch_transform", "transform_results")
LAST = ("status", "history", "compare", "delete", "stop_local_aws")

PROJECT_ROOT = Path(__file__).resolve().parent


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 0 when done, 1 when something failed. Wrong usage exits with 2."""
    grammar = flags.parser()
    arguments = command_line.parse(grammar, argv)
    if problem := flags.contradiction(arguments):
        grammar.error(problem)
    return command_line.run(
        lambda terminal: _run(arguments, terminal),
        debug=arguments.debug,
        after_interrupt="what was sent stands: --status shows the jobs, and the other actions go on where they ended",
    )


def _run(arguments: argparse.Namespace, terminal: "Terminal") -> None:
    from manager import local

    if arguments.check:
        _check(arguments, terminal)
    if flags.needs_account(arguments):
        session = _session(arguments, terminal)
        if arguments.upload_data and not arguments.init_s3_buckets:
            _upload(arguments, session)
        if flags.does_more_than_upload(arguments):
            _act(arguments, session)
    if arguments.stop_local_aws:
        terminal.plain(local.stop(PROJECT_ROOT))


def _check(arguments: argparse.Namespace, terminal: "Terminal") -> None:
    from manager import commands, doctor

    settings, target = _settings_and_target(arguments)
    # Credentials that do not exist are found out by the check, among all the rest.
    patient = doctor.Patient(settings, lambda: _connect(settings, target), _flavor(settings, target), PROJECT_ROOT)
    commands.check(patient, terminal)


def _upload(arguments: argparse.Namespace, session: "Session") -> None:
    from manager import upload_commands

    upload_commands.upload_data(session, prune=arguments.prune)


def _session(arguments: argparse.Namespace, terminal: "Terminal") -> "Session":
    from manager import plan
    from manager.session import Session

    settings, target = _settings_and_target(arguments)
    command_line.show_preset(arguments, terminal)
    return Session(
        settings=settings,
        aws=_connect(settings, target),
        terminal=terminal,
        executor=plan.describe if arguments.dry_run else plan.execute,
        flavor=_flavor(settings, target),
        project_root=PROJECT_ROOT,
        # Where nothing is changed, or the answer is given already, nothing is asked.
        confirm=(lambda question, answer: None) if arguments.yes or arguments.dry_run else terminal.confirm,
        command=_command(arguments),
    )


def _settings_and_target(arguments: argparse.Namespace) -> "tuple[Settings, LocalAws | None]":
    """Return the settings, and the AWS on this machine where that one is meant."""
    from manager import local

    settings = command_line.settings(arguments)
    return settings, local.start(PROJECT_ROOT) if arguments.local else None


def _connect(settings: "Settings", target: "LocalAws | None") -> "Aws":
    from manager import aws

    return aws.connect_local(settings, target.endpoint_url) if target else aws.connect(settings)


def _flavor(settings: "Settings", target: "LocalAws | None") -> "Flavor":
    return target.flavor if target else settings.training_image.flavor


def _command(arguments: argparse.Namespace) -> str:
    """Return how to call this command line for the same account and project again."""
    words = ["python", "project_manager.py", *(["--local"] if arguments.local else [])]
    words += ["--config", str(arguments.config)] if arguments.config else []
    named = [text for text in arguments.set if text.startswith(("aws.", "project_name=", "algorithm_name="))]
    return shlex.join(words + [word for text in named for word in ("--set", text)])


def _act(arguments: argparse.Namespace, session: "Session") -> None:
    from manager import commands
    from manager.errors import InterruptionError

    session, earlier = _with_the_jobs_settings(arguments, session)
    with _undeployed_at_last(arguments, session):
        launched = _launch(arguments, session, earlier)
        if _watch(arguments, session, launched):
            _serve(arguments, session, launched)
        elif undone := flags.asked_for(arguments, SERVING):
            raise InterruptionError(f"interrupted; not done: {', '.join([*undone, *flags.asked_for(arguments, LAST)])}")
    if arguments.status:
        commands.status(session)
    if arguments.history:
        commands.history(session)
    if arguments.compare:
        # A dry run downloads nothing.
        commands.compare(session, arguments.compare, with_page=not arguments.dry_run, in_browser=arguments.open)
    if arguments.delete:
        commands.delete(session, with_data=arguments.with_data)


def _with_the_jobs_settings(arguments: argparse.Namespace, session: "Session") -> "tuple[Session, EarlierJob | None]":
    """Return the session by the settings of the job that is resumed, or of the best trial, and the job to resume."""
    from manager import commands, tuning_commands

    earlier = None
    if arguments.resume is not None:
        # Before all else: what the earlier job needs of the role is a part of what --init_s3_buckets gives it.
        job = arguments.resume or commands.last_job(session)
        session, earlier = commands.resumed(session, job, command_line.assignments(arguments))
    if arguments.from_tuning is not None:
        job = arguments.from_tuning or tuning_commands.last_tuning_job(session)
        session = tuning_commands.winners_session(session, job, command_line.assignments(arguments))
    return session, earlier


def _launch(arguments: argparse.Namespace, session: "Session", earlier: "EarlierJob | None") -> str:
    """Do what comes before a job is followed, as far as the flags ask for it; return the launched job, or nothing."""
    from manager import commands, tuning_commands

    image, launched = None, ""
    if arguments.user_policies:
        commands.write_user_policies(session)
    if arguments.init_s3_buckets:
        # Its last step is the upload.
        commands.init_s3_buckets(session, prune=arguments.prune)
    if arguments.build_and_push_docker_image:
        image = commands.build_and_push_docker_image(session)
    initialized, uploaded = arguments.init_s3_buckets, arguments.upload_data
    if arguments.launch_training or earlier:
        launched = commands.launch_training(session, image, initialized=initialized, uploaded=uploaded, earlier=earlier)
    if arguments.launch_tuning:
        launched = tuning_commands.launch_tuning(session, image, initialized=initialized, uploaded=uploaded)
    if arguments.interrupt is not None:
        commands.interrupt(session, arguments.interrupt or commands.last_job(session))
    if arguments.stop_training is not None:
        commands.stop_training(session, arguments.stop_training or commands.last_job(session))
    if arguments.stop_tuning is not None:
        tuning_commands.stop_tuning(session, arguments.stop_tuning or tuning_commands.last_tuning_job(session))
    return launched


def _watch(arguments: argparse.Namespace, session: "Session", launched: str) -> bool:
    """Follow a job and fetch its results, as far as the flags ask for it; return whether it was followed to its end."""
    from manager import commands, tuning_commands

    follows = arguments.monitor is not None or (launched and arguments.follow)
    downloads, tuned = arguments.download_results is not None, arguments.tuning_results is not None
    if arguments.dry_run:
        if follows or downloads or tuned:
            session.terminal.plain("# following a job and downloading its results change nothing: no part of a dry run")
        return True
    if follows and not _follow(session, arguments.monitor or launched or tuning_commands.last_job(session)):
        if downloads:
            session.terminal.prose("Its results were not downloaded: --download_results fetches them when it is done.")
        return False
    if tuned:
        of_launched = launched if arguments.launch_tuning else ""
        job = arguments.tuning_results or of_launched or tuning_commands.last_tuning_job(session)
        tuning_commands.tuning_results(session, job, in_browser=arguments.open)
    if downloads:
        commands.download_results(
            session,
            arguments.download_results or launched or commands.last_job(session),
            remake=arguments.remake_report or arguments.data is not None,
            data=arguments.data,
            in_browser=arguments.open,
        )
    return True


def _serve(arguments: argparse.Namespace, session: "Session", launched: str) -> None:
    """Deploy and predict, as far as the flags ask for it."""
    from manager import serving_commands

    serves = arguments.deploy is not None or arguments.batch_transform is not None
    if arguments.dry_run and launched and serves:
        session.terminal.plain("# the model that the launched job would leave is not there: serving it cannot be shown")
        return
    # What a tuning job leaves are its trials' models: none is the one that is meant.
    trained = "" if arguments.launch_tuning else launched
    if arguments.deploy is not None:
        job = arguments.deploy or trained or serving_commands.last_completed_job(session)
        config = serving_commands.deploy(session, job)
        if arguments.follow and not arguments.dry_run:
            _await_deployment(arguments, session, config)
    if arguments.predict and not arguments.dry_run:
        serving_commands.predict(session, arguments.predict, arguments.output)
    _transform(arguments, session, trained)


def _await_deployment(arguments: argparse.Namespace, session: "Session", config: str) -> None:
    from manager import serving_commands
    from manager.errors import InterruptionError

    if not serving_commands.await_deployment(session, config, is_removed_next=arguments.undeploy):
        undone = flags.asked_for(arguments, (*SERVING[1:], *LAST))
        text = f"; not done: {', '.join(undone)}" if undone else ""
        raise InterruptionError(f"interrupted before the endpoint served the model{text}")


@contextlib.contextmanager
def _undeployed_at_last(arguments: argparse.Namespace, session: "Session") -> Iterator[None]:
    """Carry out --undeploy after what is done within, even where that fails: an endpoint costs money until then."""
    try:
        yield
    except BaseException as error:
        if arguments.undeploy and not arguments.dry_run:
            _undeploy_all_the_same(session, error)
        raise
    if arguments.undeploy:
        _undeploy(session, waits=not arguments.dry_run)


def _undeploy_all_the_same(session: "Session", cause: BaseException) -> None:
    """Undeploy where something failed before, which is what the user is to be told in the end."""
    from manager.errors import InterruptionError

    is_interruption = isinstance(cause, (InterruptionError, KeyboardInterrupt))
    session.terminal.prose(
        "interrupted; --undeploy removes the endpoint now"
        if is_interruption
        else "something failed (told below); --undeploy still runs"
    )
    try:
        _undeploy(session, waits=True)
    except (Exception, KeyboardInterrupt) as error:
        told = f" ({error})" if str(error) else ""
        again = f"`{session.command} --undeploy`"
        session.terminal.warn(f"the endpoint may be running still, and cost money, until {again} is done{told}")


def _undeploy(session: "Session", *, waits: bool) -> None:
    from manager import serving_commands

    if waits:
        serving_commands.settle(session)
    serving_commands.undeploy(session)
    if waits:
        serving_commands.settle(session)


def _transform(arguments: argparse.Namespace, session: "Session", trained: str) -> None:
    """Predict in a batch, and fetch its results, as far as the flags ask for it."""
    from manager import serving_commands, transform_commands

    if arguments.stop_transform is not None:
        job = arguments.stop_transform or transform_commands.last_transform_job(session)
        transform_commands.stop_transform(session, job)
        if arguments.follow and not arguments.dry_run:
            transform_commands.await_stopped_transform(session, job)
    results_of = arguments.transform_results
    if arguments.batch_transform is not None:
        model = arguments.from_job or trained or serving_commands.last_completed_job(session)
        results_of = transform_commands.launch_batch_transform(session, arguments.batch_transform, model)
        if not arguments.follow:
            return
        if not arguments.dry_run and not transform_commands.monitor_transform(session, results_of):
            fetches = f"{session.command} --transform_results {results_of}"
            session.terminal.prose(f"Its results were not fetched: `{fetches}` fetches them when it is done.")
            return
    if results_of is not None and not arguments.dry_run:
        transform_commands.transform_results(session, results_of or transform_commands.last_transform_job(session))


def _follow(session: "Session", job: str) -> bool:
    from manager import commands, transform_commands, tuning_commands

    if transform_commands.is_transform_job(session, job):
        return transform_commands.monitor_transform(session, job)
    monitor = tuning_commands.monitor if tuning_commands.is_tuning_job(session, job) else commands.monitor
    return monitor(session, job)


if __name__ == "__main__":
    sys.exit(main())
