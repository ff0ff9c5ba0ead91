"""A run of an MLflow server: settings, figures of each epoch, results and model.

The run has the training job's name, and the same in its tag `training_job`: a job that was interrupted finds its run by
that, and goes on in it.
"""

import logging
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from container.modeling.optimization.observing import ObservedEpoch
from container.modeling.overrides import to_text
from container.modeling.settings import ContainerSettings
from container.modeling.tracking.confusion_picture import confusion_png
from container.modeling.tracking.shown import shown_epoch, shown_results, shown_settings
from container.modeling.tracking.tracker import Results
from container.report import facts

logger = logging.getLogger(__name__)

JOB_TAG = "training_job"
MODEL_FOLDER = "model"
# Before the request itself fails. What a server does with a model that it got takes longer.
SECONDS, MODEL_SECONDS, RETRIES = 5, 120, 1
# MLflow waits two minutes for each answer, asks seven times, tells its makers of its use, and prints to the log; git,
# which it looks for, is not in the image.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": f"{SECONDS}",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": f"{RETRIES}",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
SHOWN_FILES = (
    facts.METRICS_FILE,
    facts.HISTORY_FILE,
    facts.PREDICTIONS_FILE,
    facts.DIAGNOSTICS_FILE,
    facts.REPORT_FILE,
    facts.CLASSES_FILE,
    facts.CONFIG_FILE,
)


class MlflowRun:
    """The run of a training job."""

    name = "MLflow"
    extra = "mlflow"

    def __init__(self, settings: ContainerSettings, job: str, model: keras.Model) -> None:
        self._settings, self._job, self._model = settings, job, model
        self._client: Any = None
        self._run = ""
        self._is_new = True

    @property
    def remedy(self) -> str:
        """What to look at where it does not work."""
        return (
            f"does tracking.mlflow_uri={self._settings.tracking.mlflow_uri} answer from where the job runs, and has "
            "tracking.secret its MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN?"
        )

    def begin(self) -> None:
        """Begin the run, or go on in that of this job."""
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.entities import Param
        from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH, MAX_PARAMS_TAGS_PER_BATCH

        # They warn of each attempt, and of what a model could have beside its weights.
        for chatty in ("mlflow", "urllib3"):
            logging.getLogger(chatty).setLevel(logging.ERROR)
        tracking = self._settings.tracking
        self._client = MlflowClient(tracking_uri=tracking.mlflow_uri)
        found = self._client.get_experiment_by_name(tracking.mlflow_experiment)
        experiment = found.experiment_id if found else self._client.create_experiment(tracking.mlflow_experiment)
        self._run = self._earlier_run(experiment)
        self._is_new = not self._run
        if self._is_new:
            tags = {JOB_TAG: self._job} if self._job else {}
            run = self._client.create_run(experiment, tags=tags, run_name=self._job or None)
            self._run = run.info.run_id
        else:
            self._client.update_run(self._run, status="RUNNING")
        parameters = [
            Param(_allowed(name), to_text(value)[:MAX_PARAM_VAL_LENGTH])
            for name, value in shown_settings(self._settings).items()
        ]
        for begin in range(0, len(parameters), MAX_PARAMS_TAGS_PER_BATCH):
            self._client.log_batch(self._run, params=parameters[begin : begin + MAX_PARAMS_TAGS_PER_BATCH])
        uri = tracking.mlflow_uri.rstrip("/")
        logger.info("MLflow shows this job at %s/#/experiments/%s/runs/%s", uri, experiment, self._run)

    def before_steps(self, first: int, count: int) -> None:
        """MLflow shows no steps."""

    def log_epoch(self, epoch: ObservedEpoch) -> None:
        """Show an epoch, and those before it where the run has none of them, since a checkpoint was gone on from."""
        rows = epoch.history.epochs if self._is_new else (epoch.row,)
        self._is_new = False
        for row in rows:
            self._log(shown_epoch(row), row.epoch)

    def abandon(self) -> None:
        """Nothing of it holds up the end of the process."""

    def finish(self, results: Results | None) -> None:
        """Show the results and the model, and end the run."""
        if results is None:
            self._client.set_terminated(self._run, "FAILED")
            return
        self._log(shown_results(results.metrics), results.metrics.best_epoch.epoch)
        for name in SHOWN_FILES:
            if (results.folder / name).is_file():
                self._client.log_artifact(self._run, str(results.folder / name))
        with tempfile.TemporaryDirectory() as folder:
            picture = Path(folder, "confusion_matrix.png")
            classes = [scores.name for scores in results.metrics.classes]
            picture.write_bytes(confusion_png(np.array(results.metrics.confusion_matrix), classes))
            self._client.log_artifact(self._run, str(picture))
            self._log_model(Path(folder, MODEL_FOLDER))
        self._client.set_terminated(self._run, "KILLED" if results.metrics.stopped else "FINISHED")

    def _earlier_run(self, experiment: str) -> str:
        if not self._job:
            return ""
        found = self._client.search_runs([experiment], f"tags.{JOB_TAG} = '{self._job}'", max_results=1)
        return str(found[0].info.run_id) if found else ""

    def _log(self, figures: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(
            self._run, metrics=[Metric(_allowed(name), value, now, step) for name, value in figures.items()]
        )

    def _log_model(self, folder: Path) -> None:
        import mlflow.keras

        # With the versions given, MLflow need not load the model in another process to find them.
        versions = [f"keras=={keras.__version__}", f"tensorflow=={tf.__version__}"]
        mlflow.keras.save_model(self._model, str(folder), pip_requirements=versions)
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = f"{MODEL_SECONDS}"
        self._client.log_artifacts(self._run, str(folder), MODEL_FOLDER)


def _allowed(name: str) -> str:
    """Return a name with what MLflow does not take in one replaced.

    https://mlflow.org/docs/latest/api_reference/rest-api.html#log-metric
    """
    return re.sub(r"[^\w.:/ -]", "_", name)[:250]
