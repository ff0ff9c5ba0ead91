"""The trials of a tuning job: what SageMaker adds to them, what it reads in their log, which checkpoints are theirs."""

import json
import re
from pathlib import Path

import pytest

from container.modeling.job import Job, OptMl
from container.modeling.optimization.history import History
from container.modeling.settings import Training
from container.report.facts import Epoch
from tests.container.jobs import TINY, lay_out, run

TEMPLATE = Path(__file__).resolve().parents[2] / "training-job-config-template.json"
ADDED = {"_tuning_objective_metric": "best_val_accuracy"}


def read(base: Path, hyperparameters: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setenv("TRAINING_JOB_NAME", name)
    return Job.read(lay_out(base, hyperparameters))


def test_what_sagemaker_adds_is_no_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = read(tmp_path, {"training.epochs": "3"} | ADDED, "trial-1", monkeypatch)
    assert job.hyperparameters == {"training.epochs": "3"}
    assert job.is_trial


def test_each_trial_has_checkpoints_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [read(tmp_path / name, ADDED, name, monkeypatch).checkpoints_dir for name in ("trial-1", "trial-2")]
    assert folders == [tmp_path / name / "checkpoints" / name for name in ("trial-1", "trial-2")]


def test_a_job_that_is_no_trial_keeps_them_where_sagemaker_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read(tmp_path, {}, "job", monkeypatch).checkpoints_dir == tmp_path / "checkpoints"


def test_sagemaker_reads_the_best_epoch_last() -> None:
    """Its objective is the last value that a metric's regular expression finds."""
    definitions = json.loads(TEMPLATE.read_text())["AlgorithmSpecification"]["MetricDefinitions"]
    history, log = History(), []
    for number, accuracy, loss in ((1, 0.5, 0.9), (2, 0.875, 0.25), (3, 0.75, 0.5)):
        epoch = Epoch(
            epoch=number,
            phase=1,
            seconds=1.0,
            learning_rate=0.1,
            loss=loss,
            accuracy=accuracy,
            val_loss=loss,
            val_accuracy=accuracy,
            val_f1=accuracy,
        )
        history = history.with_epoch(epoch, Training())
        log.append(history.line(3))
    lines = "\n".join(log)
    found = {item["Name"]: [float(value) for value in re.findall(item["Regex"], lines)] for item in definitions}
    assert found["val_accuracy"] == [0.5, 0.875, 0.75]
    assert found["best_val_accuracy"] == [0.5, 0.875, 0.875]
    assert found["best_val_f1"][-1] == 0.875
    assert found["best_val_loss"][-1] == 0.25


@pytest.mark.slow
@pytest.mark.long
def test_a_trial_goes_on_from_no_other_trials_checkpoints(tmp_path: Path) -> None:
    """SageMaker fetches the checkpoints of all trials, since they have one CheckpointConfig."""
    opt_ml = lay_out(tmp_path, TINY | ADDED)
    (others := opt_ml.checkpoints_dir / "another-trial").mkdir(parents=True)
    (others / "checkpoint-00000001-epoch-00001-step-00000000.npz").write_bytes(b"of another trial")
    code, log = run(opt_ml)
    assert code == 0, log
    assert re.search(r"^epoch=1 epochs=2 ", log, re.MULTILINE)
    assert re.search(r"\bbest_val_accuracy=", log)
    assert [path.read_bytes() for path in others.iterdir()] == [b"of another trial"]
    assert list((OptMl(tmp_path).checkpoints_dir / "test-job").glob("checkpoint-*.npz"))
