"""How good the presets are: the baseline from scratch, and fine-tuning of an earlier model on other classes.

    python benchmarks/accuracy.py IMAGES [baseline] [fine_tuning]

IMAGES is a folder with one sub-folder per class, or a .tar of one; the figures in docs/training.md are of 5,000 of
CIFAR-10's images of 32x32 pixels in ten classes. Each figure is a mean over three seeds, of the data's split as well.

- baseline: 80 % of the images are trained on with the preset `baseline`; 10 % are the evaluation.
- fine_tuning: the baseline learns the first half of the classes from 400 images each, once. Of each of the other
  classes, 50 images are trained on, 50 validate, and the rest is the evaluation; once the head and then all of that
  earlier model are fine-tuned on them, and once the baseline is trained from scratch, for at least the same time.
"""

import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from container.modeling.presets import preset  # noqa: E402

SEEDS = (0, 1, 2)
IMAGE = {"image.height": "32", "image.width": "32"}
FINE_TUNING = {
    "model.name": "fine_tune",
    "fine_tuning.backbone": "pretrained",
    "fine_tuning.weights": "pretrained",
    "fine_tuning.released_layers": "1000",
    "fine_tuning.learning_rate": "1e-3",
    "training.learning_rate": "3e-3",
    "training.epochs": "15",
    "fine_tuning.epochs": "25",
}
Sets = Mapping[str, Mapping[str, Sequence[Path]]]
"""The files of each class in each channel."""


@dataclass(frozen=True)
class Result:
    """What came of a training."""

    accuracy: float
    seconds: float
    """From start to end of `train`."""
    training_seconds: float
    """Of its epochs alone."""
    model: Path


def main(arguments: Sequence[str]) -> None:
    """Measure what is asked for, or everything."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        images = _images(Path(arguments[0]), scratch)
        chosen = arguments[1:] or ("baseline", "fine_tuning")
        if "baseline" in chosen:
            baseline(images, scratch)
        if "fine_tuning" in chosen:
            fine_tuning(images, scratch)


def baseline(images: Mapping[str, Sequence[Path]], scratch: Path) -> None:
    """Print the evaluation accuracy of the preset `baseline` for each seed."""
    results = []
    for seed in SEEDS:
        sets = _split(images, seed, {"training": 0.8, "validation": 0.1, "evaluation": 0.1})
        result = train(sets, preset("baseline") | IMAGE | {"training.seed": str(seed)}, scratch / f"baseline-{seed}")
        print(f"baseline seed {seed}: accuracy {result.accuracy:.4f} in {result.seconds:.0f} s", flush=True)
        results.append(result)
    print(f"baseline: mean accuracy {mean(result.accuracy for result in results):.4f}", flush=True)


def fine_tuning(images: Mapping[str, Sequence[Path]], scratch: Path) -> None:
    """Print how fine-tuning an earlier model compares with training from scratch on few images."""
    names = sorted(images)
    half = len(names) // 2
    earlier_sets = _split({name: images[name] for name in names[:half]}, 0, {"training": 400, "validation": 50})
    settings = preset("baseline") | IMAGE
    earlier = train(earlier_sets | {"evaluation": earlier_sets["validation"]}, settings, scratch / "earlier")
    differences = []
    for seed in SEEDS:
        new = {name: images[name] for name in names[half:]}
        sets = _split(new, seed, {"training": 50, "validation": 50, "evaluation": 0.8})
        own = settings | {"training.seed": str(seed)}
        tuned = train(sets, own | FINE_TUNING, scratch / f"tuned-{seed}", pretrained=earlier.model)
        epochs = int(settings["training.epochs"])
        fresh = train(sets, own, scratch / f"fresh-{seed}")
        if fresh.training_seconds < tuned.training_seconds:
            # Again, with as many more epochs as the time allows.
            epochs = -(-int(epochs * tuned.training_seconds) // max(int(fresh.training_seconds), 1))
            fresh = train(sets, own | {"training.epochs": str(epochs)}, scratch / f"longer-{seed}")
        print(
            f"fine_tuning seed {seed}: accuracy {tuned.accuracy:.4f} in {tuned.training_seconds:.0f} s of training; "
            f"from scratch {fresh.accuracy:.4f} in {fresh.training_seconds:.0f} s",
            flush=True,
        )
        differences.append(tuned.accuracy - fresh.accuracy)
    print(f"fine_tuning: mean gain in accuracy {mean(differences):+.4f}", flush=True)


def train(sets: Sets, settings: Mapping[str, str], base: Path, pretrained: Path | None = None) -> Result:
    """Run the container's `train` on a folder laid out as SageMaker lays out /opt/ml.

    Raises:
        SystemExit: training failed; its log is shown.
    """
    for channel, classes in sets.items():
        for name, files in classes.items():
            folder = base / "input/data" / channel / name
            folder.mkdir(parents=True)
            for file in files:
                (folder / file.name).symlink_to(file)
    if pretrained is not None:
        (base / "input/data/pretrained").symlink_to(pretrained)
    configuration = {
        "hyperparameters": dict(settings),
        "inputdataconfig": {path.name: {"TrainingInputMode": "File"} for path in (base / "input/data").iterdir()},
        "resourceconfig": {"hosts": ["algo-1"], "current_host": "algo-1", "current_instance_type": "local"},
    }
    for name, content in configuration.items():
        (base / "input/config").mkdir(exist_ok=True)
        (base / "input/config" / f"{name}.json").write_text(json.dumps(content))
    began = time.monotonic()
    run = subprocess.run(
        [sys.executable, str(REPOSITORY / "container/train")],
        env=os.environ | {"SAGEMAKER_BASE_DIR": str(base)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - began
    if run.returncode:
        sys.exit(f"{run.stdout}\ntraining failed")
    metrics = json.loads((base / "model/metrics.json").read_text())
    epochs = [line.split() for line in run.stdout.splitlines() if line.startswith("epoch=")]
    training = sum(float(dict(word.split("=") for word in words)["seconds"]) for words in epochs)
    return Result(metrics["accuracy"], seconds, training, base / "model")


def _images(source: Path, scratch: Path) -> dict[str, list[Path]]:
    if source.is_file():
        with tarfile.open(source) as archive:
            archive.extractall(scratch / "images", filter="data")
        source = scratch / "images"
    # An archive may hold the class folders inside another one.
    while len(folders := [path for path in source.iterdir() if path.is_dir()]) == 1:
        source = folders[0]
    return {folder.name: sorted(path.resolve() for path in folder.iterdir()) for folder in folders}


def _split(
    images: Mapping[str, Sequence[Path]], seed: int, sizes: Mapping[str, float]
) -> dict[str, dict[str, list[Path]]]:
    """Return sets of the files of each class; a size up to 1 is a share of them, else a number."""
    sets: dict[str, dict[str, list[Path]]] = {channel: {} for channel in sizes}
    for name, files in images.items():
        shuffled = random.Random(f"{seed} {name}").sample(list(files), len(files))
        for channel, size in sizes.items():
            count = round(size * len(files)) if size <= 1 else int(size)
            sets[channel][name], shuffled = shuffled[:count], shuffled[count:]
    return sets


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1:])
