"""How long work on many files tells how far it is, without knowing who watches."""

from typing import Protocol


class Progress(Protocol):
    """Is told how far the work is."""

    def start(self, step: str, total: int | None = None) -> None:
        """Begin a step of so many files; None if that is not known yet."""

    def advance(self) -> None:
        """Count one file more as done."""
