"""A training as trackers see it: made-up epochs, a real model, real results."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import keras
import numpy as np
import pytest

from container.modeling.artifacts import write_judgement
from container.modeling.evaluate import predictions
from container.modeling.job import Job, OptMl
from container.modeling.optimization.history import History
from container.modeling.optimization.measures import Measured
from container.modeling.optimization.observing import ObservedEpoch
from container.modeling.optimization.predictor import Outputs
from container.modeling.optimization.steps import Totals
from container.modeling.overrides import override
from container.modeling.settings import ContainerSettings
from container.modeling.stopping import Stop
from container.modeling.tracking.trackers import Trackers, open_trackers
from container.report import facts
from container.report.judging import judge

CLASSES = ("bright", "dark", "<b>striped</b>")
STEPS = 3
LABELS = np.array([0, 1, 2, 2], np.int32)
SAID = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.8, 0.1, 0.1]], np.float32)


class InterruptedTrainingError(Exception):
    """The training ends amid."""


def follow(
    base: Path,
    assignments: Mapping[str, str],
    name: str = "job-1",
    epochs: range = range(1, 4),
    ends_amid: bool = False,
    is_stopped: bool = False,
) -> Path:
    """Show a training to the trackers of these settings; return the folder of its model.

    Args:
        base: stands for /opt/ml.
        assignments: settings by name.
        name: of the training job.
        epochs: that are trained; those before are known from a checkpoint.
        ends_amid: whether an error ends it after them.
        is_stopped: whether the job is asked to stop after them.
    """
    settings = override(ContainerSettings(), {"image.height": "8", "image.width": "8", **assignments})
    opt_ml = OptMl(base)
    job = Job(opt_ml, name, {}, (), (), (), ("algo-1",), "algo-1", "ml.c5.xlarge")
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3, "softmax")])
    history = History(epochs=tuple(map(row_of, range(1, epochs.start))))
    stop = Stop()
    with suppress(InterruptedTrainingError), open_trackers(settings, job, model, CLASSES, stop) as trackers:
        for number in epochs:
            history = _train_epoch(trackers, model, history, number)
        stop.requested = is_stopped
        if ends_amid:
            raise InterruptedTrainingError
        trackers.finish(_write(opt_ml.model_dir, model, settings, history, name), opt_ml.model_dir)
    return opt_ml.model_dir


def row_of(number: int) -> facts.Epoch:
    """Return what an epoch came to."""
    return facts.Epoch(
        epoch=number,
        phase=1,
        seconds=0.5,
        learning_rate=0.001,
        loss=1 / number,
        accuracy=1 - 1 / number,
        val_loss=2 / number,
        val_accuracy=0.75,
        val_f1=0.7,
        gradient_norm=1.5,
    )


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the trackers warned of."""
    return [record.getMessage() for record in caplog.records if ".tracking." in record.name and record.levelno > 20]


def _train_epoch(trackers: Trackers, model: keras.Model, history: History, number: int) -> History:
    trackers.before_steps((number - 1) * STEPS + 1, STEPS)
    model(np.zeros((2, 8, 8, 3), np.float32))
    history = history.model_copy(update={"epochs": (*history.epochs, row_of(number))})
    outputs = Outputs(SAID, LABELS, (), len(CLASSES))
    totals = Totals(1 / number, 0.5, Measured(0.1, 1.5, 1.5, (), None))
    trackers.after_epoch(ObservedEpoch(row_of(number), history, totals, outputs))
    return history


def _write(folder: Path, model: keras.Model, settings: ContainerSettings, history: History, name: str) -> facts.Metrics:
    judged = judge(LABELS, SAID, CLASSES, settings.evaluation)
    metrics = facts.Metrics(
        **judged.model_dump(),
        training_job=name,
        validation=judged,
        training_images=9,
        validation_images=4,
        evaluation_images=4,
        parameters=model.count_params(),
        monitor="val_loss",
        best_epoch=history.epochs[-1],
        epochs=len(history.epochs),
        stopped=False,
        own_metrics={"distance (px)": 2.5},
        class_counts={"training": (3, 3, 3)},
        data_fingerprint="",
        seconds=1.0,
        instance_type="",
        hosts=1,
        devices=1,
        versions={},
    )
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / facts.KERAS_FILE)
    (folder / facts.CONFIG_FILE).write_text(settings.model_dump_json(), encoding="utf-8")
    names = tuple(f"{number}.png" for number in range(len(LABELS)))
    predicted = predictions("evaluation", names, LABELS, SAID, CLASSES)
    write_judgement(folder, metrics, history.epochs, predicted, facts.Diagnostics(rules=(), findings=()))
    (folder / facts.REPORT_FILE).write_text("<h1>How it went</h1>", encoding="utf-8")
    return metrics
