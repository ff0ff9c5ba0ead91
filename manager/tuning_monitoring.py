"""Follows a tuning job: a table of its trials that is always up to date, or a line per change where no terminal is."""

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from container.modeling import overrides
from manager.aws import Aws
from manager.console import Terminal
from manager.errors import JobError
from manager.monitoring import ctrl_c_as_event, duration, looks
from manager.trials import Trial, TuningJob, read_tuning_job

UNKNOWN = "-"
BEST = "*"
# What a live table needs beside its rows of trials: title, header, lines, a word on those left out.
OTHER_LINES = 8


def follow(aws: Aws, job: str, terminal: Terminal, stop_hint: str) -> TuningJob | None:
    """Show a tuning job's trials until it ends; Ctrl-C ends the showing, never the job.

    Args:
        aws: where the job runs.
        job: its name.
        terminal: where it is shown.
        stop_hint: how to follow the job again and how to stop it, for somebody who pressed Ctrl-C.

    Returns:
        The job as it ended; None: it goes on.

    Raises:
        JobError: there is no such job, or it failed or was stopped; the error has the reason.
        AwsError: AWS does not answer.
    """
    with ctrl_c_as_event() as leave:
        tuning = _show_until_end(aws, job, terminal, leave)
    if tuning is None:
        terminal.prose(f"\n{job} goes on. {stop_hint}")
        return None
    show(tuning, terminal)
    if tuning.status == "Failed":
        raise JobError(f"{job} failed: {tuning.failure or 'SageMaker gives no reason'}")
    if tuning.status == "Stopped":
        raise JobError(f"{job} was stopped before it was done; --tuning_results {job} keeps what it found")
    return tuning


def show(tuning: TuningJob, terminal: Terminal) -> None:
    """Print a tuning job's trials as a table, and which is the best."""
    terminal.table(_title(tuning), _header(tuning), [_row(tuning, trial) for trial in tuning.trials], whole=2)
    if best := tuning.best:
        terminal.plain(f"best trial: {best.name}, {tuning.objective}={best.objective:.4f}, {_values(best.values)}")
    elif tuning.is_over:
        terminal.plain(f"no trial logged {tuning.objective}, so none is the best")


def _show_until_end(aws: Aws, job: str, terminal: Terminal, leave: threading.Event) -> TuningJob | None:
    shown: dict[str, str] = {}
    with terminal.live_table() as set_table:
        for tuning in looks(lambda: read_tuning_job(aws, job), leave, terminal.warn):
            if not terminal.out.is_terminal:
                for line in _changes(tuning, shown):
                    terminal.prose(line)
            if tuning.is_over:
                return tuning
            rows = [_row(tuning, trial) for trial in _fitting(tuning, terminal.out.height - OTHER_LINES)]
            set_table(_title(tuning), _header(tuning), rows)
    return None


def _fitting(tuning: TuningJob, room: int) -> Sequence[Trial]:
    """Return the trials that a terminal has room for: the best one, those that run, and then the newest."""
    ranked = sorted(tuning.trials, key=lambda trial: (trial is tuning.best, not trial.is_over, trial.launched))
    kept = ranked[-max(room, 1) :]
    return [trial for trial in tuning.trials if trial in kept]


def _changes(tuning: TuningJob, shown: dict[str, str]) -> Iterator[str]:
    """Yield a line for each trial that changed since the last call, and note it."""
    for trial in tuning.trials:
        if shown.get(trial.name) == trial.status:
            continue
        shown[trial.name] = trial.status
        result = ""
        if trial.objective is not None:
            result = f" {tuning.objective}={trial.objective:.4f}{' (the best so far)' if trial is tuning.best else ''}"
        why = f": {trial.failure}" if trial.failure else ""
        yield f"trial {tuning.short_name(trial)} {trial.status}{result} {_values(trial.values)}{why}"


def _title(tuning: TuningJob) -> str:
    statuses = [trial.status for trial in tuning.trials]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in sorted(set(statuses)))
    of = f" of {tuning.jobs}" if tuning.jobs else ""
    return f"{tuning.name} {tuning.status}, {len(statuses)}{of} trials{': ' if counts else ''}{counts}"


def _header(tuning: TuningJob) -> tuple[str, ...]:
    return ("trial", "status", *map(_narrow, tuning.parameters), _narrow(tuning.objective), "duration")


def _row(tuning: TuningJob, trial: Trial) -> tuple[str | Text, ...]:
    is_best = trial is tuning.best
    cells = (
        _number(tuning, trial) + (f" {BEST}" if is_best else ""),
        trial.status,
        *(_shown(trial.values.get(name)) for name in tuning.parameters),
        UNKNOWN if trial.objective is None else f"{trial.objective:.4f}",
        UNKNOWN if trial.seconds is None else duration(trial.seconds),
    )
    return tuple(Text(cell, style="bold green") for cell in cells) if is_best else cells


def _values(values: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={_shown(value)}" for name, value in values.items())


def _shown(value: Any) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:.4g}" if isinstance(value, float) else overrides.to_text(value)


def _number(tuning: TuningJob, trial: Trial) -> str:
    """Return the number that SageMaker gave a trial, or what else tells it from the others."""
    name = tuning.short_name(trial)
    number, _, rest = name.partition("-")
    return number if number.isdecimal() and rest else name


def _narrow(name: str) -> str:
    """Return a setting's or a metric's name over several lines, so that its column is narrow."""
    return re.sub(r"([._])", r"\1\n", name)
