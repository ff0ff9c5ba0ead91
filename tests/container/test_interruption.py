"""A training job that is interrupted goes on where it was, and ends with the model that it would have had."""

import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from container.modeling.job import OptMl
from container.modeling.optimization.checkpoints import ForeignCheckpointError
from container.modeling.train import run_job
from container.report import facts
from tests.container.jobs import CLASSES, TINY, lay_out, picture, run, start

pytestmark = pytest.mark.slow

# Many small steps, of which some run at once, and a checkpoint in between as often as possible.
LONG: Mapping[str, str] = TINY | {
    "training.batch_size": "2",
    "training.epochs": "6",
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
        values, expected_values = (each.model_dump(exclude=facts.DURATIONS) for each in (row, expected_row))
        assert values == pytest.approx(expected_values, rel=1e-4, abs=1e-5)
    assert metrics.best_epoch.epoch == expected.best_epoch.epoch
    assert metrics.loss == pytest.approx(expected.loss, rel=1e-4)
    assert metrics.confusion_matrix == expected.confusion_matrix


def newest_checkpoint(opt_ml: OptMl) -> str:
    """Return the name of the newest checkpoint, or nothing where there is none."""
    return max((path.stem for path in opt_ml.checkpoints_dir.glob("checkpoint-*.npz")), default="")


def is_amid_an_epoch(checkpoint: str) -> bool:
    return bool(checkpoint) and int(checkpoint.rpartition("-")[2]) > 0


def wait_until_amid_an_epoch(process: subprocess.Popen[str], opt_ml: OptMl) -> None:
    """Wait until a running job has written a checkpoint between two steps of an epoch."""
    first = newest_checkpoint(opt_ml)
    while (newest := newest_checkpoint(opt_ml)) == first or not is_amid_an_epoch(newest):
        assert process.poll() is None, "training ended before it was killed often enough"
        time.sleep(0.002)


@pytest.mark.long
@pytest.mark.slow
def test_killed_ten_times_training_ends_as_if_it_never_was(opt_ml: OptMl, tmp_path: Path) -> None:
    uninterrupted = lay_out_long(tmp_path / "uninterrupted")
    assert run(uninterrupted)[0] == 0
    moments, amid_an_epoch = random.Random(0), 0
    for number in range(10):
        with start(opt_ml) as process:
            assert process.stdout
            begun = next((line for line in process.stdout if line.startswith(("resumed_", "epoch="))), None)
            assert begun, "training ended before it was killed often enough"
            # Every other time wherever it is, which may be the start, the validation or the writing of a file.
            if number % 2:
                time.sleep(moments.uniform(0, 0.3))
            else:
                wait_until_amid_an_epoch(process, opt_ml)
            process.kill()
        amid_an_epoch += is_amid_an_epoch(newest_checkpoint(opt_ml))
    code, log = run(opt_ml)
    assert code == 0, log
    assert amid_an_epoch >= 5
    assert "resumed_epoch=" in log
    assert_same_training(opt_ml, uninterrupted)


@pytest.mark.slow
@pytest.mark.long
def test_asked_to_stop_training_keeps_what_it_has_and_goes_on_from_there(opt_ml: OptMl, tmp_path: Path) -> None:
    uninterrupted = lay_out_long(tmp_path / "uninterrupted")
    assert run(uninterrupted)[0] == 0
    for _ in range(2):
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
        assert len(history) < 6
        # As on a fresh machine, where only the checkpoints are brought back.
        shutil.rmtree(opt_ml.model_dir)
    code, log = run(opt_ml)
    assert code == 0, log
    assert not results(opt_ml)[0].stopped
    assert_same_training(opt_ml, uninterrupted)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> OptMl:
    """A short job that is over, with its checkpoints."""
    opt_ml = lay_out(tmp_path_factory.mktemp("trained"), TINY | {"training.patience": "0"})
    run_job(opt_ml)
    return opt_ml


class TestInOneProcess:
    """What a second run does with the checkpoints of the first."""

    @pytest.fixture
    def finished(self, trained: OptMl, tmp_path: Path) -> OptMl:
        return OptMl(shutil.copytree(trained.base, tmp_path / "finished"))

    def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
        self, finished: OptMl, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder = finished.checkpoints_dir
        first, second = sorted(folder.iterdir())
        content = bytearray(second.read_bytes())
        content[len(content) // 2] ^= 0xFF
        second.write_bytes(content)
        (folder / "checkpoint-00000009-epoch-00001-step-00000000.npz").write_bytes(first.read_bytes()[:999])
        (folder / ".incomplete.npz").write_bytes(b"PK")
        messages = self.messages_of_a_run(finished, caplog)
        assert sum("is damaged and passed over" in message for message in messages) == 2
        assert "resumed_epoch=2 resumed_step=0" in messages
        assert self.epochs(messages) == ["epoch=2"]

    def test_a_finished_training_is_only_judged_again(self, finished: OptMl, caplog: pytest.LogCaptureFixture) -> None:
        before = results(finished)
        shutil.rmtree(finished.model_dir)
        assert self.epochs(self.messages_of_a_run(finished, caplog)) == []
        assert results(finished) == before

    def test_more_epochs_go_on_from_the_old_ones(self, finished: OptMl, caplog: pytest.LogCaptureFixture) -> None:
        messages = self.messages_of_a_run(finished, caplog, {"training.epochs": "4"})
        assert self.epochs(messages) == ["epoch=3", "epoch=4"]

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"model.filters": "[4, 4, 4, 4, 5]"}, "is of another model than the settings ask for"),
            ({"optimizer.name": "sgd"}, "written with optimizer.name=adam, and now it is sgd: set it back"),
            ({"training.monitor": "val_f1"}, "written with training.monitor=val_accuracy"),
        ],
    )
    def test_one_of_another_training_fails_the_job(self, finished: OptMl, changed: dict[str, str], said: str) -> None:
        finished.hyperparameters_file.write_text(json.dumps(dict(TINY | changed)))
        with pytest.raises(ForeignCheckpointError, match="launch a new job, without --resume") as raised:
            run_job(finished)
        assert said in str(raised.value)

    def test_one_of_other_classes_fails_the_job(self, finished: OptMl) -> None:
        for channel in ("training", "validation", "evaluation"):
            folder = finished.channel_dir(channel)
            (folder / "striped").rename(folder / "spotted")
        with pytest.raises(ForeignCheckpointError, match="the training images are of bright, dark, spotted"):
            run_job(finished)

    def test_only_the_newest_are_kept_and_only_as_often_as_asked_for(self, tmp_path: Path) -> None:
        chosen = {"training.epochs": "7", "checkpoints.every_epochs": "2", "checkpoints.keep": "2"}
        opt_ml = lay_out(tmp_path, TINY | chosen | {"training.patience": "0"})
        run_job(opt_ml)
        kept = sorted(path.name for path in opt_ml.checkpoints_dir.iterdir())
        assert kept == [f"checkpoint-0000000{number}-epoch-0000{2 * number}-step-00000000.npz" for number in (2, 3)]

    def test_none_are_written_where_none_are_asked_for(self, tmp_path: Path) -> None:
        opt_ml = lay_out(tmp_path, TINY | {"checkpoints.every_epochs": "0", "checkpoints.every_minutes": "0"})
        run_job(opt_ml)
        assert not opt_ml.checkpoints_dir.exists()

    def messages_of_a_run(
        self, opt_ml: OptMl, caplog: pytest.LogCaptureFixture, changed: Mapping[str, str] | None = None
    ) -> list[str]:
        if changed:
            opt_ml.hyperparameters_file.write_text(json.dumps(dict(TINY | {"training.patience": "0"} | changed)))
        caplog.clear()
        with caplog.at_level("INFO"):
            run_job(opt_ml)
        return caplog.messages

    def epochs(self, messages: list[str]) -> list[str]:
        return [message.split()[0] for message in messages if message.startswith("epoch=")]
