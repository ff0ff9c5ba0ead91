"""What the commands that split or prepare images say of the files that they left out."""

from container.dataset.left_out import LeftOutCounts
from container.words import plural
from manager.console import Terminal

BAD_FILES_SHOWN = 10


def show_left_out(left_out: LeftOutCounts, terminal: Terminal, more_are_in: str = "") -> None:
    """Say what was left out; `more_are_in` tells where those bad files stand that are not shown."""
    kinds = (
        (left_out.hidden, "hidden"),
        (left_out.other_files, "without an image's extension or outside the class folders"),
        (left_out.repeated_folders, "links to folders seen before"),
    )
    if counted := ", ".join(f"{count:,} {kind}" for count, kind in kinds if count):
        terminal.plain(f"  left out   {counted}")
    shown = left_out.named[:BAD_FILES_SHOWN]
    for file in shown:
        terminal.warn(f"left out {file.path}: {file.reason}")
    if more := left_out.bad_files - len(shown):
        where = f": {more_are_in}" if more_are_in else ""
        terminal.warn(f"left out {plural(more, 'more such file')}{where}")
