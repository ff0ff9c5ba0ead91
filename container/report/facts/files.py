"""The names of the files of model.tar.gz, and how those in JSON are read."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from container.errors import DataError

SAVED_MODEL_FOLDER = "checkpoint"
H5_FILE = "model.h5"
KERAS_FILE = "model.keras"
CLASSES_FILE = "classes.json"
METRICS_FILE = "metrics.json"
CONFIG_FILE = "config.json"
HISTORY_FILE = "history.csv"
PREDICTIONS_FILE = "predictions.csv"
DIAGNOSTICS_FILE = "diagnostics.json"
REPORT_FILE = "report.html"
CLASSES_PICKLE = "classes_dict.pkl"
REPORT_PICKLE = "classification_report.pkl"
CONFUSION_PICKLE = "confusion_matrix.pkl"
CONFIG_PICKLE = "config_dict.pkl"

T = TypeVar("T")


class Facts(BaseModel):
    """A group of facts: frozen; names that a later version adds are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def read_json(file: Path, adapter: TypeAdapter[T]) -> T:
    """Read a file in JSON.

    Raises:
        DataError: the file cannot be read, or is not of the type.
    """
    try:
        return adapter.validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise unreadable(file, error) from None


def unreadable(file: Path, error: Exception) -> DataError:
    """Return the error that says why a file cannot be read, and what to do."""
    reason = " ".join(str(error).split())
    return DataError(f"{file} cannot be read as a training job's results: {reason}; download them again")
