"""What the charts of all pages have in common: their parts, their look, and how names get into them.

A chart is drawn by plotly.js in the reader's browser. Colors are CSS variables (`var(--evaluation)`), which the page's
own script replaces, so that charts follow light and dark; page.css has their values.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from container.dataset.text import printable

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# Of a class name on an axis, on one with many classes, and of a file name in a hover label; in characters.
LONGEST_LABEL = 24
LONGEST_OF_MANY = 16
LONGEST_FILE_NAME = 64
# Up to so many classes get a row of their own in a chart; more become narrow columns.
MOST_ROWS = 40
# What a column takes at least, in pixels.
COLUMN_WIDTH = 6
INK, MUTED, GRID, PAPER = "var(--ink)", "var(--muted)", "var(--grid)", "var(--paper)"
TRAINING_COLOR, VALIDATION_COLOR, EVALUATION_COLOR = "var(--training)", "var(--validation)", "var(--evaluation)"
SET_DASHES = {"training": "dot", "validation": "dash", "evaluation": "solid"}
SET_COLORS = {"training": TRAINING_COLOR, "validation": VALIDATION_COLOR, "evaluation": EVALUATION_COLOR}


@dataclass(frozen=True)
class Table:
    """A chart's figures, as text."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    """What is left out, and where it is."""
    text_columns: int = 1
    """So many first columns are text; the others are numbers."""


@dataclass(frozen=True)
class Option:
    """One thing to choose."""

    value: str
    label: str


@dataclass(frozen=True)
class Choice:
    """What a reader can choose in a chart: traces whose `meta` has another value for the key are not drawn."""

    key: str
    label: str
    options: tuple[Option, ...]
    """The first one is chosen at first."""


@dataclass(frozen=True, eq=False)
class Chart:
    """A chart, with what stands around it."""

    key: str
    """Unique in the page; made of small letters and hyphens."""
    title: str
    summary: str
    """What it shows, in words: for those who cannot see it."""
    figure: "Figure"
    table: Table
    note: str = ""
    """How to read it; stands below the title."""
    choices: tuple[Choice, ...] = ()
    is_wide: bool = True
    """Whether it takes the whole width, or half of it."""
    least_width: int = 0
    """In pixels; on narrower screens it scrolls."""
    most_width: int = 0
    """In pixels; 0: as wide as there is room."""


def new_figure(height: int, x_title: str = "", y_title: str = "", **layout: Any) -> "Figure":
    """Return an empty figure in the look of the report.

    Args:
        height: in pixels.
        x_title: what the horizontal axis shows.
        y_title: the same of the vertical one.
        layout: further entries of plotly's layout; `xaxis` and `yaxis` are merged into those of the look.
    """
    from plotly.graph_objects import Figure

    axis: dict[str, Any] = {
        "gridcolor": GRID,
        "linecolor": GRID,
        "zerolinecolor": GRID,
        "tickfont": {"color": MUTED},
        "automargin": True,
        "fixedrange": True,
        "title": {"standoff": 10, "font": {"color": MUTED, "size": 13}},
    }
    x_axis, y_axis = layout.pop("xaxis", {}), layout.pop("yaxis", {})
    look: dict[str, Any] = {
        "template": {},
        "height": height,
        "margin": {"l": 8, "r": 24, "t": 36, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": INK, "size": 13, "family": "inherit"},
        "hoverlabel": {"bgcolor": PAPER, "bordercolor": MUTED, "font": {"color": INK}, "align": "left"},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "itemclick": False},
        "dragmode": False,
        "xaxis": axis | {"title": axis["title"] | {"text": x_title}} | x_axis,
        "yaxis": axis | {"title": axis["title"] | {"text": y_title}} | y_axis,
    }
    return Figure(layout=look | layout)


def diagonal(name: str) -> Any:
    """Return a line from corner to corner of the unit square, to compare with."""
    from plotly.graph_objects import Scatter

    line = {"color": MUTED, "width": 1, "dash": "dot"}
    return Scatter(x=[0, 1], y=[0, 1], mode="lines", name=name, line=line, hoverinfo="skip")


def chart_text(name: str) -> str:
    """Return what makes plotly show a name as it is: plotly reads texts as a kind of HTML."""
    return html.escape(printable(name), quote=False)


def full_name(name: str) -> str:
    """Return the whole name for a hover label, in lines that fit a screen."""
    text = printable(name)
    lines = [text[start : start + LONGEST_FILE_NAME] for start in range(0, len(text), LONGEST_FILE_NAME)]
    return "<br>".join(chart_text(line) for line in lines)


def shortened(name: str, longest: int) -> str:
    """Return the name with its middle left out where it is longer than so many characters."""
    if len(name) <= longest:
        return name
    end = (longest - 1) // 3
    return f"{name[: longest - 1 - end]}…{name[len(name) - end :]}"


def axis_labels(names: Sequence[str]) -> tuple[str, ...]:
    """Return a short text for each name, ready for plotly, and no two the same: an axis has each once."""
    longest = LONGEST_LABEL if len(names) <= MOST_ROWS else LONGEST_OF_MANY
    return tuple(html.escape(label, quote=False) for label in distinct_labels(names, longest))


def distinct_labels(names: Sequence[str], longest: int = LONGEST_LABEL) -> tuple[str, ...]:
    """Return a text of about so many characters at most for each name, and no two the same."""
    labels: list[str] = []
    taken: set[str] = set()
    for name in names:
        short = shortened(printable(name), longest)
        number, label = 1, short
        while label in taken:
            number += 1
            label = f"{short} ({number})"
        taken.add(label)
        labels.append(label)
    return tuple(labels)


def finite(value: float) -> float | None:
    """Return a number as a chart takes it: None leaves a gap."""
    return value if math.isfinite(value) else None
