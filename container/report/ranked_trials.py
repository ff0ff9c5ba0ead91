"""The trials of a tuning job by their ranks, and how the charts show one."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from container.report.charts import LONGEST_LABEL, chart_text, distinct_labels, full_name
from container.report.tuning_axes import LARGEST, Axis, value_text
from container.report.tuning_job import FAILED, Trial, TuningJob
from container.words import duration

# The pages' style has so many colors for trials, from the worst to the best.
LEVELS = 7
# An axis of more categories has a tick for some of them only.
MOST_CATEGORIES = 12
# A logarithmic axis is read by powers of ten, where it has so many.
LEAST_POWERS = 2
UNKNOWN = "-"


@dataclass(frozen=True, eq=False)
class RankedTrial:
    """A trial, and its place among all."""

    trial: Trial
    number: int
    """In the order of the launch, from 1."""
    rank: int | None
    """From 1, the best; None where its objective does not count."""

    @property
    def objective(self) -> float:
        """The objective of a trial with a rank."""
        assert self.trial.objective is not None
        return self.trial.objective


def ranked_trials(tuning: TuningJob) -> tuple[RankedTrial, ...]:
    """Return all trials in the order of their launch; of equal ones the earlier has the better rank."""
    sign = -1 if tuning.direction == "Maximize" else 1
    judged = [
        number
        for number, trial in enumerate(tuning.trials)
        if trial.objective is not None and abs(trial.objective) < LARGEST and trial.status != FAILED
    ]
    judged.sort(key=lambda number: sign * (tuning.trials[number].objective or 0.0))
    ranks = {number: rank for rank, number in enumerate(judged, 1)}
    return tuple(RankedTrial(trial, number + 1, ranks.get(number)) for number, trial in enumerate(tuning.trials))


def judged_trials(trials: Sequence[RankedTrial]) -> list[RankedTrial]:
    """Return those that have a rank, the best first."""
    return sorted((trial for trial in trials if trial.rank), key=lambda trial: trial.rank or 0)


def objective_text(value: float) -> str:
    """Return an objective with five digits that count."""
    return f"{value:.5g}"


def shown_value(value: object) -> str:
    """Return a setting's value as text; None: the trial has none."""
    return UNKNOWN if value is None else value_text(value)


def by_color(judged: Sequence[RankedTrial], positions: Sequence[int]) -> Iterator[tuple[bool, str, tuple[int, ...]]]:
    """Yield groups of judged trials that have one color, the worst first; the very best one is a group of its own.

    Args:
        judged: all that have a rank, the best first.
        positions: which of them.

    Yields:
        Whether it is the very best one, the color, and the positions, the worst first.
    """
    ordered = sorted(positions, reverse=True)
    for level, group in groupby(ordered, lambda position: LEVELS - position * LEVELS // len(judged)):
        color, others = f"var(--level-{level})", tuple(group)
        if best := others[-1] == 0:
            others = others[:-1]
        if others:
            yield False, color, others
        if best:
            yield True, color, (0,)


def trial_text(tuning: TuningJob, item: RankedTrial, count: int) -> str:
    """Return all of a trial for plotly; `count` trials have a rank."""
    lines = [
        f"trial {item.number}, rank {item.rank} of {count}",
        f"{full_name(tuning.objective)}: {objective_text(item.objective)}",
        *(f"{full_name(name)}: {full_name(shown_value(item.trial.values.get(name)))}" for name in tuning.parameters),
    ]
    if item.trial.seconds is not None:
        lines.append(f"trained {duration(item.trial.seconds)}")
    return "<br>".join(lines)


def point_text(tuning: TuningJob, item: RankedTrial, name: str) -> str:
    """Return a trial's value of a setting, and its objective, for plotly."""
    return (
        f"trial {item.number}<br>{full_name(name)}: {full_name(shown_value(item.trial.values.get(name)))}<br>"
        f"{full_name(tuning.objective)}: {objective_text(item.objective)}"
    )


def axis_ticks(axis: Axis, longest: int = LONGEST_LABEL) -> dict[str, Any]:
    """Return plotly's range and ticks for an axis's own coordinate; texts have about so many characters at most."""
    room = 0.06 * (axis.high - axis.low)
    texts = distinct_labels([tick.text for tick in axis.ticks], longest)
    ticks = [(tick.at, chart_text(text)) for tick, text in zip(axis.ticks, texts, strict=True)]
    powers = [(at, text) for at, text in ticks if axis.kind == "log" and abs(at - round(at)) < 1e-9]
    shown = powers if len(powers) >= LEAST_POWERS else ticks[:: math.ceil(len(ticks) / MOST_CATEGORIES) or 1]
    return {
        "range": [axis.low - room, axis.high + room],
        "tickvals": [at for at, _ in shown],
        "ticktext": [text for _, text in shown],
    }
