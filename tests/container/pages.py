"""A page as a browser reads it, and its charts as plotly gets them."""

import base64
import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from container.report.page import write_report

SILENT, CELLS = {"script", "style"}, {"th", "td"}


@dataclass
class Page(HTMLParser):
    """A page as a browser reads it."""

    texts: list[str] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    """The texts of the cells of all tables."""

    def __post_init__(self) -> None:
        super().__init__()
        self._open, self._is_in_cell = "", False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag if tag in SILENT else ""
        if tag == "tr":
            self.rows.append([])
        elif tag in CELLS:
            self.rows[-1].append("")
            self._is_in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self._open = ""
        self._is_in_cell = self._is_in_cell and tag not in CELLS

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            self.scripts.append(data)
        elif not self._open and data.strip():
            self.texts.append(data.strip())
            if self._is_in_cell:
                self.rows[-1][-1] = f"{self.rows[-1][-1]} {data.strip()}".strip()

    @property
    def text(self) -> str:
        """What is to be read."""
        return "\n".join(self.texts)

    @property
    def pictures(self) -> list[dict[str, str | None]]:
        """The attributes of each picture."""
        return [attributes for tag, attributes in self.tags if tag == "img"]

    def charts(self) -> dict[str, Any]:
        """Return plotly's description of each chart, by the chart's id."""
        keys = [attributes["id"] for tag, attributes in self.tags if tag == "figure"]
        figures = [json.loads(script) for script in self.scripts if script.startswith('{"data"')]
        return dict(zip(keys, figures, strict=True))


def made(folder: Path, image_folders: dict[str, Path] | None = None) -> Page:
    """Write the report of a job's results, and read it."""
    return read(write_report(folder, image_folders or {}))


def read(file: Path) -> Page:
    """Read a page."""
    page = Page()
    # A browser may break a line there, and shows nothing.
    page.feed(file.read_text(encoding="utf-8").replace("<wbr>", ""))
    page.close()
    return page


def templates(page: Page) -> set[str]:
    """Return the texts of all charts in which plotly puts in values."""
    return {trace.get("hovertemplate", "") for chart in page.charts().values() for trace in chart["data"]}


def shown_by_plotly(page: Page) -> list[str]:
    """Return the texts of all charts that plotly reads as a kind of HTML, but for those templates."""
    keys = ("x", "y", "text", "customdata", "name")
    return [
        text
        for chart in page.charts().values()
        for trace in chart["data"]
        for key in keys
        for text in np.array(trace.get(key, []), dtype=object).ravel()
        if isinstance(text, str)
    ]


def numbers(array: Any) -> NDArray[Any]:
    """Return an array of a chart, which plotly writes as bytes in base64."""
    if isinstance(array, list):
        return np.array(array)
    flat = np.frombuffer(base64.b64decode(array["bdata"]), array["dtype"])
    return flat.reshape([int(length) for length in array.get("shape", str(len(flat))).split(",")])
