"""What is told of an upload while it lasts."""

import io
import itertools

from rich.console import Console

from manager.console import Terminal
from manager.transfer_progress import transfer_progress


def terminal(*, is_terminal: bool) -> tuple[Terminal, io.StringIO]:
    shown = io.StringIO()
    return Terminal(err=Console(file=shown, width=200, force_terminal=is_terminal)), shown


def test_without_a_terminal_a_line_now_and_then_tells_rate_and_time_left() -> None:
    told, shown = terminal(is_terminal=False)
    seconds = itertools.count(0, 4.0)
    with transfer_progress(told, "upload", 100, 50_000_000, lambda: next(seconds)) as progress:
        for _ in range(6):
            progress.add_bytes(2_000_000)
            progress.add_file()
    assert shown.getvalue().splitlines() == [
        "upload: 2 of 100 files, 6.0 of 50.0 MB, 0.5 MB/s, 88 s left",
        "upload: 5 of 100 files, 12.0 of 50.0 MB, 0.5 MB/s, 76 s left",
    ]


def test_a_quick_upload_tells_nothing_but_its_end() -> None:
    told, shown = terminal(is_terminal=False)
    with transfer_progress(told, "upload", 1, 10, lambda: 0.0) as progress:
        progress.add_bytes(10)
        progress.add_file()
    assert shown.getvalue() == ""


def test_a_terminal_has_a_bar() -> None:
    told, shown = terminal(is_terminal=True)
    with transfer_progress(told, "upload to s3://pets.data", 2, 3_000_000) as progress:
        progress.add_bytes(1_500_000)
        progress.add_file()
    text = shown.getvalue()
    assert "upload to s3://pets.data" in text
    assert "1/2 files" in text
    assert "1.5/3.0 MB" in text
