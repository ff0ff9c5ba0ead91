"""A Progress that nobody looks at."""


class Unwatched:
    """Is told how far the work is, and tells nobody."""

    def start(self, step: str, total: int | None = None) -> None:
        """Do nothing."""

    def advance(self) -> None:
        """Do nothing."""
