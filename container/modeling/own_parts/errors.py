"""What is said when a function of the user's own fails: which one, at which line of theirs, and why.

A user's code runs in three ways: called by us, called by TensorFlow while it traces or runs a graph, and as the graph
itself. Only in the first does the traceback lead to it; TensorFlow puts what it knows of the others into its text.
"""

import logging
import re
import textwrap
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from container.errors import ProjectError

logger = logging.getLogger(__name__)

PARTS_FOLDER = Path(__file__).resolve().parents[2] / "parts"
# How much of an error's text is repeated, in characters: TensorFlow's run over pages.
MAX_REASON = 300
FILE_IN_TEXT = r'File "([^"\n]+)", line (\d+)'
# What Keras and TensorFlow put around a message: names of operations, colors, what a layer was called with.
WRAPPING = r"^.*? Iterator::\S*: |\x1b\[\d*m|\{\{.*?\}\}|\[\[.*?\]\]|\[Op:\w*\](?: name:)?|Arguments received by .*"


class PartError(ProjectError):
    """A function of the user's own failed, or is not what its kind must be."""


@contextmanager
def explained_parts() -> Iterator[None]:
    """Run what goes through the user's layers and functions; an error that arises in them names their line.

    Raises:
        PartError: something was raised in container/parts. The log has the traceback.
    """
    try:
        yield
    except ProjectError:
        raise
    except Exception as error:
        if not users_line(error):
            raise
        raise failure("a function", error) from error


def failure(what: str, error: BaseException) -> PartError:
    """Return the error that a user reads, and log the traceback."""
    logger.error("%s in container/parts failed", what, exc_info=error)
    place = users_line(error)
    reason = f"{what} failed{f' at {place}' if place else ''}: {_reason(error)}"
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("container"):
        return PartError(f"{reason}; the image has what container/requirements.txt names: add it there")
    return PartError(reason)


def users_line(error: BaseException) -> str:
    """Return the innermost line of container/parts that an error went through, as FILE:LINE; empty: none."""
    lines = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
    # What TensorFlow tells in its text lies deeper than any frame.
    lines += [(file, int(line)) for file, line in re.findall(FILE_IN_TEXT, str(error))]
    if isinstance(error, SyntaxError) and error.filename:
        lines.append((error.filename, error.lineno or 0))
    for file, line in reversed(lines):
        path = Path(file).resolve()
        if path.is_relative_to(PARTS_FOLDER):
            return f"container/parts/{path.relative_to(PARTS_FOLDER).as_posix()}:{line}"
    return ""


def _reason(error: BaseException) -> str:
    text = str(error).partition("Traceback (most recent call last)")[0]
    # While TensorFlow traces a function, its text begins with the stack, two lines for each call.
    text = re.split(FILE_IN_TEXT + r", in .*\n.*\n", text)[-1]
    text = textwrap.shorten(re.sub(WRAPPING, " ", text, flags=re.DOTALL), MAX_REASON, placeholder=" ...")
    # TensorFlow's own type says less than that of the error which it passes on.
    return text if re.match(r"[A-Za-z]\w*(Error|Exception)\b", text) else f"{type(error).__name__}: {text}".rstrip(": ")
