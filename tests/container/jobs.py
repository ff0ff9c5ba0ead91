"""Training jobs for the tests: a folder laid out as SageMaker lays out /opt/ml, and the real `train` on it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from container.modeling.job import OptMl

TRAIN = Path(__file__).parents[2] / "container" / "train"
CHANNELS = {"training": 12, "validation": 4, "evaluation": 4}
CLASSES = ("bright", "dark", "striped")
# A network that trains in a moment.
TINY = {
    "image.height": "8",
    "image.width": "8",
    "image.channels": "1",
    "model.filters": "[4, 4, 4, 4, 4]",
    "model.head": "[[8, 0.3]]",
    "training.epochs": "2",
    "training.batch_size": "8",
    # What sagemaker-training's own launchers add.
    "sagemaker_program": "train.py",
}


def lay_out(
    base: Path,
    hyperparameters: Mapping[str, str] = TINY,
    hosts: tuple[str, ...] = ("algo-1",),
    instance_type: str = "ml.c5.xlarge",
) -> OptMl:
    """Lay out a job with images of three classes that are easily told apart."""
    opt_ml = OptMl(base)
    random = np.random.default_rng(0)
    for channel, count in CHANNELS.items():
        for name in CLASSES:
            folder = opt_ml.channel_dir(channel) / name
            folder.mkdir(parents=True)
            for number in range(count):
                picture(name, random).save(folder / f"{number}.png")
    for file, content in (
        (opt_ml.hyperparameters_file, dict(hyperparameters)),
        (opt_ml.channels_file, {name: {"TrainingInputMode": "File"} for name in CHANNELS}),
        (
            opt_ml.resources_file,
            {"current_host": hosts[0], "hosts": list(hosts), "current_instance_type": instance_type},
        ),
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    return opt_ml


def lay_out_hosts(
    base: Path, hyperparameters: Mapping[str, str] = TINY, sharded: tuple[str, ...] = ()
) -> tuple[OptMl, OptMl]:
    """Lay out a job of two hosts that are processes of this machine, as local_aws does.

    Of the sharded channels, every other image is one host's.
    """
    hosts = ("127.0.0.1", "127.0.0.2")
    first, second = (lay_out(base / host, hyperparameters, hosts) for host in hosts)
    resources = json.loads(second.resources_file.read_text())
    second.resources_file.write_text(json.dumps(resources | {"current_host": hosts[1]}))
    channels = {
        name: {"S3DistributionType": "ShardedByS3Key" if name in sharded else "FullyReplicated"} for name in CHANNELS
    }
    for number, opt_ml in enumerate((first, second)):
        opt_ml.channels_file.write_text(json.dumps(channels))
        for name in sharded:
            for position, path in enumerate(sorted(opt_ml.channel_dir(name).glob("*/*"))):
                if position % 2 != number:
                    path.unlink()
    return first, second


def picture(name: str, random: np.random.Generator) -> Image.Image:
    """Return a noisy grey picture of a class, 10 pixels high and 12 wide."""
    pixels = random.integers(0, 60, (10, 12), dtype=np.uint8)
    if name == "bright":
        pixels += 190
    elif name == "striped":
        pixels[:, ::4] += 190
        pixels[:, 1::4] += 190
    return Image.fromarray(pixels)


def copied_program(base: Path, parts: Mapping[str, str] = MappingProxyType({})) -> Path:
    """Copy the container's folder, as an image has it, with modules in its folder for parts; return its `train`."""
    skipped = shutil.ignore_patterns("__pycache__")
    container = Path(shutil.copytree(TRAIN.parent, base / "program" / "container", ignore=skipped))
    for name, content in parts.items():
        (container / "parts" / name).write_text(content, encoding="utf-8")
    return container / "train"


def start(opt_ml: OptMl, program: Path = TRAIN, **variables: str) -> subprocess.Popen[str]:
    """Start `train` on a job, with more environment variables, and both output streams in one."""
    environment = {"PATH": os.environ["PATH"], "SAGEMAKER_BASE_DIR": str(opt_ml.base), "TRAINING_JOB_NAME": "test-job"}
    environment |= variables
    return subprocess.Popen(
        [sys.executable, str(program)],
        env=environment,
        cwd=opt_ml.base,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(opt_ml: OptMl, program: Path = TRAIN) -> tuple[int, str]:
    """Run `train` on a job to its end; return the exit code and the log."""
    with start(opt_ml, program) as process:
        log, _ = process.communicate(timeout=300)
    return process.returncode, log


def failure_reason(opt_ml: OptMl) -> str:
    """Return what DescribeTrainingJob would show."""
    return opt_ml.failure_file.read_text(encoding="utf-8")[:1024]
