"""What `data_handler.py --check` says of the images."""

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from container.dataset.check import TABLE, CheckOutcome
from container.dataset.findings import RULES
from container.dataset.fixing import TABLE as FIXES_TABLE
from container.dataset.fixing import Fixes
from container.dataset.text import printable
from container.errors import DataError
from container.modeling.settings import Data
from container.words import plural
from manager.console import Terminal

PATHS_SHOWN = 2
LEVEL_STYLES = {"problem": "bold red", "warning": "yellow"}
CONFLICTS_SHOWN = 10


def show_check(outcome: CheckOutcome, check_path: str, page: str, terminal: Terminal) -> None:
    """Say what was found, and where all of it stands."""
    known = outcome.images - outcome.decoded
    terminal.plain(
        f"  {plural(outcome.images, 'image')}: {outcome.decoded:,} decoded"
        + (f", {known:,} known from before and unchanged" if known else "")
    )
    if outcome.counts:
        terminal.heading("Findings")
        terminal.out.print(_findings(outcome), soft_wrap=False)
        terminal.plain("")
    else:
        terminal.labeled("ok", "nothing is wrong with the images", "green")
    terminal.done(f"{check_path}/{TABLE} names all findings; {check_path}/{page} shows them")


def raise_on_problems(outcome: CheckOutcome, check_path: str) -> None:
    """Fail where something serious was found (--strict).

    Raises:
        DataError: there is a problem, or several.
    """
    if outcome.problems:
        raise DataError(f"the check found {plural(outcome.problems, 'problem')}: {check_path}/{TABLE} names them")


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
        terminal.warn(f"left out {plural(len(more), 'more such image')}: {data.check_path}/{FIXES_TABLE} names them")
    if fixes.unchanged:
        terminal.unchanged(f"{target} holds the images without what was found")
    else:
        terminal.done(
            f"{target} holds the images without what was found; {data.check_path}/{FIXES_TABLE} names all changes"
        )
        terminal.plain(f"next: set data.directory={target}, and check it again")


def _findings(outcome: CheckOutcome) -> Table:
    """Return a table that is read as well in a narrow terminal: the texts stand one below the other, not in columns."""
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(overflow="fold")
    for key, rule in RULES.items():
        if count := outcome.counts[key]:
            paths = ", ".join(printable(finding.path) for finding in outcome.shown[key][:PATHS_SHOWN])
            more = f" and {count - PATHS_SHOWN:,} more" if count > PATHS_SHOWN else ""
            table.add_row(
                "",
                Text(rule.level, LEVEL_STYLES[rule.level]),
                f"{count:,}",
                Group(Text(rule.title, "bold"), _below(Text(f"{paths}{more}")), _below(Text(rule.remedy, "dim"))),
            )
    return table


def _below(text: Text) -> Padding:
    """Return a text that is indented in all its lines."""
    return Padding(text, (0, 0, 0, 2))
