#!/usr/bin/env python3
"""The command line that checks labeled images, splits them into sets, and prepares these for training."""

import argparse
import contextlib
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from manager import command_line

if TYPE_CHECKING:
    import rich.progress

    from container.dataset.progress import Progress
    from container.modeling.settings import Data, Settings
    from manager.aws import Aws
    from manager.console import Terminal

PROJECT_ROOT = Path(__file__).resolve().parent


class _Grammar(argparse.ArgumentParser):
    """Says of two things to do at once what to do instead."""

    def error(self, message: str) -> NoReturn:
        """End the program with what is wrong with the command."""
        super().error(f"{message}: run one after the other" if "not allowed with argument" in message else message)


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    grammar = _Grammar(
        prog="data_handler.py",
        allow_abbrev=False,
        description="Split the class folders of data.directory into training, validation and evaluation sets, or write "
        "sample images there first; the settings are those of container/modeling/config.py.",
    )
    add, act = grammar.add_argument, grammar.add_mutually_exclusive_group().add_argument
    act("--sample", choices=["digits"], help="write 1,797 images of handwritten digits into data.directory, no more")
    act(
        "--ingest",
        nargs="+",
        metavar=("SOURCE", "TARGET"),
        help="bring the images of an archive, a folder or arrays, here or in S3, into TARGET (data.directory)",
    )
    add("--labels", type=Path, metavar="FILE", help="with --ingest IMAGES.npy: the .npy of their labels")
    add("--local", action="store_true", help="with --ingest s3://... and --on_sagemaker: the AWS on this machine")
    act("--prepare", action="store_true", help="shrink training and validation images of the split, many in one file")
    add(
        "--on_sagemaker",
        metavar="N",
        help="with --prepare: on N instances, the sets that lie in the data bucket; the name of such a job finishes it",
    )
    add("--stop", action="store_true", help="with --on_sagemaker JOB: stop it")
    add("--dry_run", action="store_true", help="with --on_sagemaker: print what would be done; change nothing")
    add("--yes", action="store_true", help="with --on_sagemaker: answer every question with yes, for scripts")
    act("--as_arrays", action="store_true", help="write the sets of the split as arrays, in .npz files")
    act("--check", action="store_true", help="decode every image and tell what is wrong; changes nothing")
    add("--strict", action="store_true", help="with --check: exit with 1 where there are problems")
    add(
        "--fix",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="with --check: write images without what was found into a new folder (data.directory with -fixed added)",
    )
    add("--group_by", metavar="REGEX", help="keep images together in whose paths it finds the same; sets data.group_by")
    add("--stable", action="store_true", help="keep images where they are when others are added; sets data.stable")
    command_line.add_settings_options(grammar)
    return grammar


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 0 when done, 1 when something failed. Wrong usage exits with 2."""
    grammar = parser()
    arguments = command_line.parse(grammar, argv)
    if not arguments.check and (arguments.strict or arguments.fix is not None):
        grammar.error("--strict and --fix go with --check")
    if arguments.ingest is None and arguments.labels:
        grammar.error("--labels goes with --ingest")
    if arguments.ingest is None and arguments.on_sagemaker is None and arguments.local:
        grammar.error("--local goes with --ingest and --on_sagemaker")
    if arguments.on_sagemaker is None and (arguments.dry_run or arguments.yes or arguments.stop):
        grammar.error("--dry_run, --yes and --stop go with --on_sagemaker")
    if arguments.on_sagemaker is not None and not arguments.prepare:
        grammar.error("--on_sagemaker goes with --prepare")
    if arguments.ingest and len(arguments.ingest) > 2:
        grammar.error("--ingest takes a SOURCE, and a TARGET folder at most")
    acts = {"--check": arguments.check, "--ingest": arguments.ingest, "--prepare": arguments.prepare}
    acts["--as_arrays"] = arguments.as_arrays
    act = next((name for name, is_done in acts.items() if is_done), "")
    if act and (arguments.stable or arguments.group_by is not None):
        grammar.error(f"--stable and --group_by go with the split, and {act} does none: leave them out")
    if arguments.group_by is not None:
        arguments.set.append(f"data.group_by={arguments.group_by}")
    if arguments.stable:
        arguments.set.append("data.stable=true")
    return command_line.run(
        lambda terminal: _run(arguments, terminal),
        debug=arguments.debug,
        after_interrupt=f"nothing is left half-done, and the same command {_after_interrupt(arguments)}",
    )


def _after_interrupt(arguments: argparse.Namespace) -> str:
    """Return what the command does when it is typed again after Ctrl-C."""
    is_fetching = bool(arguments.ingest) and arguments.ingest[0].startswith("s3://")
    is_preparing = arguments.prepare and arguments.on_sagemaker is None
    return "goes on where it was" if arguments.check or is_fetching or is_preparing else "begins anew"


def _run(arguments: argparse.Namespace, terminal: "Terminal") -> None:
    settings = command_line.settings(arguments)
    command_line.show_preset(arguments, terminal)
    data = settings.data
    if arguments.ingest:
        _ingest(settings, arguments, terminal)
    elif arguments.on_sagemaker is not None:
        _prepare_on_sagemaker(settings, arguments, terminal)
    elif arguments.prepare:
        _prepare(settings, terminal)
    elif arguments.as_arrays:
        _write_arrays(settings, terminal)
    elif arguments.check:
        _check(data, arguments, terminal)
    elif arguments.sample:
        words = ["python", "data_handler.py", *(["--config", str(arguments.config)] if arguments.config else [])]
        words += [word for text in arguments.set for word in ("--set", text)]
        _write_sample(data, terminal, next_command=shlex.join(words))
    else:
        _split(data, terminal)


def _write_sample(data: "Data", terminal: "Terminal", next_command: str) -> None:
    from container.dataset.sample import write_digits

    with _progress(terminal) as progress:
        written = write_digits(PROJECT_ROOT / data.directory, progress)
    say = terminal.done if written else terminal.unchanged
    say(f"the sample images are in {data.directory}")
    terminal.plain(f"next: {next_command}")


def _ingest(settings: "Settings", arguments: argparse.Namespace, terminal: "Terminal") -> None:
    from manager import ingesting

    name, *targets = arguments.ingest
    target = Path(targets[0]).expanduser() if targets else PROJECT_ROOT / settings.data.directory
    source = ingesting.open_source(
        name, arguments.labels, target, lambda: _connect(settings, is_local=arguments.local), terminal
    )
    with _progress(terminal) as progress:
        ingested = ingesting.ingest(source, target, settings, progress)
    ingesting.show_ingested(ingested, targets[0] if targets else settings.data.directory, terminal)


def _connect(settings: "Settings", *, is_local: bool) -> "Aws":
    from manager import aws, local

    return aws.connect_local(settings, local.start(PROJECT_ROOT).endpoint_url) if is_local else aws.connect(settings)


def _write_arrays(settings: "Settings", terminal: "Terminal") -> None:
    from manager import local_sets, preparing

    local_sets.warn_if_outdated(settings, PROJECT_ROOT, terminal)
    with _progress(terminal) as progress:
        written = preparing.write_sets_as_arrays(settings, PROJECT_ROOT, progress)
    preparing.show_arrays(written, settings.data.arrays_path, terminal)


def _prepare(settings: "Settings", terminal: "Terminal") -> None:
    from manager import local_sets, preparing

    local_sets.warn_if_outdated(settings, PROJECT_ROOT, terminal)
    with _progress(terminal) as progress:
        prepared = preparing.prepare(settings, PROJECT_ROOT, progress)
    preparing.show_prepared(prepared, settings.data.prepared_path, terminal)


def _prepare_on_sagemaker(settings: "Settings", arguments: argparse.Namespace, terminal: "Terminal") -> None:
    from manager import local, plan, processing_commands
    from manager.session import Session

    target = local.start(PROJECT_ROOT) if arguments.local else None
    words = ["python", "project_manager.py", *(["--local"] if arguments.local else [])]
    words += ["--config", str(arguments.config)] if arguments.config else []
    session = Session(
        settings=settings,
        aws=_connect(settings, is_local=arguments.local),
        terminal=terminal,
        executor=plan.describe if arguments.dry_run else plan.execute,
        flavor=target.flavor if target else settings.training_image.flavor,
        project_root=PROJECT_ROOT,
        confirm=(lambda question, answer: None) if arguments.yes or arguments.dry_run else terminal.confirm,
        command=shlex.join(words + [word for text in arguments.set for word in ("--set", text)]),
    )
    job = arguments.on_sagemaker
    if arguments.stop:
        processing_commands.stop(session, job)
        return
    if job.isdecimal():
        job = processing_commands.launch(session, int(job))
    if not arguments.dry_run:
        processing_commands.finish(session, job)


def _check(data: "Data", arguments: argparse.Namespace, terminal: "Terminal") -> None:
    from container.dataset.check import check_images
    from container.dataset.fixing import check_target
    from container.report.check_page import PAGE, write_check_page
    from manager import checking

    with _progress(terminal) as progress:
        if arguments.fix is not None:
            check_target(data, PROJECT_ROOT, PROJECT_ROOT / _fixed_folder(data, arguments.fix), progress)
        outcome = check_images(data, PROJECT_ROOT, progress)
        write_check_page(outcome, data, progress)
    checking.show_check(outcome, data.check_path, PAGE, terminal)
    if arguments.fix is not None:
        _fix(data, arguments.fix, terminal)
    if arguments.strict:
        checking.raise_on_problems(outcome, data.check_path)


def _fix(data: "Data", folder: str, terminal: "Terminal") -> None:
    from container.dataset.fixing import fix_images
    from manager.checking import show_fixes

    target = _fixed_folder(data, folder)
    with _progress(terminal) as progress:
        fixes = fix_images(data, PROJECT_ROOT, PROJECT_ROOT / target, progress)
    show_fixes(fixes, data, target, terminal)


def _fixed_folder(data: "Data", folder: str) -> str:
    return folder or data.directory.rstrip("/") + "-fixed"


def _split(data: "Data", terminal: "Terminal") -> None:
    from container.dataset.split import split_images
    from manager.splitting import show_split

    with _progress(terminal) as progress:
        outcome = split_images(data, PROJECT_ROOT, progress)
    show_split(outcome, data.directory, data.sets_path, terminal)


class _Bar:
    """The progress of work on many files, as a bar."""

    REDRAWN_EVERY = 100  # files

    def __init__(self, bars: "rich.progress.Progress") -> None:
        self.bars = bars
        self.done = 0

    def start(self, step: str, total: int | None = None) -> None:
        """Show the step in place of the one before."""
        for task in self.bars.task_ids:
            self.bars.remove_task(task)
        self.done = 0
        self.task = self.bars.add_task(step, total=total)

    def advance(self) -> None:
        """Count one file more as done."""
        self.done += 1
        if self.done % self.REDRAWN_EVERY == 0:
            self.bars.update(self.task, completed=self.done)


@contextlib.contextmanager
def _progress(terminal: "Terminal") -> Iterator["Progress"]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal.err, transient=True, disable=not terminal.err.is_terminal) as bars:
        yield _Bar(bars)


if __name__ == "__main__":
    sys.exit(main())
