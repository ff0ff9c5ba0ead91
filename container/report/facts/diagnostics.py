"""What looked wrong while the model was trained: diagnostics.json."""

from pathlib import Path
from typing import Self

from pydantic import TypeAdapter

from container.report.facts.files import Facts, read_json


class Finding(Facts):
    """Something that looks wrong, and what may help."""

    rule: str
    """Such as `overfit`."""
    epoch: int
    """In which it was seen first, from 1."""
    message: str
    """What was seen, with its figures."""
    remedy: str
    """What to try, naming settings."""


class Diagnostics(Facts):
    """What was looked for, and what was found."""

    rules: tuple[str, ...]
    """Those that were checked: the others were turned off, or could not be checked on this machine."""
    findings: tuple[Finding, ...]
    """At most one of each rule, in the order in which they were seen."""

    def write(self, file: Path) -> None:
        """Write diagnostics.json."""
        file.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read diagnostics.json.

        Raises:
            DataError: the file cannot be read, or is not what `write` writes.
        """
        return read_json(file, TypeAdapter(cls))
