"""A run of Weights & Biases: settings, figures of each epoch, results and model; also without a network.

Its id is the training job's name: a job that was interrupted goes on in the run that it began.
"""

import logging
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from container.modeling.optimization.observing import ObservedEpoch
from container.modeling.settings import ContainerSettings
from container.modeling.tracking.confusion_picture import confusion_png
from container.modeling.tracking.shown import shown_epoch, shown_results, shown_settings
from container.modeling.tracking.tracker import Results
from container.report import facts

logger = logging.getLogger(__name__)

OFFLINE_FOLDER = "wandb"
# By itself, W&B asks for days. Here the request that opens a run waits so long, and is sent once more.
REQUEST_SECONDS, RETRIES, INIT_SECONDS = 5.0, 1, 20.0
# Figures of epochs are sent so often while a server is away for a moment.
STREAM_RETRIES = 5
# The program that sends what is logged.
SERVICE = "wandb-core"
# What the end of a run waits for.
FINISH_SECONDS = 60.0
# Its reports of its own errors to its makers hold up the end of a program where there is no network.
ENVIRONMENT = {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false", "GIT_PYTHON_REFRESH": "quiet"}
SHOWN_FILES = (
    facts.METRICS_FILE,
    facts.HISTORY_FILE,
    facts.PREDICTIONS_FILE,
    facts.DIAGNOSTICS_FILE,
    facts.REPORT_FILE,
    facts.CONFIG_FILE,
)


class WandbRun:
    """The run of a training job."""

    name = "Weights & Biases"
    extra = "wandb"

    def __init__(self, settings: ContainerSettings, job: str) -> None:
        self._settings, self._job = settings, job
        self._run: Any = None
        self._folder: Any = None
        self._is_new = True

    @property
    def remedy(self) -> str:
        """What to look at where it does not work."""
        return (
            "has tracking.secret a WANDB_API_KEY (and WANDB_BASE_URL, for a server of your own), and does that server "
            "answer from where the job runs? tracking.wandb_mode=offline needs neither"
        )

    def begin(self) -> None:
        """Begin the run, or go on in that of this job."""
        os.environ.update(ENVIRONMENT)
        import wandb

        # What it logs of its errors is raised as well.
        logging.getLogger("wandb").setLevel(logging.CRITICAL)
        tracking = self._settings.tracking
        # The run's files are not in the model's folder before they are whole.
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._run = wandb.init(
            project=tracking.wandb_project,
            entity=tracking.wandb_entity or None,
            id=self._job or None,
            name=self._job or None,
            resume="allow" if tracking.wandb_mode == "online" and self._job else None,
            mode=tracking.wandb_mode,
            dir=self._folder.name,
            config=shown_settings(self._settings),
            settings=_limits(wandb),
        )
        self._is_new = not self._run.resumed
        # Not by W&B's own steps, which only rise: after an interruption an epoch may come once more.
        self._run.define_metric("*", step_metric="epoch")
        if tracking.wandb_mode == "online":
            logger.info("Weights & Biases shows this job at %s", self._run.url)

    def before_steps(self, first: int, count: int) -> None:
        """W&B shows no steps."""

    def log_epoch(self, epoch: ObservedEpoch) -> None:
        """Show an epoch, and those before it where the run has none of them, since a checkpoint was gone on from."""
        rows = epoch.history.epochs if self._is_new else (epoch.row,)
        self._is_new = False
        for row in rows:
            self._run.log({"epoch": row.epoch, **shown_epoch(row)})

    def finish(self, results: Results | None) -> None:
        """Show the results and the model, and end the run; one without a network then lies in the model's folder."""
        if results is None:
            self._run.finish(exit_code=1)
            return
        self._log_results(results)
        self._run.finish()
        if self._settings.tracking.wandb_mode == "offline":
            _keep_offline_runs(Path(self._folder.name, "wandb"), results.folder / OFFLINE_FOLDER)
        self._folder.cleanup()

    def abandon(self) -> None:
        """End W&B's own process: at the end of ours it would wait for it."""
        for child in psutil.Process().children():
            with suppress(psutil.Error):
                if any(SERVICE in Path(word).name for word in child.cmdline()[:2]):
                    child.kill()

    def _log_results(self, results: Results) -> None:
        import wandb

        metrics = results.metrics
        self._run.summary.update(shown_results(metrics))
        picture = Path(self._folder.name, "confusion_matrix.png")
        classes = [scores.name for scores in metrics.classes]
        picture.write_bytes(confusion_png(np.array(metrics.confusion_matrix), classes))
        shown: dict[str, Any] = {"confusion_matrix": wandb.Image(str(picture))}
        report = results.folder / facts.REPORT_FILE
        if report.is_file():
            shown["report"] = wandb.Html(report.read_text(encoding="utf-8"), inject=False)
        self._run.log(shown)
        # Offline they would be kept by paths that mean nothing elsewhere; they lie beside the run in model.tar.gz.
        if self._settings.tracking.wandb_mode == "online":
            for kind, names in (("results", SHOWN_FILES), ("model", (facts.KERAS_FILE,))):
                artifact = wandb.Artifact(f"{self._run.id}-{kind}", type=kind)
                for name in names:
                    if (results.folder / name).is_file():
                        artifact.add_file(str(results.folder / name))
                self._run.log_artifact(artifact)


def _limits(wandb: Any) -> Any:
    return wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        save_code=False,
        init_timeout=INIT_SECONDS,
        login_timeout=REQUEST_SECONDS,
        finish_timeout=FINISH_SECONDS,
        x_graphql_timeout_seconds=REQUEST_SECONDS,
        x_graphql_retry_max=RETRIES,
        x_file_stream_timeout_seconds=REQUEST_SECONDS,
        x_file_stream_retry_max=STREAM_RETRIES,
        x_file_stream_retry_wait_max_seconds=REQUEST_SECONDS,
        x_file_transfer_retry_max=RETRIES,
        x_disable_viewer=True,
    )


def _keep_offline_runs(written: Path, kept: Path) -> None:
    """Move what `wandb sync` reads: not the logs, nor links, which lead out of the archive."""
    for run in written.glob("offline-run-*"):
        target = kept / run.name
        target.mkdir(parents=True)
        for part in (*run.glob("*.wandb"), run / "files"):
            if not part.is_symlink():
                shutil.move(part, target / part.name)
