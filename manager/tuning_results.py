"""What a tuning job found: its trials as a DataFrame, and as `results/JOB/trials.csv` (`--tuning_results`)."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import pandas as pd

from container.modeling import overrides
from manager.trials import TuningJob

TRIALS_FILE = "trials.csv"


def frame(tuning: TuningJob) -> pd.DataFrame:
    """Return the trials, one per row, in the order of their launch.

    The columns are TrainingJobName, TrainingJobStatus, FinalObjectiveValue, one for each tuned setting by its dotted
    name, TrainingElapsedTimeSeconds, TrainingStartTime, TrainingEndTime and FailureReason: the names that
    HyperparameterTuningJobAnalytics of SageMaker's Python SDK has too. Numbers are numbers, true and false are bool; a
    list is a text, as --set takes it.
    """
    columns = {
        "TrainingJobName": [trial.name for trial in tuning.trials],
        "TrainingJobStatus": [trial.status for trial in tuning.trials],
        "FinalObjectiveValue": pd.array([trial.objective for trial in tuning.trials], dtype="float64"),
        **{name: [_cell(trial.values.get(name)) for trial in tuning.trials] for name in tuning.parameters},
        "TrainingElapsedTimeSeconds": pd.array([trial.seconds for trial in tuning.trials], dtype="float64"),
        "TrainingStartTime": _times(trial.started for trial in tuning.trials),
        "TrainingEndTime": _times(trial.ended for trial in tuning.trials),
        "FailureReason": [trial.failure for trial in tuning.trials],
    }
    return pd.DataFrame(columns)


def write_trials(tuning: TuningJob, directory: Path) -> Path:
    """Write the trials as CSV into a folder, whole or not at all; return the file.

    Raises:
        OSError: the folder cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / TRIALS_FILE
    partial = directory / f".{TRIALS_FILE}.partial"
    frame(tuning).to_csv(partial, index=False)
    partial.replace(file)
    return file


def _times(times: Iterable[datetime | None]) -> pd.Series:
    return pd.to_datetime(pd.Series(list(times), dtype="object"), utc=True)


def _cell(value: object) -> object:
    return overrides.to_text(value) if isinstance(value, tuple | list | dict) else value
