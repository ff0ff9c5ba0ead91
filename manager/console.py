"""What the command line shows: lines and tables on standard output, progress and errors on standard error."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
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

LiveTable = Callable[[str, Sequence[str], Sequence[Sequence[str | Text]]], None]
"""Shows a table anew: its title, the names of its columns, its rows."""


@dataclass(frozen=True)
class Terminal:
    """Where a person reads along. All texts are data: nothing in them is taken as markup.

    What is no terminal (a file, a pipe) gets each text as one line.
    """

    out: Console = field(default_factory=lambda: _console(stderr=False))
    err: Console = field(default_factory=lambda: _console(stderr=True))

    def plain(self, text: str) -> None:
        """Print text as it is, to be copied: a terminal that is too narrow breaks it anywhere."""
        self.out.print(text, markup=False)

    def prose(self, text: str) -> None:
        """Print text to be read: a terminal that is too narrow gets it broken between words."""
        self.out.print(text, markup=False, soft_wrap=not self.out.is_terminal)

    def labeled(self, label: str, text: str, style: str = "") -> None:
        """Print text to be read behind a word that tells of what kind it is; further lines begin below the text."""
        marked = f"[{style}]{label:<9}[/]" if style else f"{label:<9}"
        if not self.out.is_terminal:
            self.out.print(f"  {marked}  {escape(text)}")
            return
        grid = Table.grid(padding=(0, 2))
        grid.add_column()
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row("", marked, escape(text))
        self.out.print(grid, soft_wrap=False)

    def heading(self, text: str) -> None:
        """Print the title of what follows."""
        self.out.print(f"[bold]{escape(text)}[/]")

    def done(self, text: str, effect: str = "done") -> None:
        """Say that something was done; `effect` is the word for it: created, changed, deleted."""
        self.labeled(effect, text, "green")

    def unchanged(self, text: str) -> None:
        """Say that something was found to be as it should be."""
        self.labeled("unchanged", text, "dim")

    def finding(self, level: str, subject: str, text: str) -> None:
        """Say what a check found; `level` is ok, warning or problem."""
        style = {"ok": "green", "warning": "yellow"}.get(level, "bold red")
        self.labeled(level, f"{subject}: {text}", style)

    def warn(self, text: str) -> None:
        """Say what may surprise."""
        self.err.print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=not self.err.is_terminal)

    def error(self, text: str) -> None:
        """Say why the command failed."""
        self.err.print(f"[red]error:[/] {escape(text)}", soft_wrap=not self.err.is_terminal)

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

    def table(
        self, title: str, header: Sequence[str], rows: Sequence[Sequence[RenderableType]], *, whole: int = 1
    ) -> None:
        """Print a table; all columns but the first are aligned to the right.

        Args:
            title: stands above it.
            header: names of the columns.
            rows: their cells; what is no text of a single style is a renderable of Rich's.
            whole: how many of the first columns stay whole in a narrow terminal, as what people copy does; where
                even that is too wide, the first one is broken.
        """
        self.out.print(self._table(title, header, rows, whole))

    @contextlib.contextmanager
    def live_table(self) -> Iterator[LiveTable]:
        """Keep a table below all else while something goes on; nothing is kept where there is no terminal."""
        if not self.out.is_terminal:
            yield lambda title, header, rows: None
            return
        with Live(console=self.out, transient=True, auto_refresh=False, redirect_stderr=False) as live:
            yield lambda title, header, rows: live.update(self._table(title, header, rows, 1), refresh=True)

    def _table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[RenderableType]], whole: int) -> Table:
        table = Table(title=escape(title), title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
        for position, name in enumerate(header):
            table.add_column(escape(name), justify="right" if position else "left", no_wrap=position < whole)
        for row in rows:
            table.add_row(*(escape(cell) if isinstance(cell, str) else cell for cell in row))
        if self._is_too_narrow_for(table):
            table.collapse_padding = True
        if self._is_too_narrow_for(table):
            table.columns[0].no_wrap, table.columns[0].overflow = False, "fold"
        return table

    def _is_too_narrow_for(self, table: Table) -> bool:
        unbounded = self.out.options.update(width=MOST_COLUMNS)
        return self.out.measure(table, options=unbounded).minimum > self.out.width


def _console(*, stderr: bool) -> Console:
    console = Console(highlight=False, emoji=False, soft_wrap=True, stderr=stderr)
    if not console.is_terminal:
        console.width = MOST_COLUMNS
    return console
