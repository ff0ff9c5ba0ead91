"""Several hosts, or several devices of one, train one model; only the first host writes it."""

import json
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import keras
import numpy as np
import pytest

from container.modeling.job import OptMl
from container.modeling.train import run_job
from container.report import facts
from tests.container.jobs import TINY, failure_reason, lay_out, lay_out_hosts, start

pytestmark = pytest.mark.slow

# Two hosts with half the batch do what one does: every step has as many images on both, and nothing is drawn.
EXACT: Mapping[str, str] = TINY | {
    "model.head": "[[8, 0.0]]",
    "training.batch_size": "6",
    "training.epochs": "3",
    "training.monitor": "val_loss",
    "distribution.synchronized_batch_normalization": "true",
}
ONE_HOST = EXACT | {"training.batch_size": "12"}
# Everything that is drawn by chance, steps of unequal parts, and another number of images on each host.
RANDOM: Mapping[str, str] = TINY | {
    "training.batch_size": "5",
    "training.learning_rate": "0.0005",
    "augmentation.layers": '{"RandomFlip": {}, "MixUp": {}}',
    "optimizer.clip_norm": "0.5",
    "distribution.learning_rate_scaling": "linear",
    "loss.balance": "class_weights",
}
LONG = RANDOM | {"training.epochs": "9999", "training.patience": "0", "checkpoints.every_minutes": "0.001"}


@pytest.fixture(scope="module")
def one_host(tmp_path_factory: pytest.TempPathFactory) -> OptMl:
    """A finished job of one host with one device."""
    opt_ml = lay_out(tmp_path_factory.mktemp("one host"), ONE_HOST)
    run_job(opt_ml)
    return opt_ml


class Hosts:
    """The programs of a job's two hosts."""

    def __init__(self, opt_mls: tuple[OptMl, OptMl]) -> None:
        name = f"test-{uuid.uuid4()}"
        self.opt_mls = opt_mls
        self.programs = [start(opt_ml, TRAINING_JOB_NAME=name) for opt_ml in opt_mls]

    def end(self, seconds: float = 120) -> list[str]:
        """Wait for both, and return their logs."""
        return [program.communicate(timeout=seconds)[0] for program in self.programs]

    def close(self) -> None:
        for program in self.programs:
            program.kill()
            program.communicate()

    def wait_for_checkpoint(self, number: int) -> None:
        while not any(int(path.name[11:19]) >= number for path in self.opt_mls[0].checkpoints_dir.glob("checkpoint-*")):
            assert all(program.poll() is None for program in self.programs), self.end()
            time.sleep(0.05)


@pytest.fixture
def run_hosts() -> Iterator[list[Hosts]]:
    """Holds what a test started."""
    started: list[Hosts] = []
    yield started
    for hosts in started:
        hosts.close()


def started(run_hosts: list[Hosts], opt_mls: tuple[OptMl, OptMl]) -> Hosts:
    hosts = Hosts(opt_mls)
    run_hosts.append(hosts)
    return hosts


def assert_same_model(found: OptMl, expected: OptMl) -> None:
    histories = [facts.read_history(opt_ml.model_dir / facts.HISTORY_FILE) for opt_ml in (found, expected)]
    for row, expected_row in zip(*histories, strict=True):
        values, expected_values = (each.model_dump(exclude=facts.DURATIONS) for each in (row, expected_row))
        assert values == pytest.approx(expected_values, rel=1e-4, abs=1e-5)
    models = [keras.models.load_model(opt_ml.model_dir / facts.KERAS_FILE) for opt_ml in (found, expected)]
    for weights, expected_weights in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(weights, expected_weights, rtol=1e-3, atol=1e-4)
    predictions = [facts.Predictions.read(opt_ml.model_dir / facts.PREDICTIONS_FILE) for opt_ml in (found, expected)]
    for prediction, expected_prediction in zip(predictions[0].rows, predictions[1].rows, strict=True):
        assert prediction.path == expected_prediction.path
        assert prediction.probabilities == pytest.approx(expected_prediction.probabilities, abs=1e-3)


def test_two_hosts_do_what_one_with_twice_the_batch_does(
    run_hosts: list[Hosts], one_host: OptMl, tmp_path: Path
) -> None:
    hosts = started(run_hosts, lay_out_hosts(tmp_path, EXACT))
    logs = hosts.end()
    assert [program.returncode for program in hosts.programs] == [0, 0], logs
    first, second = hosts.opt_mls
    assert_same_model(first, one_host)
    # The other host computed the same, and left the writing to the first one.
    epochs = [re.sub(r" seconds=\S+", "", "\n".join(re.findall(r"^epoch=.*", log, re.MULTILINE))) for log in logs]
    assert epochs[0]
    assert not epochs[1]
    assert [path for folder in (second.model_dir, second.checkpoints_dir) for path in folder.glob("*")] == []


@pytest.mark.long
def test_two_devices_of_a_host_do_what_one_with_twice_the_batch_does(one_host: OptMl, tmp_path: Path) -> None:
    opt_ml = lay_out(tmp_path, EXACT)
    # Cut in two, the processor stands for two GPUs.
    program = """
import sys
from pathlib import Path
import tensorflow as tf
(processor,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
from container.modeling.job import OptMl
from container.modeling.train import run_job
run_job(OptMl(Path(sys.argv[1])))
"""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", program, str(opt_ml.base)], cwd=root, check=True, timeout=120)
    assert_same_model(opt_ml, one_host)


@pytest.mark.long
def test_hosts_that_have_different_images_train_one_model_of_all_classes(
    run_hosts: list[Hosts], tmp_path: Path
) -> None:
    opt_mls = lay_out_hosts(tmp_path, RANDOM, sharded=("training", "evaluation"))
    # A class of which one host has no image.
    for path in (opt_mls[1].channel_dir("training") / "dark").iterdir():
        path.unlink()
    hosts = started(run_hosts, opt_mls)
    logs = hosts.end()
    assert [program.returncode for program in hosts.programs] == [0, 0], logs
    model_dir = opt_mls[0].model_dir
    metrics = facts.Metrics.read(model_dir / facts.METRICS_FILE)
    assert [scores.name for scores in metrics.classes] == ["bright", "dark", "striped"]
    assert (metrics.training_images, metrics.validation_images, metrics.evaluation_images) == (30, 12, 12)
    # The rate is that of both hosts together.
    assert facts.read_history(model_dir / facts.HISTORY_FILE)[0].learning_rate == pytest.approx(0.001)
    predicted = facts.Predictions.read(model_dir / facts.PREDICTIONS_FILE)
    for name in ("validation", "evaluation"):
        paths = predicted.of_set(name).paths
        assert len(set(paths)) == len(paths) == 12


def test_hosts_that_should_have_the_same_images_but_have_not_are_told_so(
    run_hosts: list[Hosts], tmp_path: Path
) -> None:
    opt_mls = lay_out_hosts(tmp_path)
    next((opt_mls[1].channel_dir("validation") / "dark").iterdir()).unlink()
    hosts = started(run_hosts, opt_mls)
    hosts.end()
    assert [program.returncode for program in hosts.programs] == [1, 1]
    reason = failure_reason(opt_mls[0])
    assert reason.startswith("127.0.0.2 has other images of the channel 'validation' than 127.0.0.1")


@pytest.mark.long
def test_a_lost_host_ends_the_other_and_the_next_run_goes_on(run_hosts: list[Hosts], tmp_path: Path) -> None:
    opt_mls = lay_out_hosts(tmp_path, LONG)
    hosts = started(run_hosts, opt_mls)
    hosts.wait_for_checkpoint(5)
    hosts.programs[1].kill()
    hosts.programs[0].communicate(timeout=60)
    assert hosts.programs[0].returncode == 1
    assert failure_reason(opt_mls[0]).startswith("another host of the job is gone")
    behind = json.loads(re.sub(r".*-epoch-0*(\d+)-.*", r"\1", sorted(opt_mls[0].checkpoints_dir.iterdir())[-1].name))
    # SageMaker gives every host of the new job what the first one of the old one left, or here only the first one.
    hosts = started(run_hosts, opt_mls)
    hosts.wait_for_checkpoint(12)
    for program in hosts.programs:
        program.send_signal(signal.SIGTERM)
    logs = hosts.end()
    assert [program.returncode for program in hosts.programs] == [0, 0], logs
    assert f"resumed_epoch={behind + 1} " in logs[0]
    metrics = facts.Metrics.read(opt_mls[0].model_dir / facts.METRICS_FILE)
    assert metrics.stopped
    assert metrics.epochs >= behind


@pytest.mark.long
def test_a_host_that_is_silent_counts_as_lost(run_hosts: list[Hosts], tmp_path: Path) -> None:
    hosts = started(run_hosts, lay_out_hosts(tmp_path, LONG))
    hosts.wait_for_checkpoint(3)
    # As if its network were cut: what it had open stays open.
    hosts.programs[1].send_signal(signal.SIGSTOP)
    hosts.programs[0].communicate(timeout=60)
    assert hosts.programs[0].returncode == 1
    assert failure_reason(hosts.opt_mls[0]).startswith("another host of the job is gone")


@pytest.mark.long
def test_one_host_that_is_asked_to_stop_stops_both(run_hosts: list[Hosts], tmp_path: Path) -> None:
    hosts = started(run_hosts, lay_out_hosts(tmp_path, LONG))
    hosts.wait_for_checkpoint(3)
    hosts.programs[1].send_signal(signal.SIGTERM)
    logs = hosts.end()
    assert [program.returncode for program in hosts.programs] == [0, 0], logs
    assert facts.Metrics.read(hosts.opt_mls[0].model_dir / facts.METRICS_FILE).stopped
