"""What a training job found out, as the files of model.tar.gz that any program can read.

The container writes them; the user's machine and the report read them. Nothing here needs TensorFlow, and nothing is
unpickled.
"""

from container.report.facts.diagnostics import Diagnostics, Finding
from container.report.facts.files import (
    CLASSES_FILE,
    CLASSES_PICKLE,
    CONFIG_FILE,
    CONFIG_PICKLE,
    CONFUSION_PICKLE,
    DIAGNOSTICS_FILE,
    H5_FILE,
    HISTORY_FILE,
    KERAS_FILE,
    METRICS_FILE,
    PREDICTIONS_FILE,
    REPORT_FILE,
    REPORT_PICKLE,
    SAVED_MODEL_FOLDER,
)
from container.report.facts.history import DURATIONS, Epoch, read_history, write_history
from container.report.facts.metrics import (
    ClassScores,
    Judgement,
    Metrics,
    Scores,
    Threshold,
    read_classes,
    write_classes,
)
from container.report.facts.predictions import (
    PREDICTION_COLUMNS,
    PROBABILITY,
    RESERVED_METRIC_NAMES,
    Prediction,
    Predictions,
    SetPredictions,
    as_cell,
)

__all__ = [
    "CLASSES_FILE",
    "CLASSES_PICKLE",
    "CONFIG_FILE",
    "CONFIG_PICKLE",
    "CONFUSION_PICKLE",
    "DIAGNOSTICS_FILE",
    "DURATIONS",
    "H5_FILE",
    "HISTORY_FILE",
    "KERAS_FILE",
    "METRICS_FILE",
    "PREDICTIONS_FILE",
    "PREDICTION_COLUMNS",
    "PROBABILITY",
    "REPORT_FILE",
    "REPORT_PICKLE",
    "RESERVED_METRIC_NAMES",
    "SAVED_MODEL_FOLDER",
    "ClassScores",
    "Diagnostics",
    "Epoch",
    "Finding",
    "Judgement",
    "Metrics",
    "Prediction",
    "Predictions",
    "Scores",
    "SetPredictions",
    "Threshold",
    "as_cell",
    "read_classes",
    "read_history",
    "write_classes",
    "write_history",
]
