"""Each setting of training does something: two jobs that differ in it alone learn different things."""

import csv
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from container.modeling.job import OptMl
from container.modeling.settings import ContainerSettings, Section
from container.modeling.train import run_job
from container.report import facts
from tests.container.jobs import CHANNELS, TINY, copied_program, lay_out, start

# No epoch after the first counts as an improvement: a schedule that waits for one gets stuck.
STUCK = {"training.epochs": "3", "training.patience": "0", "training.monitor": "val_loss", "training.min_delta": "100"}
# Whose own settings have no effect on others.
SGD = {"optimizer.name": "sgd"}
FOCAL = {"loss.name": "focal"}
# The backbone is a model that was trained before.
FINE_TUNE = {
    "model.name": "fine_tune",
    "training.epochs": "1",
    "fine_tuning.backbone": "pretrained",
    "fine_tuning.epochs": "2",
    "fine_tuning.released_layers": "10000",
    "fine_tuning.learning_rate": "0.001",
}
# What is changed, and the settings of both jobs.
CHANGES: tuple[tuple[str, str, Mapping[str, str]], ...] = (
    ("training.seed", "1", {}),
    ("training.batch_size", "4", {}),
    ("training.learning_rate", "0.002", {}),
    ("optimizer.momentum", "0.5", SGD),
    ("optimizer.weight_decay", "0.5", {}),
    ("optimizer.clip_norm", "0.01", SGD),
    ("loss.focal_gamma", "4", FOCAL),
    ("loss.label_smoothing", "0.2", {}),
    ("loss.balance", "class_weights", {}),
    ("loss.balance", "oversampling", {}),
    ("loss.class_weights", '{"dark": 5}', {}),
    ("loss.weight_column", "weight", {}),
    ("augmentation.layers", '{"RandomFlip": {}}', {}),
    ("fine_tuning.released_layers", "3", FINE_TUNE),
    ("fine_tuning.learning_rate", "0.01", FINE_TUNE),
    ("fine_tuning.epochs", "1", FINE_TUNE),
)
# Shares of the highest learning rate, of the step after each epoch's last one.
SCHEDULES: tuple[tuple[Mapping[str, str], list[float]], ...] = (
    ({"schedule.warmup_epochs": "2"}, [4 / 6, 1, 1]),
    ({"schedule.name": "exponential", "schedule.factor": "0.1"}, [0.1, 0.01, 0.001]),
    ({"schedule.name": "cosine", "schedule.minimum": "0.5"}, [0.875, 0.625, 0.5]),
    # An epoch's row is written before the schedule looks at it.
    ({"schedule.name": "plateau", "schedule.patience": "1"}, [1, 1, 0.5]),
)
TESTED_BY_THEMSELVES = {"model.output", "training.precision", "training.xla", "parts.augmentor"}
# What these do is seen without training, or is the subject of other tests that train.
TESTED_ELSEWHERE = {
    *("image.height", "image.width", "image.channels", "image.resize"),
    *("model.name", "model.filters", "model.head", "model.initial_weights"),
    *("training.epochs", "training.monitor", "training.mode", "training.patience", "training.min_delta"),
    *("fine_tuning.backbone", "fine_tuning.weights"),
    *("input.memory_share", "input.disk_cache", "input.max_broken_share"),
    *("distribution.learning_rate_scaling", "distribution.synchronized_batch_normalization"),
    *("checkpoints.every_epochs", "checkpoints.every_minutes", "checkpoints.keep"),
    *("evaluation.top_k", "evaluation.false_positive_cost", "evaluation.false_negative_cost"),
    *("report.images", "report.pictures"),
    *("diagnostics.off", "diagnostics.vanishing_gradient", "diagnostics.exploding_gradient"),
    *("diagnostics.stuck_epochs", "diagnostics.overfit_epochs", "diagnostics.overtraining_epochs"),
    *("diagnostics.dead_units_share", "diagnostics.memory_growth_mb"),
    *("diagnostics.gpu_utilization", "diagnostics.waiting_share"),
    *("tracking.tensorboard", "tracking.profile_first_step", "tracking.profile_steps", "tracking.secret"),
    *("tracking.mlflow_uri", "tracking.mlflow_experiment"),
    *("tracking.wandb_project", "tracking.wandb_entity", "tracking.wandb_mode"),
    *("parts.loader", "parts.preprocessor", "parts.evaluator", "parts.settings"),
}

Train = Callable[[Mapping[str, str]], OptMl]


@pytest.fixture(autouse=True)
def precision() -> Iterator[None]:
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Trains with some settings, once with each."""
    jobs: dict[str, OptMl] = {}

    def train(changed: Mapping[str, str]) -> OptMl:
        key = json.dumps(dict(changed), sort_keys=True)
        if key not in jobs:
            opt_ml = laid_out(tmp_path_factory.mktemp("job"), changed)
            if changed.get("fine_tuning.backbone"):
                opt_ml.channel_dir("pretrained").mkdir()
                shutil.copy(train({}).model_dir / facts.KERAS_FILE, opt_ml.channel_dir("pretrained"))
            run_job(opt_ml)
            jobs[key] = opt_ml
        return jobs[key]

    return train


def laid_out(base: Path, changed: Mapping[str, str]) -> OptMl:
    """Lay out a job whose classes have 12, 6 and 3 training images, which a labels.csv gives different weights."""
    opt_ml = lay_out(base, TINY | STUCK | changed)
    folder = opt_ml.channel_dir("training")
    for name, count in (("dark", 6), ("striped", 3)):
        for image in sorted((folder / name).iterdir())[count:]:
            image.unlink()
    rows = [f"{image.relative_to(folder)},{number}" for number, image in enumerate(sorted(folder.glob("*/*")))]
    (folder / "labels.csv").write_text("\n".join(["image,weight", *rows]))
    return opt_ml


def history(opt_ml: OptMl) -> list[dict[str, Any]]:
    rows = facts.read_history(opt_ml.model_dir / facts.HISTORY_FILE)
    return [row.model_dump(exclude={*facts.DURATIONS, "learning_rate"}) for row in rows]


def learning_rates(opt_ml: OptMl) -> list[float]:
    return [row.learning_rate for row in facts.read_history(opt_ml.model_dir / facts.HISTORY_FILE)]


def names(section: type[Section], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from names(field.annotation, f"{name}.")
        else:
            yield f"{prefix}{name}"


def test_no_setting_is_forgotten() -> None:
    changed = {name for setting, _, both in CHANGES for name in (setting, *both)}
    changed |= {name for chosen, _ in SCHEDULES for name in chosen}
    assert changed | TESTED_BY_THEMSELVES | TESTED_ELSEWHERE == set(names(ContainerSettings))


@pytest.mark.slow
@pytest.mark.long
def test_the_same_settings_give_the_same_model(trained: Train, tmp_path: Path) -> None:
    run_job(again := laid_out(tmp_path, {}))
    first = trained({})
    assert history(again) == history(first)
    assert history(again)[0] != history(again)[1]
    predictions = [(opt_ml.model_dir / facts.PREDICTIONS_FILE).read_bytes() for opt_ml in (again, first)]
    assert predictions[0] == predictions[1]


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(("setting", "value", "both"), CHANGES, ids=[f"{name}-{value}" for name, value, _ in CHANGES])
def test_a_changed_setting_changes_what_is_learned(
    setting: str, value: str, both: Mapping[str, str], trained: Train
) -> None:
    assert history(trained({**both, setting: value})) != history(trained(both))


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(("chosen", "shares"), SCHEDULES, ids=[" ".join(chosen.values()) for chosen, _ in SCHEDULES])
def test_the_schedule_is_kept(chosen: Mapping[str, str], shares: list[float], trained: Train) -> None:
    opt_ml = trained(chosen)
    assert learning_rates(opt_ml) == pytest.approx([0.001 * share for share in shares], abs=1e-8)
    assert history(opt_ml) != history(trained({}))


@pytest.mark.slow
def test_a_lower_precision_is_that_of_training_and_of_the_model(trained: Train) -> None:
    exact, rounded = trained({}), trained({"training.precision": "mixed_bfloat16"})
    assert history(rounded) != history(exact)
    for opt_ml, precision in ((exact, "float32"), (rounded, "bfloat16")):
        layers = keras.models.load_model(opt_ml.model_dir / facts.KERAS_FILE).layers
        convolutions = {layer.compute_dtype for layer in layers if isinstance(layer, keras.layers.Conv2D)}
        assert convolutions == {precision}


@pytest.mark.slow
def test_one_sigmoid_unit_is_trained_judged_and_exported(tmp_path: Path) -> None:
    opt_ml = lay_out(tmp_path, TINY | {"model.output": "sigmoid"})
    for channel in CHANNELS:
        shutil.rmtree(opt_ml.channel_dir(channel) / "striped")
    run_job(opt_ml)
    with (opt_ml.model_dir / facts.PREDICTIONS_FILE).open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["set"] == "evaluation"]
    columns = ["probability_bright", "probability_dark"]
    predicted = np.array([[float(row[name]) for name in columns] for row in rows])
    assert [name for name in rows[0] if name.startswith("probability_")] == columns
    np.testing.assert_allclose(predicted.sum(axis=1), 1, rtol=1e-6)

    encoded = tf.constant([(opt_ml.channel_dir("evaluation") / row["path"]).read_bytes() for row in rows])
    saved_model = tf.saved_model.load(opt_ml.model_dir / facts.SAVED_MODEL_FOLDER)
    exported = saved_model.signatures["serving_images"](image_bytes=encoded)["probabilities"]
    np.testing.assert_allclose(exported, predicted, atol=1e-6)
    model = keras.models.load_model(opt_ml.model_dir / facts.KERAS_FILE)
    assert (model.output_shape, model.layers[-1].activation) == ((None, 1), keras.activations.sigmoid)
    metrics = facts.Metrics.read(opt_ml.model_dir / facts.METRICS_FILE)
    assert np.shape(metrics.confusion_matrix) == (2, 2)


UNTEACH = """
def build(image, class_count, seed):
    return lambda pixels, targets: (pixels, targets * 0)
"""


@pytest.mark.slow
@pytest.mark.long
def test_xla_compiles_and_an_augmentor_augments_the_training_step(tmp_path: Path) -> None:
    # Programs of their own: XLA reads once where to write what it compiles, and functions lie beside the program.
    program = copied_program(tmp_path, {"unteach.py": UNTEACH})
    changes = {"xla": {"training.xla": "true"}, "unteach": {"parts.augmentor": "unteach:build"}}
    jobs = {name: laid_out(tmp_path / name, changed) for name, changed in changes.items()}
    compiled = {name: tmp_path / f"compiled-{name}" for name in jobs}
    processes = {
        name: start(opt_ml, program, XLA_FLAGS=f"--xla_dump_to={compiled[name]}") for name, opt_ml in jobs.items()
    }
    for process in processes.values():
        log, _ = process.communicate(timeout=300)
        assert process.returncode == 0, log
    assert list(compiled["xla"].glob("*change_weights*"))
    assert not compiled["unteach"].exists()
    # Without targets there is nothing to be wrong about.
    assert [row["loss"] for row in history(jobs["unteach"])] == [0, 0, 0]
    assert all(row["loss"] > 0 for row in history(jobs["xla"]))
