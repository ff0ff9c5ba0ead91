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
    from manager.console import Terminal
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
    add("--init_s3_buckets", action="store_true", help="create buckets, policies and role; upload the split images")
    add("--build_and_push_docker_image", action="store_true", help="build the training image and push it to ECR")
    add("--launch_training", action="store_true", help="launch a training job, and follow it")
    add("--stop_training", nargs="?", const="", metavar="JOB", help="stop a training job (default: the last one)")
    add("--monitor", nargs="?", const="", metavar="JOB", help="follow a training job (default: the last one)")
    add("--download_results", nargs="?", const="", metavar="JOB", help="fetch results/JOB/ (default: the last job)")
    add("--delete", action="store_true", help="remove all that the project made on AWS; asks first")
    add("--stop_local_aws", action="store_true", help="stop the AWS on this machine, and forget all it holds")
    options = grammar.add_argument_group("options")
    add = options.add_argument
    add("--local", action="store_true", help="use an AWS on this machine, which really runs the jobs")
    add("--dry_run", action="store_true", help="print what would be done as aws commands; change nothing")
    add("--follow", action="store_true", default=True, help="follow the launched job to its end (this is the default)")
    add("--no_follow", dest="follow", action="store_false", help="return as soon as the job is launched")
    add("--yes", action="store_true", help="answer every question with yes, for scripts")
    add("--with_data", action="store_true", help="let --delete remove buckets that hold objects, too")
    add("--prune", action="store_true", help="delete images from the data bucket that are in no set any more")
    command_line.add_settings_options(options)
    return grammar


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 0 when done, 1 when something failed. Wrong usage exits with 2."""
    grammar = parser()
    arguments = command_line.parse(grammar, argv)
    if not _has_action(arguments):
        grammar.error("nothing to do: give at least one action, such as --init_s3_buckets")
    return command_line.run(
        lambda terminal: _run(arguments, terminal),
        debug=arguments.debug,
        after_interrupt="the same command goes on where this one ended",
    )


def _has_action(arguments: argparse.Namespace) -> bool:
    return arguments.stop_local_aws or _needs_account(arguments)


def _needs_account(arguments: argparse.Namespace) -> bool:
    flags = (
        arguments.init_s3_buckets,
        arguments.build_and_push_docker_image,
        arguments.launch_training,
        arguments.delete,
    )
    jobs = (arguments.monitor, arguments.stop_training, arguments.download_results)
    return any(flags) or any(job is not None for job in jobs)


def _run(arguments: argparse.Namespace, terminal: "Terminal") -> None:
    from manager import local

    if _needs_account(arguments):
        _act(arguments, _session(arguments, terminal))
    if arguments.stop_local_aws:
        terminal.plain(local.stop(PROJECT_ROOT))


def _session(arguments: argparse.Namespace, terminal: "Terminal") -> "Session":
    from manager import aws, local, plan
    from manager.session import Session

    settings = command_line.settings(arguments)
    target = local.start(PROJECT_ROOT) if arguments.local else None
    return Session(
        settings=settings,
        aws=aws.connect_local(settings, target.endpoint_url) if target else aws.connect(settings),
        terminal=terminal,
        executor=plan.describe if arguments.dry_run else plan.execute,
        flavor=target.flavor if target else settings.training_image.flavor,
        project_root=PROJECT_ROOT,
        # Where nothing is changed, or the answer is given already, nothing is asked.
        confirm=(lambda question, answer: None) if arguments.yes or arguments.dry_run else terminal.confirm,
        command=_command(arguments),
    )


def _command(arguments: argparse.Namespace) -> str:
    """Return how to call this command line for the same account and project again."""
    words = ["python", "project_manager.py", *(["--local"] if arguments.local else [])]
    words += ["--config", str(arguments.config)] if arguments.config else []
    named = [text for text in arguments.set if text.startswith(("aws.", "project_name=", "algorithm_name="))]
    return shlex.join(words + [word for text in named for word in ("--set", text)])


def _act(arguments: argparse.Namespace, session: "Session") -> None:
    from manager import commands

    image, launched = None, ""
    if arguments.init_s3_buckets:
        commands.init_s3_buckets(session, prune=arguments.prune)
    if arguments.build_and_push_docker_image:
        image = commands.build_and_push_docker_image(session)
    if arguments.launch_training:
        launched = commands.launch_training(session, image)
    if arguments.stop_training is not None:
        commands.stop_training(session, arguments.stop_training or commands.last_job(session))
    _watch(arguments, session, launched)
    if arguments.delete:
        commands.delete(session, with_data=arguments.with_data)


def _watch(arguments: argparse.Namespace, session: "Session", launched: str) -> None:
    """Follow a job and fetch its results, as far as the flags ask for it."""
    from manager import commands

    follows = arguments.monitor is not None or (launched and arguments.follow)
    downloads = arguments.download_results is not None
    if arguments.dry_run:
        if follows or downloads:
            session.terminal.plain("# following a job and downloading its results change nothing: no part of a dry run")
        return
    if follows and not commands.monitor(session, arguments.monitor or launched or commands.last_job(session)):
        return
    if downloads:
        commands.download_results(session, arguments.download_results or launched or commands.last_job(session))


if __name__ == "__main__":
    sys.exit(main())
