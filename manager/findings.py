"""A check that hides no other: whatever it meets, even a refusal, is a finding."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from container.errors import ProjectError
from manager.aws import FAILURES, reason

Level = Literal["ok", "warning", "problem"]
"""A problem stops the way to a trained model; a warning does not, or it is not certain."""


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    level: Level
    text: str
    """One line; whatever is not ok says what to do."""
    subject: str = ""
    """What was looked at."""


@dataclass(frozen=True)
class Check:
    """Something to look at."""

    subject: str
    look: Callable[[], Finding]

    def make(self) -> Finding:
        """Look, and return what was found. Raises nothing that is an error."""
        return replace(self._look(), subject=self.subject)

    def _look(self) -> Finding:
        try:
            return self.look()
        except ProjectError as error:
            return Finding("problem", str(error))
        except FAILURES as error:
            return Finding("warning", f"not checked ({reason(error)})")
        except Exception as error:
            return Finding("warning", f"not checked, since the check itself failed ({type(error).__name__}: {error})")
