"""Real training that is interrupted through the whole local AWS: on spot capacity, and by a stop with `--resume`."""

import re
from collections.abc import Iterable
from typing import Any

import pytest

from container.report import facts
from tests.project import Project

# Long enough to be interrupted, and not by the patience.
SETTINGS = {
    "training.epochs": "300",
    "training.patience": "0",
    "training.monitor": "val_loss",
    "checkpoints.every_epochs": "5",
    "augmentation.layers": '{"RandomBrightness": {"factor": 0.1}}',
    "training_job.spot": "true",
}


@pytest.fixture(scope="module")
def launched(split_project: Project) -> Project:
    split_project.manage_local("--init_s3_buckets", "--build_and_push_docker_image")
    return split_project


def options(settings: dict[str, str]) -> Iterable[str]:
    for name, value in settings.items():
        yield from ("--set", f"{name}={value}")


def trained(project: Project, job: str) -> tuple[facts.Metrics, tuple[dict[str, Any], ...]]:
    """What a job found out, but for the time that it took."""
    project.manage_local("--download_results", job)
    folder = project.root / "results" / job
    history = facts.read_history(folder / facts.HISTORY_FILE)
    return facts.Metrics.read(folder / facts.METRICS_FILE), tuple(
        row.model_dump(exclude=facts.DURATIONS) for row in history
    )


def job_of(shown: str) -> str:
    found = re.search(r"^Training job (\S+)$", shown, re.MULTILINE)
    assert found, shown
    return found[1]


@pytest.mark.slow
@pytest.mark.long
def test_a_job_on_spot_capacity_that_is_taken_away_ends_as_if_it_never_was(launched: Project) -> None:
    uninterrupted = trained(launched, job_of(launched.manage_local("--launch_training", *options(SETTINGS)).stdout))

    following = launched.start("project_manager.py", "--local", "--launch_training", *options(SETTINGS))
    assert following.stdout
    shown = ""
    for line in following.stdout:
        shown += line
        if line.startswith("epoch=20 "):
            launched.manage_local("--interrupt")
            break
    shown += "".join(following.stdout)
    assert following.wait(timeout=60) == 0, shown
    assert re.search(r"^\d\d:\d\d:\d\d Interrupted$", shown, re.MULTILINE), shown
    assert re.search(r"^resumed_epoch=\d+ resumed_step=\d+$", shown, re.MULTILINE), shown
    metrics, history = trained(launched, job_of(shown))
    assert len(history) == len(uninterrupted[1]) == 300
    assert list(history) == [pytest.approx(row, rel=1e-4, abs=1e-6) for row in uninterrupted[1]]
    assert metrics.loss == pytest.approx(uninterrupted[0].loss, rel=1e-4)
    assert not metrics.stopped


@pytest.mark.slow
@pytest.mark.long
def test_a_job_that_was_stopped_is_gone_on_with(launched: Project) -> None:
    following = launched.start("project_manager.py", "--local", "--launch_training", *options(SETTINGS))
    assert following.stdout
    shown = ""
    for line in following.stdout:
        shown += line
        if line.startswith("epoch=20 "):
            launched.manage_local("--stop_training")
            break
    shown += "".join(following.stdout)
    following.wait(timeout=60)
    stopped, _ = trained(launched, job_of(shown))
    assert stopped.stopped
    resumed = launched.manage_local("--resume", job_of(shown), "--set", f"training.epochs={stopped.epochs + 3}").stdout
    assert "resumed_epoch=" in resumed
    metrics, history = trained(launched, job_of(resumed))
    assert (len(history), metrics.stopped) == (stopped.epochs + 3, False)
