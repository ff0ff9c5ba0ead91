"""How long a training job takes to start and to end, against a plain Keras program that does the same.

    python benchmarks/startup.py

Both train the same networks for one step on 32 images, validate, write the model in its three formats and evaluate it:
`baseline` on grey images of 16x16 pixels, `fine_tune` (MobileNetV2, random weights) on photos of 224x224. What remains
of a training that is so short is imports, tracing, opening files and writing the model. The programs run by turns; the
figures are in seconds from the start of the process, each the least of the rounds, since all that disturbs them makes
them longer. The ratios should be at most 1.1.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
ROUNDS = 4
CLASSES = ("one", "other")
CHANNELS = {"training": 32, "validation": 32, "evaluation": 32}
NETWORKS: Mapping[str, Mapping[str, str]] = {
    "baseline": {"model.name": "baseline", "image.height": "16", "image.width": "16", "image.channels": "1"},
    "fine_tune": {"model.name": "fine_tune", "fine_tuning.weights": "none", "fine_tuning.epochs": "0"},
}

PLAIN_KERAS = """\
import sys
import keras
sys.path.insert(0, sys.argv[1])
from container.modeling.job import Job, OptMl
from container.modeling.networks.models import build_model
from container.modeling.overrides import override
from container.modeling.settings import ContainerSettings

opt_ml = OptMl.from_environment()
settings = override(ContainerSettings(), Job.read(opt_ml).hyperparameters)
image = settings.image

def images(channel):
    return keras.utils.image_dataset_from_directory(
        opt_ml.channel_dir(channel), image_size=(image.height, image.width), batch_size=settings.training.batch_size,
        color_mode="grayscale" if image.channels == 1 else "rgb", label_mode="categorical", verbose=False,
    )

training, validation, evaluation = map(images, ("training", "validation", "evaluation"))
model = build_model(settings, len(training.class_names))
model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
model.fit(training, validation_data=validation, verbose=0)
print("epoch=1", flush=True)
opt_ml.model_dir.mkdir()
model.save(opt_ml.model_dir / "model.keras")
model.save(opt_ml.model_dir / "model.h5")
model.export(opt_ml.model_dir / "checkpoint", verbose=False)
model.evaluate(evaluation, verbose=0)
"""


@dataclass(frozen=True)
class Times:
    """When a program came how far, in seconds from its start."""

    first_step: float
    """Its first step was taken, and validated."""
    end: float


def main() -> None:
    """Print the figures of both networks, and the time of importing TensorFlow."""
    with tempfile.TemporaryDirectory() as folder:
        for name, settings in NETWORKS.items():
            job = lay_out(Path(folder) / name, settings)
            ours, plain, imports = [], [], []
            for number in range(ROUNDS):
                ours.append(measure([sys.executable, str(REPOSITORY / "container/train")], job, f"ours-{number}"))
                keras = [sys.executable, "-c", PLAIN_KERAS, str(REPOSITORY)]
                plain.append(measure(keras, job, f"keras-{number}"))
                imports.append(measure([sys.executable, "-c", "import tensorflow"], job, f"import-{number}"))
            print(f"{name}: importing TensorFlow {min(times.end for times in imports):.2f} s")
            report("first step", [times.first_step for times in ours], [times.first_step for times in plain])
            report("whole job", [times.end for times in ours], [times.end for times in plain])


def report(what: str, ours: Sequence[float], plain: Sequence[float]) -> None:
    """Print the least times and their ratio."""
    ratio = min(ours) / min(plain)
    print(f"  {what}: ours {min(ours):.2f} s, plain Keras {min(plain):.2f} s, ratio {ratio:.2f}", flush=True)


def measure(command: Sequence[str], job: Path, name: str) -> Times:
    """Run a program on a copy of the job's folder, which shares its images.

    Raises:
        SystemExit: the program failed; its output is shown.
    """
    base = job.parent / f"{job.name}-{name}"
    base.mkdir()
    (base / "input").symlink_to(job / "input")
    environment = {"SAGEMAKER_BASE_DIR": str(base), "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}
    lines: list[str] = []
    first_step = 0.0
    began = time.monotonic()
    with subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch=1"):
                first_step = time.monotonic() - began
            lines.append(line)
    end = time.monotonic() - began
    if process.returncode:
        sys.exit("".join(lines) + f"\n{name} failed")
    return Times(first_step, end)


def lay_out(base: Path, settings: Mapping[str, str]) -> Path:
    """Lay out a job as SageMaker lays out /opt/ml, with images of noise; return its folder."""
    random = np.random.default_rng(0)
    is_grey = settings.get("image.channels") == "1"
    for channel, count in CHANNELS.items():
        for number in range(count):
            folder = base / "input/data" / channel / CLASSES[number % len(CLASSES)]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = random.integers(0, 256, (16, 16) if is_grey else (300, 400, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.{'png' if is_grey else 'jpg'}")
    configuration = {
        "hyperparameters": {**settings, "training.epochs": "1", "training.batch_size": "32"},
        "inputdataconfig": {channel: {"TrainingInputMode": "File"} for channel in CHANNELS},
        "resourceconfig": {"hosts": ["algo-1"], "current_host": "algo-1", "current_instance_type": "local"},
    }
    (base / "input/config").mkdir()
    for name, content in configuration.items():
        (base / "input/config" / f"{name}.json").write_text(json.dumps(content))
    return base


if __name__ == "__main__":
    main()
