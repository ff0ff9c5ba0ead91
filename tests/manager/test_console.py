"""What the terminal makes of long lines."""

import io

from rich.console import Console

from manager.console import Terminal

LINE = "epoch=11 epochs=12 seconds=1.23 loss=0.12345 accuracy=0.98765 val_loss=0.12345 val_accuracy=0.98765 rate=0.0005"


def shown(*, on_terminal: bool) -> str:
    file = io.StringIO()
    Terminal(out=Console(file=file, width=80, highlight=False, soft_wrap=True, force_terminal=on_terminal)).prose(LINE)
    return file.getvalue()


def test_on_a_terminal_a_log_line_is_broken_between_words() -> None:
    lines = shown(on_terminal=True).splitlines()
    assert len(lines) == 2
    assert " ".join(line.strip() for line in lines) == LINE


def test_in_a_file_it_stays_one_line() -> None:
    assert shown(on_terminal=False) == f"{LINE}\n"


def test_on_a_terminal_what_is_labeled_goes_on_below_its_text() -> None:
    file = io.StringIO()
    terminal = Terminal(out=Console(file=file, width=40, highlight=False, soft_wrap=True, force_terminal=True))
    terminal.labeled("keeping", "bucket shades.data, since it holds objects [of 3 classes]")
    assert [line.rstrip() for line in file.getvalue().splitlines()] == [
        "  keeping    bucket shades.data, since",
        "             it holds objects [of 3",
        "             classes]",
    ]
