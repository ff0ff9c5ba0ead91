"""The grammar of `project_manager.py`: its flags, and which of them contradict each other."""

import argparse
from collections.abc import Iterable
from pathlib import Path

from manager import command_line


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
    add(
        "--user_policies",
        action="store_true",
        help="write into user-policies/ what you need to be allowed to do, as IAM policies for an administrator",
    )
    add("--init_s3_buckets", action="store_true", help="create buckets, policies and role; upload the split images")
    add("--upload_data", action="store_true", help="upload what is new or changed of the split images")
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
    add("--monitor", nargs="?", const="", metavar="JOB", help="follow a job (default: the last training or tuning job)")
    add("--download_results", nargs="?", const="", metavar="JOB", help="fetch results/JOB/ (default: the last job)")
    add(
        "--tuning_results",
        nargs="?",
        const="",
        metavar="JOB",
        help="show the trials of a tuning job, and write them into results/JOB/ (default: the last one)",
    )
    add(
        "--deploy",
        nargs="?",
        const="",
        metavar="JOB",
        help="serve the model of a training job by the project's endpoint (default: the last completed one)",
    )
    add("--predict", nargs="+", metavar="IMAGE", help="ask the endpoint about files, all images of folders, and URLs")
    add("--undeploy", action="store_true", help="end the endpoint, and its cost, even where what comes before fails")
    add(
        "--batch_transform", metavar="FOLDER", help="predict the images of a folder, here or s3://, without an endpoint"
    )
    add(
        "--transform_results",
        nargs="?",
        const="",
        metavar="JOB",
        help="write what a transform job predicted into results/JOB/, and show it (default: the last one)",
    )
    add(
        "--stop_transform",
        nargs="?",
        const="",
        metavar="JOB",
        help="stop a transform job, and wait for its end (default: the last one)",
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
    add("--from_job", metavar="JOB", help="let --batch_transform predict by the model of JOB")
    add("--output", type=Path, metavar="FILE", help="let --predict write the predictions into a CSV file, too")
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


def contradiction(arguments: argparse.Namespace) -> str:
    """Return what is wrong with the flags taken together; empty: nothing."""
    if not _has_action(arguments):
        return "nothing to do: give at least one action, such as --init_s3_buckets"
    if arguments.with_data and not arguments.delete:
        return "--with_data is for --delete"
    if arguments.prune and not (arguments.init_s3_buckets or arguments.upload_data):
        return "--prune is for --init_s3_buckets and --upload_data"
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
    return _tuning_contradiction(arguments, launches=launches) or _serving_contradiction(arguments, launches=launches)


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


def _serving_contradiction(arguments: argparse.Namespace, *, launches: bool) -> str:
    if arguments.from_job is not None and arguments.batch_transform is None:
        return "--from_job is for --batch_transform; --deploy takes the job itself"
    if arguments.output and not arguments.predict:
        return "--output is for --predict; --batch_transform writes its table by itself"
    serves = arguments.deploy is not None or arguments.batch_transform is not None
    if (launches or arguments.launch_tuning) and not arguments.follow and serves:
        return "a job that is not followed has no model yet: leave out --no_follow, or what serves it"
    if arguments.deploy is not None and arguments.predict and not arguments.follow:
        return "an endpoint that is not followed does not answer yet: leave out --no_follow, or --predict"
    if arguments.batch_transform is not None and arguments.transform_results is not None:
        return "--batch_transform shows its results by itself: leave out --transform_results"
    return ""


def asked_for(arguments: argparse.Namespace, names: Iterable[str]) -> list[str]:
    """Return those of some flags that are given."""
    return [f"--{name}" for name in names if getattr(arguments, name) not in (None, False, [])]


def _has_action(arguments: argparse.Namespace) -> bool:
    return arguments.check or arguments.stop_local_aws or needs_account(arguments)


def needs_account(arguments: argparse.Namespace) -> bool:
    """Whether there is an action that needs AWS."""
    return arguments.upload_data or does_more_than_upload(arguments)


def does_more_than_upload(arguments: argparse.Namespace) -> bool:
    """Whether there is another action that needs AWS."""
    flags = (
        arguments.user_policies,
        arguments.init_s3_buckets,
        arguments.build_and_push_docker_image,
        arguments.launch_training,
        arguments.launch_tuning,
        arguments.status,
        arguments.history,
        arguments.compare,
        arguments.predict,
        arguments.undeploy,
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
        arguments.deploy,
        arguments.batch_transform,
        arguments.transform_results,
        arguments.stop_transform,
    )
    return any(flags) or any(job is not None for job in jobs)
