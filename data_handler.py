#!/usr/bin/env python3
"""The command line that splits a folder of labeled images into training, validation and evaluation sets."""

import argparse
import contextlib
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from manager import command_line

if TYPE_CHECKING:
    import rich.progress

    from container.dataset.progress import Progress
    from container.dataset.record import Split
    from container.modeling.settings import Data
    from manager.console import Terminal

PROJECT_ROOT = Path(__file__).resolve().parent
BAD_FILES_SHOWN = 10


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    grammar = argparse.ArgumentParser(
        prog="data_handler.py",
        allow_abbrev=False,
        description="Split the class folders of data.directory into training, validation and evaluation sets, or write "
        "sample images there first; the settings are those of container/modeling/config.py.",
    )
    add = grammar.add_argument
    add("--sample", choices=["digits"], help="write 1,797 images of handwritten digits into data.directory, no more")
    command_line.add_settings_options(grammar)
    return grammar


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 0 when done, 1 when something failed. Wrong usage exits with 2."""
    arguments = command_line.parse(parser(), argv)
    return command_line.run(
        lambda terminal: _run(arguments, terminal),
        debug=arguments.debug,
        after_interrupt="nothing is left half-done, and the same command begins anew",
    )


def _run(arguments: argparse.Namespace, terminal: "Terminal") -> None:
    data = command_line.settings(arguments).data
    if arguments.sample:
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


def _split(data: "Data", terminal: "Terminal") -> None:
    from container.dataset.split import split_images

    with _progress(terminal) as progress:
        outcome = split_images(data, PROJECT_ROOT, progress)
    split = outcome.split
    _show_counts(split, terminal)
    _show_left_out(split, terminal)
    _show_labels(split, terminal)
    if outcome.unchanged:
        terminal.unchanged(f"{data.sets_path} holds this split already")
    else:
        how = "hard links" if not split.copied else "copies" if not split.linked else "hard links and copies"
        terminal.done(f"{split.total:,} images of {data.directory} are split into {data.sets_path} ({how})")


def _show_counts(split: "Split", terminal: "Terminal") -> None:
    from container.dataset.text import printable

    rows = [(row.name, row.training, row.validation, row.evaluation, row.total) for row in split.classes]
    sums = [sum(column) for column in list(zip(*rows, strict=True))[1:]]
    rows = [*rows, (f"all {len(rows)} classes", *sums)]
    terminal.table(
        "Images in each set",
        ("class", "training", "validation", "evaluation", "all sets"),
        [(printable(name), *(f"{count:,}" for count in counts)) for name, *counts in rows],
    )


def _show_left_out(split: "Split", terminal: "Terminal") -> None:
    left_out = split.left_out
    kinds = (
        (left_out.hidden, "hidden"),
        (left_out.other_files, "without an image's extension or outside the class folders"),
        (left_out.repeated_folders, "links to folders seen before"),
    )
    if counted := ", ".join(f"{count:,} {kind}" for count, kind in kinds if count):
        terminal.plain(f"  left out   {counted}")
    for file in left_out.bad_files[:BAD_FILES_SHOWN]:
        terminal.warn(f"left out {file.path}: {file.reason}")
    if more := left_out.bad_files[BAD_FILES_SHOWN:]:
        terminal.warn(f"left out {len(more):,} more such files: split.json beside the sets names them all")


def _show_labels(split: "Split", terminal: "Terminal") -> None:
    if split.labels:
        terminal.plain(f"  labels.csv has rows for {split.labels.labeled:,} of {split.total:,} images")
        if lines := split.labels.unmatched_lines:
            terminal.warn(f"{len(lines):,} rows of labels.csv name no image of a class, the first in line {lines[0]:,}")


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
