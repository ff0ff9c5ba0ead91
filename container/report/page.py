"""Writes report.html: what a training job came to, on one page."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from container.dataset.text import printable
from container.report.charts import Table
from container.report.class_charts import balance_chart, scores_chart
from container.report.confusion_chart import confusion_chart
from container.report.curve_charts import precision_recall_chart, roc_chart
from container.report.facts import REPORT_FILE
from container.report.html_page import render_page, write_page
from container.report.reliability_chart import reliability_chart
from container.report.results import Results, SettingValue
from container.report.summary import figures, sentences
from container.report.thumbnails import Mistakes, most_confident_mistakes
from container.report.training_charts import training_charts


@dataclass(frozen=True)
class Pictures:
    """The mistakes, and why they have no pictures where they have none."""

    sets: tuple[Mistakes, ...]
    are_shown: bool
    reason: str
    """Empty where pictures are shown."""


def write_report(folder: Path, image_folders: Mapping[str, Path]) -> Path:
    """Write report.html into the folder of a job's results, and return it.

    Args:
        folder: holds what model.tar.gz holds: metrics.json, history.csv, predictions.csv, config.json, classes.json,
            and diagnostics.json where the job wrote one.
        image_folders: the folder of the set `validation` or `evaluation`, whose pictures may be shown; without one the
            page says that there are none.

    Raises:
        DataError: a file is missing or damaged, or is not of the same job as the others.
        OSError: the page cannot be written.
    """
    return write_page(folder / REPORT_FILE, render(Results.read(folder), image_folders))


def render(results: Results, image_folders: Mapping[str, Path]) -> str:
    """Return the page, as HTML."""
    metrics = results.metrics
    return render_page(
        "report.html",
        metrics.training_job or "Training job",
        results=results,
        metrics=metrics,
        sentences=sentences(results),
        figures=figures(results),
        training=training_charts(results),
        confusion=confusion_chart(results),
        scores=scores_chart(results),
        reliability=reliability_chart(results),
        curves=(roc_chart(results), precision_recall_chart(results)),
        balance=balance_chart(results),
        pictures=_pictures(results, image_folders),
        settings=_settings_table(results.settings, is_default=False),
        defaults=_settings_table(results.settings, is_default=True),
        versions=Table(("package", "version"), tuple(sorted(metrics.versions.items())), text_columns=2),
    )


def _pictures(results: Results, image_folders: Mapping[str, Path]) -> Pictures:
    sets = most_confident_mistakes(results, image_folders)
    are_there = any(mistake.picture for mistakes in sets for mistake in mistakes.shown)
    if not results.report.images:
        reason = "Pictures are turned off by the setting report.images."
    elif not image_folders:
        reason = (
            "The images were not at hand when this page was made: with "
            "--data FOLDER --download_results makes it again with pictures."
        )
    elif not are_there and any(mistakes.shown for mistakes in sets):
        reason = "None of the images could be read when this page was made."
    else:
        reason = ""
    return Pictures(sets, are_there, reason)


def _settings_table(settings: tuple[SettingValue, ...], *, is_default: bool) -> Table:
    rows = tuple(
        (setting.name, printable(_value_text(setting.value)))
        for setting in settings
        if setting.is_default == is_default
    )
    return Table(("setting", "value"), rows, text_columns=2)


def _value_text(value: object) -> str:
    return value or "empty" if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
