"""The same training by one instance, and by two with half the batch each, launched at the command line."""

import json
import re
from pathlib import Path

import pytest

from container.report import facts
from tests.project import Project

# Nothing is drawn by chance, and each step has as many images on both instances.
EXACT = {
    "model.head": "[[4, 0.0]]",
    "training.epochs": "3",
    "training.monitor": "val_loss",
    "distribution.synchronized_batch_normalization": "true",
}
ONE = {"training.batch_size": "6"}
TWO = {"training.batch_size": "3", "training_job.instance_count": "2"}


def assert_same_training(project: Project) -> None:
    """Train a project's 12 images of shades twice, and compare what came of it."""
    one, two = (_results(project, settings) for settings in (ONE, TWO))
    job = project.client("sagemaker").describe_training_job(TrainingJobName=two.name)
    assert job["ResourceConfig"]["InstanceCount"] == 2
    rows = zip(*(facts.read_history(results / facts.HISTORY_FILE) for results in (one, two)), strict=True)
    for expected, found in rows:
        values = found.model_dump(exclude=facts.DURATIONS)
        assert values == pytest.approx(expected.model_dump(exclude=facts.DURATIONS), rel=1e-4, abs=1e-5)
    predictions = (facts.Predictions.read(results / facts.PREDICTIONS_FILE).rows for results in (one, two))
    for expected_row, found_row in zip(*predictions, strict=True):
        assert found_row.path == expected_row.path
        assert found_row.probabilities == pytest.approx(expected_row.probabilities, abs=1e-3)


def _results(project: Project, settings: dict[str, str]) -> Path:
    before = set((project.root / "results").glob("*"))
    chosen = [part for name, value in (EXACT | settings).items() for part in ("--set", f"{name}={value}")]
    done = project.manage_local("--launch_training", "--download_results", *chosen)
    (results,) = set((project.root / "results").glob("*")) - before
    # Only the first instance tells how training goes.
    assert len(re.findall("^epoch=3 ", done.stdout, re.MULTILINE)) == 1, done.stdout
    assert json.loads((results / facts.METRICS_FILE).read_text())["training_images"] == 12
    return results
