"""The log of the container's programs: lines on standard output, which CloudWatch gets."""

import logging
import sys
from io import TextIOWrapper


def log_to_stdout() -> None:
    """From now on, let all loggers write to standard output, from the level INFO."""
    if isinstance(sys.stdout, TextIOWrapper):
        # A class may have any name, and the log any encoding.
        sys.stdout.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # Keras warns that HDF5 is a legacy format; TensorFlow tells where it writes a SavedModel's assets.
    logging.getLogger("absl").setLevel(logging.ERROR)
    logging.getLogger("tensorflow").setLevel(logging.WARNING)
    # Where it is installed, plotly imports it.
    logging.getLogger("matplotlib").setLevel(logging.WARNING)


class _Formatter(logging.Formatter):
    """Plain lines, as metric definitions read them; only a warning or an error says that it is one."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno < logging.WARNING else f"{record.levelname}: {text}"
