"""Writes the page of a tuning job: which trials there were, what they reached, and which settings mattered."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import median

from container.dataset.text import printable
from container.report.charts import Chart, Table
from container.report.html_page import render_page, write_page
from container.report.importance import judge_importance
from container.report.importance_chart import importance_chart
from container.report.parallel_chart import parallel_chart
from container.report.ranked_trials import (
    UNKNOWN,
    RankedTrial,
    judged_trials,
    objective_text,
    ranked_trials,
    shown_value,
)
from container.report.summary import quoted
from container.report.tuning_axes import number_axis
from container.report.tuning_charts import parameter_charts, progress_chart
from container.report.tuning_job import TuningJob
from container.words import duration, plural

# Of fewer trials nobody can say whether more of them would help.
LEAST_FOR_TREND = 8


@dataclass(frozen=True)
class TrialRow:
    """A trial in the table of all."""

    number: int
    name: str
    status: str
    values: tuple[str, ...]
    """Of the settings, in their order."""
    objective: str
    duration: str
    reason: str
    """Why it failed."""
    is_best: bool


@dataclass(frozen=True, eq=False)
class Charts:
    """What is drawn where a trial has an objective."""

    parallel: Chart
    progress: Chart
    parameters: tuple[Chart, ...]
    importance: Chart | None
    """None where it cannot be told."""
    why_unknown: str


def write_tuning_page(file: Path, tuning: TuningJob, command: str) -> Path:
    """Write the page, and return its file; its folder is made where it is missing.

    Args:
        file: the page's.
        tuning: the job, which may still run.
        command: how to train with the best trial's values.

    Raises:
        OSError: the page cannot be written.
    """
    trials = ranked_trials(tuning)
    judged = judged_trials(trials)
    page = render_page(
        "tuning.html",
        tuning.name,
        tuning=tuning,
        metric=printable(tuning.objective),
        judged=judged,
        sentences=tuple(filter(None, _sentences(tuning, trials))),
        best=_best_values(tuning, judged),
        best_objective=objective_text(judged[0].objective) if judged else "",
        median_objective=objective_text(median(item.objective for item in judged)) if judged else "",
        seconds=sum(item.trial.seconds or 0.0 for item in trials),
        command=command,
        charts=_charts(tuning, trials) if judged else None,
        rows=_rows(tuning, trials),
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    return write_page(file, page)


def _charts(tuning: TuningJob, trials: Sequence[RankedTrial]) -> Charts:
    judged = judged_trials(trials)
    values = {name: [item.trial.values.get(name) for item in judged] for name in tuning.parameters}
    # Differences are judged on the scale that they are drawn on: a few large losses would outweigh all else.
    objective = number_axis(tuning.objective, [item.objective for item in judged])
    importance = judge_importance(values, [value for value in objective.values if value is not None])
    return Charts(
        parallel_chart(tuning, trials),
        progress_chart(tuning, trials),
        parameter_charts(tuning, trials),
        importance_chart(importance, objective) if importance.parameters else None,
        importance.why_unknown,
    )


def _sentences(tuning: TuningJob, trials: Sequence[RankedTrial]) -> tuple[str, ...]:
    wish = "large" if tuning.direction == "Maximize" else "small"
    return (
        f"This tuning job varies {plural(len(tuning.parameters), 'setting')} to make {quoted(tuning.objective)} as "
        f"{wish} as possible. It has launched {plural(len(trials), 'trial')}, and is {printable(tuning.status)}.",
        _best(tuning, judged_trials(trials)),
        _trend(tuning, trials),
        _unranked(trials),
    )


def _best(tuning: TuningJob, judged: Sequence[RankedTrial]) -> str:
    if not judged:
        return "No trial has an objective, so none is the best."
    text = f"The best trial is number {judged[0].number}, with {objective_text(judged[0].objective)}."
    if len(judged) == 1:
        return text
    equal = sum(item.objective == judged[0].objective for item in judged) - 1
    if equal:
        text += f" It is the first of those that reached it: {plural(equal, 'other')} did."
    middle = objective_text(median(item.objective for item in judged))
    better = "more" if tuning.direction == "Maximize" else "less"
    return (
        f"{text} Half of the trials reached {middle} or {better}. The best of many is in part the luckiest: on other "
        "images its model may do a little worse."
    )


def _trend(tuning: TuningJob, trials: Sequence[RankedTrial]) -> str:
    """Tell whether the search was still finding something better."""
    in_order = [item for item in trials if item.rank]
    if len(in_order) < LEAST_FOR_TREND:
        return ""
    choose = max if tuning.direction == "Maximize" else min
    best_so_far = list(accumulate((item.objective for item in in_order), choose))
    since = len(in_order) - 1 - best_so_far.index(best_so_far[-1])
    if since < len(in_order) / 4:
        return "It was found late: more trials may find a better one."
    return f"The {since:,} trials after it found nothing better."


def _unranked(trials: Sequence[RankedTrial]) -> str:
    statuses = Counter(printable(item.trial.status) for item in trials if item.rank is None)
    if not statuses:
        return ""
    have = "has" if statuses.total() == 1 else "have"
    counts = ", ".join(f"{count:,} {status}" for status, count in sorted(statuses.items()))
    return f"{plural(statuses.total(), 'trial')} {have} no objective that counts: {counts}."


def _best_values(tuning: TuningJob, judged: Sequence[RankedTrial]) -> Table | None:
    if not judged:
        return None
    values = judged[0].trial.values
    rows = tuple((printable(name), shown_value(values.get(name))) for name in tuning.parameters)
    return Table(("setting", "value"), rows, text_columns=2)


def _rows(tuning: TuningJob, trials: Sequence[RankedTrial]) -> tuple[TrialRow, ...]:
    """Return all trials, the best one first, then those without an objective in the order of the launch."""
    return tuple(
        TrialRow(
            item.number,
            printable(item.trial.name.removeprefix(f"{tuning.name}-")),
            printable(item.trial.status),
            tuple(shown_value(item.trial.values.get(name)) for name in tuning.parameters),
            objective_text(item.objective) if item.rank else UNKNOWN,
            UNKNOWN if item.trial.seconds is None else duration(item.trial.seconds),
            printable(item.trial.failure),
            item.rank == 1,
        )
        for item in sorted(trials, key=lambda item: (item.rank is None, item.rank, item.number))
    )
