"""What `data_handler.py --check` says of the images."""

from container.dataset.check import TABLE, CheckOutcome
from container.dataset.findings import RULES
from container.dataset.fixing import TABLE as FIXES_TABLE
from container.dataset.fixing import Fixes
from container.dataset.text import printable
from container.errors import DataError
from container.modeling.settings import Data
from manager.console import Terminal

PATHS_SHOWN = 2
PATH_LENGTH = 32
CONFLICTS_SHOWN = 10


def show_check(outcome: CheckOutcome, check_path: str, page: str, terminal: Terminal) -> None:
    """Say what was found, and where all of it stands."""
    rows = []
    for key, rule in RULES.items():
        if count := outcome.counts[key]:
            examples = [_short(printable(finding.path)) for finding in outcome.shown[key][:PATHS_SHOWN]]
            more = ", ..." if count > len(examples) else ""
            rows.append((rule.title, f"{count:,}", rule.level, ", ".join(examples) + more, rule.remedy))
    known = outcome.images - outcome.decoded
    terminal.plain(
        f"  {outcome.images:,} images: {outcome.decoded:,} decoded"
        + (f", {known:,} known from before and unchanged" if known else "")
    )
    if rows:
        terminal.table("Findings", ("what", "findings", "level", "such as", "what to do"), rows)
    else:
        terminal.unchanged("nothing is wrong with the images")
    terminal.done(f"{check_path}/{TABLE} names all findings; {check_path}/{page} shows them")


def raise_on_problems(outcome: CheckOutcome, check_path: str) -> None:
    """Fail where something serious was found (--strict).

    Raises:
        DataError: there is a problem, or several.
    """
    if outcome.problems:
        raise DataError(f"the check found {outcome.problems:,} problems: {check_path}/{TABLE} names them")


def show_fixes(fixes: Fixes, data: Data, target: str, terminal: Terminal) -> None:
    """Say what was written anew, and what was left out."""
    rows = [
        ("as they were", f"{fixes.kept:,}"),
        *((what, f"{count:,}") for what, count in sorted(fixes.counts.items())),
    ]
    terminal.table("Images in the new folder", ("what was done", "images"), rows)
    for path in fixes.left_out[:CONFLICTS_SHOWN]:
        terminal.warn(f"left out {printable(path)}: the same image lies under several classes")
    if more := fixes.left_out[CONFLICTS_SHOWN:]:
        terminal.warn(f"left out {len(more):,} more such images: {data.check_path}/{FIXES_TABLE} names them")
    if fixes.unchanged:
        terminal.unchanged(f"{target} holds the images without what was found")
    else:
        terminal.done(
            f"{target} holds the images without what was found; {data.check_path}/{FIXES_TABLE} names all changes"
        )
        terminal.plain(f"next: set data.directory={target}, and check it again")


def _short(path: str) -> str:
    return path if len(path) <= PATH_LENGTH else f"...{path[-PATH_LENGTH:]}"
