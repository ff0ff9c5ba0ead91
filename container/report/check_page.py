"""Writes check.html: what a check of images found, with small pictures, on one page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from container.dataset.check import TABLE, CheckOutcome
from container.dataset.findings import RULES, Finding, Rule
from container.dataset.progress import Progress
from container.dataset.text import printable
from container.errors import DataError
from container.modeling.settings import Data
from container.report.html_page import render_page, write_page
from container.report.thumbnails import SMALL_SIDE, small_picture

PAGE = "check.html"
# Findings of a kind that are shown.
SHOWN = 24


@dataclass(frozen=True)
class Shown:
    """A finding as the page shows it."""

    path: str
    class_name: str
    detail: str
    group: int
    picture: str
    """A data: URL; empty where there is none."""
    is_tiny: bool


@dataclass(frozen=True)
class Kind:
    """The findings of one rule."""

    rule: Rule
    count: int
    has_pictures: bool
    alike: str
    """What the pictures of a group have in common."""
    shown: tuple[Shown, ...]


def write_check_page(outcome: CheckOutcome, data: Data, progress: Progress) -> Path:
    """Write the page into the folder of the check's results, and return it.

    Raises:
        DataError: it cannot be written.
    """
    progress.start("Writing the page", sum(min(count, SHOWN) for count in outcome.counts.values()))
    kinds = tuple(_kind(outcome, rule, progress) for key, rule in RULES.items() if outcome.counts[key])
    page = render_page(
        "check.html",
        data.directory,
        has_charts=False,
        outcome=outcome,
        classes=len({folder.name for folder in outcome.source.folders}),
        warnings=sum(kind.count for kind in kinds if kind.rule.level == "warning"),
        kinds=kinds,
        table=TABLE,
    )
    try:
        return write_page(outcome.folder / PAGE, page)
    except OSError as error:
        raise DataError(f"{outcome.folder / PAGE} cannot be written: {error.strerror or error}") from None


def _kind(outcome: CheckOutcome, rule: Rule, progress: Progress) -> Kind:
    findings = _first(outcome.shown[rule.key])
    has_pictures = any(finding.has_pixels for finding in findings)
    alike = "that are nearly the same" if rule.key.startswith("near_") else "with the same pixels"
    return Kind(rule, outcome.counts[rule.key], has_pictures, alike, _shown(outcome, findings, progress))


def _shown(outcome: CheckOutcome, findings: Sequence[Finding], progress: Progress) -> tuple[Shown, ...]:
    found = []
    for finding in findings:
        # What was not decoded for the check is not decoded for the page: it may be a pipe, or too large.
        picture, is_tiny = (
            small_picture(outcome.source.directory, finding.path, SMALL_SIDE) if finding.has_pixels else ("", False)
        )
        found.append(
            Shown(
                printable(finding.path),
                printable(finding.class_name),
                printable(finding.detail),
                finding.group,
                picture,
                is_tiny,
            )
        )
        progress.advance()
    return tuple(found)


def _first(findings: Sequence[Finding]) -> Sequence[Finding]:
    """Return the first findings, and what belongs together with the last of them."""
    count = min(SHOWN, len(findings))
    while 0 < count < min(len(findings), 2 * SHOWN) and findings[count].group == findings[count - 1].group != 0:
        count += 1
    return findings[:count]
