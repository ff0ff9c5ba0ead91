#!/usr/bin/env python3
"""The project's command line: buckets, image, training job and results, on AWS or on this machine (`--local`)."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from manager import command_line

if TYPE_CHECKING:
    from container.modeling.settings import Settings
    from manager.aws import Aws
    from manager.console import Terminal
    from manager.image import Flavor
    from manager.local import LocalAws
    from manager.session import Session

PROJECT_ROOT = Path(__file__).resolve().parent


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    grammar = argparse.ArgumentParser(
        prog="project_manager.py",
        allow_abbrev=False,
        description="Train an image classifier on Amazon SageMaker in your own container. The actions of one call run "
        "in the order in which they stand here; the settings are those of container/modeling/config.py.",
    )
    actions = grammar.add_argument_group("actions")
    add = actions.add_argument
    add("--check", action="store_true", help="look whether anything stops the way to a trained model; change nothing")
    add("--init_s3_buckets", action="store_true", help="create buckets, policies and role; upload the split images")
    add("--build_and_push_docker_image", action="store_true", help="build the training image and push it to ECR")
    add("--launch_training", action="store_true", help="launch a training job, and follow it")
    add(
        "--resume",
        nargs="?",
        const="",
        metavar="JOB",
        help="launch a job from the checkpoints of JOB (or the last one)",
    )
    add("--launch_tuning", action="store_true", help="launch a tuning job over tuning.ranges, and follow it")
    add("--stop_training", nargs="?", const="", metavar="JOB", help="stop a training job (default: the last one)")
    add("--stop_tuning", nargs="?", const="", metavar="JOB", help="stop a tuning job (default: the last one)")
    add("--monitor", nargs="?", const="", metavar="JOB", help="follow a training or tuning job (default: the last one)")
    add("--download_results", nargs="?", const="", metavar="JOB", help="fetch results/JOB/ (default: the last job)")
    add(
        "--tuning_results",
        nargs="?",
        const="",
        metavar="JOB",
        help="show the trials of a tuning job, and write them into results/JOB/ (default: the last one)",
    )
    # For tests and for the curious: what AWS does to a spot job when it likes.
    add("--interrupt", nargs="?", const="", metavar="JOB", help=argparse.SUPPRESS)
    add("--status", action="store_true", help="show the last training jobs: how long, how they ended, what they cost")
    add("--history", action="store_true", help="show the last training jobs: what each changed, and how good it became")
    add("--compare", nargs="+", metavar="JOB", help="show training jobs side by side, in a table and on a page")
    add("--delete", action="store_true", help="remove all that the project made on AWS; asks first")
    add("--stop_local_aws", action="store_true", help="stop the AWS on this machine, and forget all it holds")
    options = grammar.add_argument_group("options")
    add = options.add_argument
    add("--local", action="store_true", help="use an AWS on this machine, which really runs the jobs")
    add("--dry_run", action="store_true", help="print what would be done as aws commands; change nothing")
    add("--follow", action="store_true", default=True, help="follow the launched job to its end (this is the default)")
    add("--no_follow", dest="follow", action="store_false", help="return as soon as the job is launched")
    add(
        "--from_tuning",
        nargs="?",
        const="",
        metavar="JOB",
        help="let --launch_training train as the best trial of a tuning job did (default: the last one)",
    )
    add("--yes", action="store_true", help="answer every question with yes, for scripts")
    add("--with_data", action="store_true", help="let --delete remove buckets that hold objects, too")
    add("--open", action="store_true", help="show the page of --download_results, --tuning_results or --compare")
    add("--remake_report", action="store_true", help="let --download_results make report.html anew, without images")
    add(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="let --download_results make report.html anew, with images of the sets here",
    )
    add("--prune", action="store_true", help="delete images from the data bucket that are in no set any more")
    command_line.add_settings_options(options)
    return grammar


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 0 when done, 1 when something failed. Wrong usage exits with 2."""
    grammar = parser()
    arguments = command_line.parse(grammar, argv)
    if problem := _contradiction(arguments):
        grammar.error(problem)
    return command_line.run(
        lambda terminal: _run(arguments, terminal),
        debug=arguments.debug,
        after_interrupt="what was sent stands: --status shows the jobs, and the other actions go on where they ended",
    )


def _contradiction(arguments: argparse.Namespace) -> str:
    """Return what is wrong with the flags taken together; empty: nothing."""
    if not _has_action(arguments):
        return "nothing to do: give at least one action, such as --init_s3_buckets"
    if arguments.with_data and not arguments.delete:
        return "--with_data is for --delete"
    if arguments.prune and not arguments.init_s3_buckets:
        return "--prune is for --init_s3_buckets"
    has_page = arguments.download_results is not None or arguments.tuning_results is not None or arguments.compare
    if arguments.open and not has_page:
        return "--open is for --download_results, --tuning_results and --compare"
    if (arguments.remake_report or arguments.data) and arguments.download_results is None:
        return "--remake_report and --data are for --download_results"
    if arguments.launch_training and arguments.resume is not None:
        return "--resume launches a job itself: leave out --launch_training"
    if arguments.stop_training is not None and arguments.resume is not None:
        return "--resume goes on from a job that is over: stop it by a call of its own first, then resume it"
    if arguments.interrupt is not None and not arguments.local:
        return "--interrupt is for --local: AWS itself takes spot capacity away when it likes"
    launches = arguments.launch_training or arguments.resume is not None
    if launches and not arguments.follow and arguments.download_results is not None:
        return "a job that is not followed has no results yet: leave out --no_follow, or --download_results"
    return _tuning_contradiction(arguments, launches=launches)


def _tuning_contradiction(arguments: argparse.Namespace, *, launches: bool) -> str:
    if arguments.from_tuning is not None and not arguments.launch_training:
        return "--from_tuning is for --launch_training"
    if arguments.launch_tuning and launches:
        return "launch one job after the other: a tuning job first, then its best by --launch_training --from_tuning"
    if arguments.launch_tuning and arguments.download_results is not None:
        return "a tuning job has trials, which --tuning_results shows; --download_results is for a training job"
    if arguments.launch_tuning and not arguments.follow and arguments.tuning_results is not None:
        return "a job that is not followed has no results yet: leave out --no_follow, or --tuning_results"
    return ""


def _has_action(arguments: argparse.Namespace) -> bool:
    return arguments.check or arguments.stop_local_aws or _needs_account(arguments)


def _needs_account(arguments: argparse.Namespace) -> bool:
    flags = (
        arguments.init_s3_buckets,
        arguments.build_and_push_docker_image,
        arguments.launch_training,
        arguments.launch_tuning,
        arguments.status,
        arguments.history,
        arguments.compare,
        arguments.delete,
    )
    jobs = (
        arguments.resume,
        arguments.interrupt,
        arguments.monitor,
        arguments.stop_training,
        arguments.stop_tuning,
        arguments.tuning_results,
        arguments.download_results,
    )
    return any(flags) or any(job is not None for job in jobs)


def _run(arguments: argparse.Namespace, terminal: "Terminal") -> None:
    from manager import local

    if arguments.check:
        _check(arguments, terminal)
    if _needs_account(arguments):
        _act(arguments, _session(arguments, terminal))
    if arguments.stop_local_aws:
        terminal.plain(local.stop(PROJECT_ROOT))


def _check(arguments: argparse.Namespace, terminal: "Terminal") -> None:
    from manager import commands, doctor

    settings, target = _settings_and_target(arguments)
    # Credentials that do not exist are found out by the check, among all the rest.
    patient = doctor.Patient(settings, lambda: _connect(settings, target), _flavor(settings, target), PROJECT_ROOT)
    commands.check(patient, terminal)


def _session(arguments: argparse.Namespace, terminal: "Terminal") -> "Session":
    from manager import plan
    from manager.session import Session

    settings, target = _settings_and_target(arguments)
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
    from manager import commands, tuning_commands

    image, earlier, launched = None, None, ""
    if arguments.resume is not None:
        # Before all else: what the earlier job needs of the role is a part of what --init_s3_buckets gives it.
        job = arguments.resume or commands.last_job(session)
        session, earlier = commands.resumed(session, job, command_line.assignments(arguments))
    if arguments.from_tuning is not None:
        job = arguments.from_tuning or tuning_commands.last_tuning_job(session)
        session = tuning_commands.winners_session(session, job, command_line.assignments(arguments))
    if arguments.init_s3_buckets:
        commands.init_s3_buckets(session, prune=arguments.prune)
    if arguments.build_and_push_docker_image:
        image = commands.build_and_push_docker_image(session)
    if arguments.launch_training or earlier:
        initialized = arguments.init_s3_buckets
        launched = commands.launch_training(session, image, initialized=initialized, earlier=earlier)
    if arguments.launch_tuning:
        launched = tuning_commands.launch_tuning(session, image, initialized=arguments.init_s3_buckets)
    if arguments.interrupt is not None:
        commands.interrupt(session, arguments.interrupt or commands.last_job(session))
    if arguments.stop_training is not None:
        commands.stop_training(session, arguments.stop_training or commands.last_job(session))
    if arguments.stop_tuning is not None:
        tuning_commands.stop_tuning(session, arguments.stop_tuning or tuning_commands.last_tuning_job(session))
    _watch(arguments, session, launched)
    if arguments.status:
        commands.status(session)
    if arguments.history:
        commands.history(session)
    if arguments.compare:
        # A dry run downloads nothing.
        commands.compare(session, arguments.compare, with_page=not arguments.dry_run, in_browser=arguments.open)
    if arguments.delete:
        commands.delete(session, with_data=arguments.with_data)


def _watch(arguments: argparse.Namespace, session: "Session", launched: str) -> None:
    """Follow a job and fetch its results, as far as the flags ask for it."""
    from manager import commands, tuning_commands

    follows = arguments.monitor is not None or (launched and arguments.follow)
    downloads, tuned = arguments.download_results is not None, arguments.tuning_results is not None
    if arguments.dry_run:
        if follows or downloads or tuned:
            session.terminal.plain("# following a job and downloading its results change nothing: no part of a dry run")
        return
    if follows and not _follow(session, arguments.monitor or launched or tuning_commands.last_job(session)):
        if downloads:
            session.terminal.plain("Its results were not downloaded: --download_results fetches them when it is done.")
        return
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


def _follow(session: "Session", job: str) -> bool:
    from manager import commands, tuning_commands

    monitor = tuning_commands.monitor if tuning_commands.is_tuning_job(session, job) else commands.monitor
    return monitor(session, job)


if __name__ == "__main__":
    sys.exit(main())
