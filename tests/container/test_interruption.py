"""A training job that is interrupted goes on where it was, and ends with the model that it would have had."""

import json
import random
import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from container.modeling.job import OptMl
from container.report import facts
from tests.container.jobs import CLASSES, TINY, lay_out, picture, run, start

# Many small steps, of which some run at once, and a checkpoint in between as often as possible.
LONG: Mapping[str, str] = TINY | {
    "training.batch_size": "2",
    "training.epochs": "8",
    "training.patience": "0",
    "training.monitor": "val_loss",
    "schedule.name": "cosine",
    "augmentation.layers": '{"RandomFlip": {}, "RandomTranslation": {"height_factor": 0.1, "width_factor": 0.1}}',
    "checkpoints.every_minutes": "0.0001",
}


@pytest.fixture
def opt_ml(tmp_path: Path) -> OptMl:
    return lay_out_long(tmp_path / "interrupted")


def lay_out_long(base: Path, hyperparameters: Mapping[str, str] = LONG) -> OptMl:
    """Lay out a job of 300 steps an epoch."""
    opt_ml = lay_out(base, hyperparameters)
    noise = np.random.default_rng(1)
    for name in CLASSES:
        for number in range(200):
            picture(name, noise).save(opt_ml.channel_dir("training") / name / f"more-{number}.png")
    return opt_ml


def results(opt_ml: OptMl) -> tuple[facts.Metrics, tuple[facts.Epoch, ...]]:
    metrics = facts.Metrics.read(opt_ml.model_dir / facts.METRICS_FILE)
    return metrics, facts.read_history(opt_ml.model_dir / facts.HISTORY_FILE)


def assert_same_training(opt_ml: OptMl, uninterrupted: OptMl) -> None:
    (metrics, history), (expected, expected_history) = results(opt_ml), results(uninterrupted)
    assert len(history) == len(expected_history)
    for row, expected_row in zip(history, expected_history, strict=True):
        values, expected_values = (each.model_dump(exclude={"seconds"}) for each in (row, expected_row))
        assert values == pytest.approx(expected_values, rel=1e-4, abs=1e-5)
    assert metrics.best_epoch.epoch == expected.best_epoch.epoch
    assert metrics.loss == pytest.approx(expected.loss, rel=1e-4)
    assert metrics.confusion_matrix == expected.confusion_matrix


def newest_step(opt_ml: OptMl) -> int:
    """How many steps of the running epoch the newest checkpoint has behind it."""
    names = sorted(path.stem for path in opt_ml.checkpoints_dir.glob("epoch-*.npz"))
    return int(names[-1].rpartition("-")[2]) if names else 0


@pytest.mark.slow
def test_killed_ten_times_training_ends_as_if_it_never_was(opt_ml: OptMl, tmp_path: Path) -> None:
    uninterrupted = lay_out_long(tmp_path / "uninterrupted")
    assert run(uninterrupted)[0] == 0
    moments, amid_an_epoch, kills = random.Random(0), 0, 0
    while kills < 10:
        with start(opt_ml) as process:
            assert process.stdout
            begun = next((line for line in process.stdout if line.startswith(("resumed_", "epoch="))), None)
            assert begun, "training ended before it was killed often enough"
            time.sleep(moments.uniform(0, 0.3))
            process.kill()
        kills += 1
        amid_an_epoch += newest_step(opt_ml) > 0
    code, log = run(opt_ml)
    assert code == 0, log
    assert amid_an_epoch >= 5
    assert "resumed_epoch=" in log
    assert_same_training(opt_ml, uninterrupted)


@pytest.mark.slow
def test_asked_to_stop_training_keeps_what_it_has_and_goes_on_from_there(opt_ml: OptMl, tmp_path: Path) -> None:
    uninterrupted = lay_out_long(tmp_path / "uninterrupted")
    assert run(uninterrupted)[0] == 0
    for _ in range(3):
        with start(opt_ml) as process:
            assert process.stdout
            for line in process.stdout:
                if line.startswith("epoch="):
                    process.send_signal(signal.SIGTERM)
                    break
            process.stdout.read()
        assert process.returncode == 0
        metrics, history = results(opt_ml)
        assert metrics.stopped
        assert len(history) < 8
        # As on a fresh machine, where only the checkpoints are brought back.
        shutil.rmtree(opt_ml.model_dir)
    code, log = run(opt_ml)
    assert code == 0, log
    assert not results(opt_ml)[0].stopped
    assert_same_training(opt_ml, uninterrupted)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    opt_ml = lay_out(tmp_path, TINY | {"checkpoints.keep": "3", "training.patience": "0"})
    assert run(opt_ml)[0] == 0
    first, second = sorted(opt_ml.checkpoints_dir.iterdir())
    content = bytearray(second.read_bytes())
    content[len(content) // 2] ^= 0xFF
    second.write_bytes(content)
    (opt_ml.checkpoints_dir / "epoch-00009-step-00000000.npz").write_bytes(first.read_bytes()[:1000])
    (opt_ml.checkpoints_dir / ".incomplete.npz").write_bytes(b"PK")
    code, log = run(opt_ml)
    assert code == 0, log
    assert log.count("is damaged and passed over") == 2
    assert "resumed_epoch=2 resumed_step=0" in log
    assert [line.split()[0] for line in log.splitlines() if line.startswith("epoch=")] == ["epoch=2"]


def test_only_the_newest_checkpoints_are_kept_and_only_as_often_as_asked_for(tmp_path: Path) -> None:
    chosen = {
        "training.epochs": "7",
        "training.patience": "0",
        "checkpoints.every_epochs": "2",
        "checkpoints.keep": "2",
    }
    opt_ml = lay_out(tmp_path, TINY | chosen)
    assert run(opt_ml)[0] == 0
    assert sorted(path.name[:11] for path in opt_ml.checkpoints_dir.iterdir()) == ["epoch-00004", "epoch-00006"]


def test_without_checkpoints_none_are_written(tmp_path: Path) -> None:
    opt_ml = lay_out(tmp_path, TINY | {"checkpoints.every_epochs": "0", "checkpoints.every_minutes": "0"})
    assert run(opt_ml)[0] == 0
    assert not opt_ml.checkpoints_dir.is_dir() or not list(opt_ml.checkpoints_dir.iterdir())


def test_a_finished_training_is_only_judged_again(tmp_path: Path) -> None:
    opt_ml = lay_out(tmp_path)
    assert run(opt_ml)[0] == 0
    before = results(opt_ml)
    shutil.rmtree(opt_ml.model_dir)
    code, log = run(opt_ml)
    assert (code, "epoch=" in log.replace("resumed_epoch=", "")) == (0, False)
    assert results(opt_ml) == before


def test_more_epochs_go_on_from_the_old_ones(tmp_path: Path) -> None:
    opt_ml = lay_out(tmp_path)
    assert run(opt_ml)[0] == 0
    opt_ml.hyperparameters_file.write_text(json.dumps(dict(TINY | {"training.epochs": "4"})))
    code, log = run(opt_ml)
    assert code == 0, log
    assert [line.split()[:2] for line in log.splitlines() if line.startswith("epoch=")] == [
        [f"epoch={number}", "epochs=4"] for number in (3, 4)
    ]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model.filters": "[4, 4, 4, 4, 5]"}, "another model"),
        ({"optimizer.name": "sgd"}, "another model or optimizer"),
    ],
)
def test_a_checkpoint_of_another_model_fails_the_job(tmp_path: Path, changed: dict[str, str], said: str) -> None:
    opt_ml = lay_out(tmp_path)
    assert run(opt_ml)[0] == 0
    opt_ml.hyperparameters_file.write_text(json.dumps(dict(TINY | changed)))
    code, _ = run(opt_ml)
    assert code == 1
    assert said in opt_ml.failure_file.read_text()
    assert "launch a new job, without --resume" in opt_ml.failure_file.read_text()


def test_a_checkpoint_of_other_classes_fails_the_job(tmp_path: Path) -> None:
    opt_ml = lay_out(tmp_path)
    assert run(opt_ml)[0] == 0
    for channel in ("training", "validation", "evaluation"):
        folder = opt_ml.channel_dir(channel)
        (folder / "striped").rename(folder / "spotted")
    code, _ = run(opt_ml)
    assert code == 1
    assert "the training images are of bright, dark, spotted" in opt_ml.failure_file.read_text()
