"""Writes the page that sets training jobs side by side: what each was, and how good its model became."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from container.dataset.text import printable
from container.errors import DataError
from container.report.comparison_charts import MOST_JOBS, JudgedJob, class_chart, curve_charts, line_styles
from container.report.facts import HISTORY_FILE, METRICS_FILE, Judgement, Metrics, read_history
from container.report.facts.files import unreadable
from container.report.html_page import render_page, write_page
from container.report.results import JUDGED_SETS
from container.report.summary import quoted
from container.words import duration, percent, plural

UNKNOWN = "-"
NAMED_CLASSES = 3


@dataclass(frozen=True)
class ComparedJob:
    """A training job that is to stand beside others."""

    name: str
    """TrainingJobName."""
    facts: tuple[tuple[str, str], ...]
    """What is to be told of it beside its settings and its model, such as its status and its cost, by name."""
    settings: Mapping[str, str]
    """As texts by name; shown are those in which the jobs differ."""
    folder: Path | None
    """The folder of its results; None where there are none."""
    reason: str = ""
    """Why there are none, where it is known."""


@dataclass(frozen=True)
class Cell:
    """What a table tells of one job."""

    text: str
    is_best: bool = False


@dataclass(frozen=True)
class Row:
    """What a table tells of all jobs."""

    name: str
    cells: tuple[Cell, ...]
    meaning: str = ""


@dataclass(frozen=True)
class Missing:
    """A job without results."""

    name: str
    reason: str


def write_comparison(file: Path, jobs: Sequence[ComparedJob]) -> Path:
    """Write the page, and return its file; its folder is made where it is missing.

    A job whose results cannot be read stands there without them, and the page says why.

    Raises:
        ValueError: there are fewer than 2 or more than 8 jobs.
        OSError: the page cannot be written.
    """
    if not 2 <= len(jobs) <= MOST_JOBS:
        raise ValueError(f"a comparison is of 2 to {MOST_JOBS} training jobs, not {len(jobs)}")
    judged, missing = _read(jobs)
    page = render_page(
        "comparison.html",
        plural(len(jobs), "training job"),
        jobs=jobs,
        styles=line_styles(len(jobs)),
        missing=missing,
        sentences=tuple(filter(None, (_best(judged), _other_data(judged), _other_classes(judged)))),
        facts=(*_fact_rows(jobs), *_training_rows(jobs, judged)),
        settings=_setting_rows(jobs),
        figures={name: _figure_rows(jobs, judged, name) for name in JUDGED_SETS} if judged else {},
        curves=curve_charts(judged) if judged else (),
        classes=class_chart(judged) if judged else None,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    return write_page(file, page)


def _read(jobs: Sequence[ComparedJob]) -> tuple[tuple[JudgedJob, ...], tuple[Missing, ...]]:
    judged, missing = [], []
    for position, (job, style) in enumerate(zip(jobs, line_styles(len(jobs)), strict=True)):
        if job.folder is None:
            missing.append(Missing(job.name, job.reason or "It has no results."))
            continue
        try:
            metrics, history = Metrics.read(job.folder / METRICS_FILE), read_history(job.folder / HISTORY_FILE)
            if not history:
                raise unreadable(job.folder / HISTORY_FILE, ValueError("it has no epoch"))
        except DataError as error:
            missing.append(Missing(job.name, str(error)))
            continue
        judged.append(JudgedJob(position, job.name, style, metrics, history))
    return tuple(judged), tuple(missing)


def _best(judged: Sequence[JudgedJob]) -> str:
    """Tell which model is right most often, and whether the images are enough to say so."""
    if len(judged) < 2:
        return ""
    best, second = sorted(judged, key=lambda job: -job.metrics.accuracy)[:2]
    shown = percent(best.metrics.accuracy)
    if best.metrics.accuracy == second.metrics.accuracy:
        pair = f"{quoted(best.name)} and {quoted(second.name)}"
        return f"No model is right more often than those of {pair}: in {shown} of the cases."
    text = (
        f"The model of {quoted(best.name)} is right most often on its evaluation images: in {shown} of the cases, "
        f"against {percent(second.metrics.accuracy)} of the next, {quoted(second.name)}."
    )
    if best.metrics.accuracy_interval[0] <= second.metrics.accuracy_interval[1]:
        return f"{text} Their 95 % intervals overlap: by so few images the difference may be chance."
    return text


def _other_data(judged: Sequence[JudgedJob]) -> str:
    if len({job.metrics.data_fingerprint for job in judged}) < 2:
        return ""
    return (
        "The jobs did not have the same images: the fingerprints of their data differ. Their figures are of different "
        "sets, and tell little of which model is the better one."
    )


def _other_classes(judged: Sequence[JudgedJob]) -> str:
    if len({frozenset(job.class_scores("evaluation")) for job in judged}) < 2:
        return ""
    every = list(dict.fromkeys(name for job in judged for name in job.class_scores("evaluation")))
    lacking = []
    for job in judged:
        absent = [name for name in every if name not in job.class_scores("evaluation")]
        if absent:
            named = ", ".join(map(quoted, absent[:NAMED_CLASSES]))
            more = f" and {len(absent) - NAMED_CLASSES:,} more" if len(absent) > NAMED_CLASSES else ""
            lacking.append(f"{quoted(job.name)} lacks {named}{more}")
    return f"The models tell different classes apart: {'; '.join(lacking)}. Fewer classes are easier to tell apart."


def _fact_rows(jobs: Sequence[ComparedJob]) -> tuple[Row, ...]:
    names = dict.fromkeys(name for job in jobs for name, _ in job.facts)
    return tuple(_text_row(name, [dict(job.facts).get(name) for job in jobs]) for name in names)


def _text_row(name: str, texts: Sequence[str | None]) -> Row:
    """Return a row of texts from outside."""
    return Row(printable(name), tuple(Cell(UNKNOWN if text is None else printable(text)) for text in texts))


def _training_rows(jobs: Sequence[ComparedJob], judged: Sequence[JudgedJob]) -> tuple[Row, ...]:
    def row(name: str, tell: Callable[[Metrics], str]) -> Row:
        texts = {job.position: tell(job.metrics) for job in judged}
        return Row(name, tuple(Cell(texts.get(position, UNKNOWN)) for position in range(len(jobs))))

    if not judged:
        return ()
    return (
        row("training images", lambda it: f"{it.training_images:,}"),
        row("weights", lambda it: f"{it.parameters:,}"),
        row("epochs", lambda it: f"{it.epochs:,}"),
        row("best epoch", lambda it: f"{it.best_epoch.epoch:,}"),
        row("time of the epochs", lambda it: duration(it.seconds)),
    )


def _setting_rows(jobs: Sequence[ComparedJob]) -> tuple[Row, ...]:
    names = sorted({name for job in jobs for name in job.settings})
    rows = (_text_row(name, [job.settings.get(name) for job in jobs]) for name in names)
    return tuple(row for row in rows if len(set(row.cells)) > 1)


def _figure_rows(jobs: Sequence[ComparedJob], judged: Sequence[JudgedJob], group: str) -> tuple[Row, ...]:
    """Return how good the models are on one of JUDGED_SETS."""
    values = {job.position: job.judgement(group) for job in judged}

    def row(
        name: str,
        meaning: str,
        value: Callable[[Judgement], float | None],
        text: Callable[[float], str],
        choose: Callable[[Iterable[float]], float] | None = max,
    ) -> Row:
        found = {position: value(judgement) for position, judgement in values.items()}
        known = [number for number in found.values() if number is not None]
        # Figures that read alike are alike: what lies behind the last digit is no reason to choose.
        texts = {position: text(number) for position, number in found.items() if number is not None}
        best = text(choose(known)) if choose and known and len(set(texts.values())) > 1 else None
        cells = (
            Cell(texts[position], texts[position] == best) if position in texts else Cell(UNKNOWN)
            for position in range(len(jobs))
        )
        return Row(name, tuple(cells), meaning)

    def share(value: float) -> str:
        return percent(value, 2)

    ks = {judgement.top_k for judgement in values.values()}
    rows = [
        row("Accuracy", "higher is better", lambda it: it.accuracy, share),
        Row("95 % interval", _intervals(jobs, values), "where the accuracy on more such images lies"),
        row("Always guessing", "the most frequent class", lambda it: it.majority_accuracy, share, None),
        row("Balanced accuracy", "mean recall of the classes", lambda it: it.balanced_accuracy, share),
        row("Macro F1", "mean of the classes", lambda it: it.macro_average.f1, _number),
        row("Weighted F1", "weighted by the classes' images", lambda it: it.weighted_average.f1, _number),
        row("Log loss", "in nats; lower is better", lambda it: it.loss, lambda value: f"{value:.4f}", min),
        row("ROC AUC", "mean of the classes", lambda it: it.roc_auc, _number),
        row("Average precision", "mean of the classes", lambda it: it.average_precision, _number),
        row("Calibration error", "lower is better", lambda it: it.calibration_error, share, min),
        row("Images", "that the model was judged by", lambda it: it.images, lambda value: f"{value:,}", None),
    ]
    if len(ks) == 1:
        meaning = "the class is among the most probable ones"
        rows.insert(4, row(f"Top-{ks.pop()} accuracy", meaning, lambda it: it.top_k_accuracy, share))
    return (*rows, *_own_rows(jobs, judged)) if group == JUDGED_SETS[0] else tuple(rows)


def _own_rows(jobs: Sequence[ComparedJob], judged: Sequence[JudgedJob]) -> tuple[Row, ...]:
    """Return what the jobs' own evaluators tell; nobody knows whether more of it is better."""
    own = {job.position: job.metrics.own_metrics for job in judged}
    names = sorted({name for metrics in own.values() for name in metrics})
    return tuple(
        Row(
            printable(name),
            tuple(
                Cell(f"{own[position][name]:.4f}" if name in own.get(position, {}) else UNKNOWN)
                for position in range(len(jobs))
            ),
            "of parts.evaluator",
        )
        for name in names
    )


def _intervals(jobs: Sequence[ComparedJob], values: Mapping[int, Judgement]) -> tuple[Cell, ...]:
    texts = {
        position: f"{percent(judgement.accuracy_interval[0])} to {percent(judgement.accuracy_interval[1])}"
        for position, judgement in values.items()
    }
    return tuple(Cell(texts.get(position, UNKNOWN)) for position in range(len(jobs)))


def _number(value: float) -> str:
    return f"{value:.3f}"
