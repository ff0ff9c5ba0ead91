"""What the command line shows: lines and tables on standard output, progress and errors on standard error."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from manager.errors import RefusedError

# What a table may take where no terminal tells its width.
MOST_COLUMNS = 250


@dataclass(frozen=True)
class Terminal:
    """Where a person reads along. All texts are data: nothing in them is taken as markup."""

    out: Console = field(default_factory=lambda: Console(highlight=False, emoji=False, soft_wrap=True))
    err: Console = field(default_factory=lambda: Console(highlight=False, emoji=False, soft_wrap=True, stderr=True))

    def plain(self, text: str) -> None:
        """Print text as it is."""
        self.out.print(text, markup=False)

    def heading(self, text: str) -> None:
        """Print the title of what follows."""
        self.out.print(f"[bold]{escape(text)}[/]")

    def done(self, text: str, effect: str = "done") -> None:
        """Say that something was done; `effect` is the word for it: created, changed, deleted."""
        self.out.print(f"  [green]{effect:<9}[/]  {escape(text)}")

    def unchanged(self, text: str) -> None:
        """Say that something was found to be as it should be."""
        self.out.print(f"  [dim]unchanged[/]  {escape(text)}")

    def finding(self, level: str, subject: str, text: str) -> None:
        """Say what a check found; `level` is ok, warning or problem."""
        style = {"ok": "green", "warning": "yellow"}.get(level, "bold red")
        self.out.print(f"  [{style}]{level:<9}[/]  {escape(subject)}: {escape(text)}")

    def warn(self, text: str) -> None:
        """Say what may surprise."""
        self.err.print(f"[yellow]warning:[/] {escape(text)}")

    def error(self, text: str) -> None:
        """Say why the command failed."""
        self.err.print(f"[red]error:[/] {escape(text)}")

    def confirm(self, question: str, answer: str) -> None:
        """Ask a question that is answered yes by typing `answer`.

        Raises:
            RefusedError: something else was typed, or nobody is there to answer.
        """
        if not sys.stdin.isatty():
            raise RefusedError(f"{question}, and nobody is here to say yes: add --yes to do it")
        self.out.print(f"{escape(question)}. Type [bold]{escape(answer)}[/] to go on: ", end="")
        try:
            typed = input().strip()
        except EOFError:
            typed = ""
        if typed != answer:
            raise RefusedError("nothing was done")

    @contextlib.contextmanager
    def progress(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show a bar while something is done piece by piece; yields the function that reports finished pieces."""
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.err, transient=True, disable=not self.err.is_terminal) as bars:
            task = bars.add_task(escape(title), total=total)
            yield lambda pieces: bars.advance(task, pieces)

    @contextlib.contextmanager
    def byte_bars(self) -> Iterator[Callable[[str, int, int], None]]:
        """Show a bar for each of several transfers; yields the function that takes a title, bytes done and bytes."""
        columns = (TextColumn("  {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=self.err, transient=True, disable=not self.err.is_terminal) as bars:
            tasks: dict[str, TaskID] = {}

            def show(title: str, done: int, total: int) -> None:
                if title not in tasks:
                    tasks[title] = bars.add_task(escape(title), total=total)
                bars.update(tasks[title], completed=done, total=total or None)

            yield show

    @contextlib.contextmanager
    def status(self) -> Iterator[Callable[[str], None]]:
        """Keep a line below all others while something goes on; yields the function that sets its text."""
        spinner = Spinner("dots")
        if not self.out.is_terminal:
            yield lambda text: None
            return
        with Live(spinner, console=self.out, transient=True, refresh_per_second=8, redirect_stderr=False):
            yield lambda text: spinner.update(text=Text(text))

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> None:
        """Print a table; all columns but the first are aligned to the right. A `Text` cell has a style of its own."""
        table = Table(title=escape(title), title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
        for position, name in enumerate(header):
            # The first column names the thing, and is what people copy.
            table.add_column(escape(name), justify="right" if position else "left", no_wrap=not position)
        for row in rows:
            table.add_row(*(escape(cell) if isinstance(cell, str) else cell for cell in row))
        self.out.print(table, width=None if self.out.is_terminal else MOST_COLUMNS)
