"""The example for photos, fine-tuned from start to end on real ones, where they lie beside the project."""

import re
import tarfile
from pathlib import Path

import pytest

from container.report import facts
from tests.project import ROOT, Project

PHOTOS = ROOT.parent / "shared/data/photos-200.tar"


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(not PHOTOS.is_file(), reason=f"needs photos in class folders, as {PHOTOS.name} in ../shared/data")
def test_photos_are_fine_tuned_from_start_to_end(project: Project) -> None:
    with tarfile.open(PHOTOS) as archive:
        archive.extractall(project.root / "data", filter="data")
    (folder,) = (project.root / "data").iterdir()
    config = ("--config", "container/modeling/config_flowers.py", "--set", f"data.directory=data/{folder.name}")
    split = project.run("data_handler.py", *config)
    assert split.returncode == 0, split.stderr
    # What is downloaded from ImageNet cannot be had everywhere; nor need the network become a good one.
    quick = {"fine_tuning.weights": "none", "training.epochs": 2, "fine_tuning.epochs": 2, "schedule.warmup_epochs": 0}
    settings = [word for name, value in quick.items() for word in ("--set", f"{name}={value}")]
    commands = ("--init_s3_buckets", "--build_and_push_docker_image", "--launch_training", "--download_results")
    shown = project.manage_local(*commands, *config, "--preset", "fine_tune", *settings).stdout
    job = re.search(r"^Training job (\S+)$", shown, re.MULTILINE)
    assert job, shown
    results = Path(project.root, "results", job[1])
    history = facts.read_history(results / facts.HISTORY_FILE)
    assert [row.phase for row in history] == [1, 1, 2, 2]
    metrics = facts.Metrics.read(results / facts.METRICS_FILE)
    assert metrics.evaluation_images > 0
    assert (results / facts.H5_FILE).is_file()
