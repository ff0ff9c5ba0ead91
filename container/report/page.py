"""Writes report.html: what a training job came to, on one page that needs nothing but itself.

The page may be opened, mailed and printed anywhere: it has plotly.js, its style and its pictures in itself, and its
Content-Security-Policy forbids the browser to load anything, and to run any other script than its own. Names of files
and classes come from outside: jinja2 escapes them in HTML and in the JSON that the charts are made of, and charts.py
for plotly.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from container.dataset.text import printable
from container.report.charts import Chart, Table, percent, plural
from container.report.class_charts import balance_chart, scores_chart
from container.report.confusion_chart import confusion_chart
from container.report.curve_charts import precision_recall_chart, roc_chart
from container.report.facts import REPORT_FILE
from container.report.reliability_chart import reliability_chart
from container.report.results import Results, SettingValue
from container.report.summary import duration, figures, sentences
from container.report.thumbnails import Mistakes, most_confident_mistakes
from container.report.training_charts import training_charts

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATES = Path(__file__).with_name("templates")


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
    page = render(Results.read(folder), image_folders)
    target, incomplete = folder / REPORT_FILE, folder / f".{REPORT_FILE}.incomplete"
    try:
        incomplete.write_text(page, encoding="utf-8")
        incomplete.replace(target)
    finally:
        incomplete.unlink(missing_ok=True)
    return target


def render(results: Results, image_folders: Mapping[str, Path]) -> str:
    """Return the page, as HTML."""
    from plotly.offline import get_plotlyjs

    environment = _environment()
    library, script = get_plotlyjs(), (TEMPLATES / "report.js").read_text(encoding="utf-8")
    metrics = results.metrics
    return environment.get_template("report.html").render(
        title=printable(metrics.training_job) or "Training job",
        policy=_policy(library, script),
        library=_markup(library),
        script=_markup(script),
        style=_markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        results=results,
        metrics=metrics,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
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


def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "plural": plural,
        "duration": duration,
        "printable": printable,
        "chart_json": _chart_json,
    }
    return environment


def _policy(*scripts: str) -> str:
    """Return a Content-Security-Policy for a page with these scripts: https://www.w3.org/TR/CSP3/."""
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    sources = " ".join(f"'sha256-{digest}'" for digest in digests)
    # plotly.js sets styles of single elements, and makes its pictures as data: and blob: URLs.
    return (
        f"default-src 'none'; script-src {sources}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _chart_json(chart: Chart) -> "Markup":
    """Return a chart's data for a script element: JSON without a `<` that could end it."""
    figure = json.loads(chart.figure.to_json(engine="json"))
    return _markup(json.dumps(figure, separators=(",", ":")).replace("<", "\\u003c"))


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


def _markup(text: str) -> "Markup":
    from markupsafe import Markup

    return Markup(text)
