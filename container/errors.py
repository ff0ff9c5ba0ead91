"""The root of the project's exceptions: each says where, what, and what to do next in one readable line."""

import difflib
from collections.abc import Iterable


class ProjectError(Exception):
    """An error that a user can act on. Its text is one line: the thing, the rule, the next step."""


class SettingsError(ProjectError):
    """A setting is unknown, of the wrong type or out of its range."""


class DataError(ProjectError):
    """The images, or the folders that hold them, are not what is needed."""


def hint(name: str, known: Iterable[str], otherwise: str) -> str:
    """Return how an error about an unknown name ends: `: did you mean 'x'?`, or `otherwise` where none is near."""
    plain = {_plain(text): text for text in known}
    near = difflib.get_close_matches(_plain(name), plain, n=1)
    return f": did you mean {plain[near[0]]!r}?" if near else otherwise


def _plain(name: str) -> str:
    return name.lower().replace("_", "")
