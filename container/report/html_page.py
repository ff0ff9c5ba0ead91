"""Makes pages that need nothing but themselves, from a template and what it shows.

Such a page may be opened, mailed and printed anywhere: it has plotly.js, its style and its pictures in itself, and its
Content-Security-Policy forbids the browser to load anything, and to run any other script than its own. Names come from
outside: jinja2 escapes them in HTML and in the JSON that the charts are made of, and charts.py for plotly.
"""

import base64
import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from container.dataset.text import printable
from container.report.charts import Chart
from container.words import duration, percent, plural

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATES = Path(__file__).with_name("templates")
# Behind a slash, a _ or a -, and in front of an extension.
BREAKS = re.compile(r"(?<=[/_-])(?=.)|(?<=.)(?=\.[^./]*$)")


def render_page(template: str, title: str, *, has_charts: bool = True, **shown: object) -> str:
    """Return a page, as HTML.

    Args:
        template: name of a template that extends base.html.
        title: its heading.
        has_charts: whether it shows any; without them it is some megabytes smaller.
        shown: what the template shows, by the names that it knows it by.
    """
    library, script = _plotly() if has_charts else "", (TEMPLATES / "page.js").read_text(encoding="utf-8")
    return (
        _environment()
        .get_template(template)
        .render(
            title=printable(title),
            policy=_policy(library, script),
            library=_markup(library),
            script=_markup(script),
            style=_markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
            made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            **shown,
        )
    )


def write_page(file: Path, page: str) -> Path:
    """Write a page into a file, whole or not at all; return the file.

    Raises:
        OSError: it cannot be written.
    """
    incomplete = file.with_name(f".{file.name}.incomplete")
    try:
        incomplete.write_text(page, encoding="utf-8")
        incomplete.replace(file)
    finally:
        incomplete.unlink(missing_ok=True)
    return file


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


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
        "breakable": _breakable,
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


def _breakable(path: str) -> "Markup":
    """Return a path that a browser breaks between its words, if it must, rather than anywhere."""
    from markupsafe import escape

    return _markup(BREAKS.sub("<wbr>", str(escape(path))))


def _markup(text: str) -> "Markup":
    from markupsafe import Markup

    return Markup(text)
