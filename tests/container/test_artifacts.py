"""Writing the model's folder, whole or not at all."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from container.modeling.artifacts import write_judgement, write_model
from container.modeling.evaluate import predictions
from container.modeling.settings import ContainerSettings, Image
from container.report import facts
from container.report.judging import judge

SETTINGS = ContainerSettings(image=Image(height=8, width=8))
EPOCH = facts.Epoch(
    epoch=1,
    phase=1,
    seconds=0.5,
    learning_rate=0.001,
    loss=2.5,
    accuracy=0.5,
    val_loss=1e-9,
    val_accuracy=1.0,
    val_f1=0.1,
)


def write(folder: Path, classes: tuple[str, ...]) -> facts.Metrics:
    labels, probabilities = np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]], np.float32)
    judged = judge(labels, probabilities, classes, SETTINGS.evaluation)
    metrics = facts.Metrics(
        **judged.model_dump(),
        training_job="",
        validation=judged,
        training_images=2,
        validation_images=2,
        evaluation_images=2,
        parameters=9,
        monitor="val_loss",
        best_epoch=EPOCH,
        epochs=1,
        stopped=False,
        class_counts={"training": (1, 1), "validation": (1, 1), "evaluation": (1, 1)},
        data_fingerprint="",
        seconds=1.0,
        instance_type="",
        hosts=1,
        devices=1,
        versions={},
    )
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")])
    write_model(folder, model, SETTINGS, classes)
    predicted = predictions("evaluation", ("a/1.png", "b/2.png"), labels, probabilities, classes)
    write_judgement(folder, metrics, (EPOCH,), predicted, facts.Diagnostics(rules=(), findings=()))
    return metrics


def test_a_failure_leaves_what_was_there_before(tmp_path: Path) -> None:
    earlier = tmp_path / facts.CLASSES_FILE
    earlier.write_text("of an earlier run")
    with pytest.raises(UnicodeEncodeError):
        write(tmp_path, ("a", "no text: \udcff"))
    assert list(tmp_path.iterdir()) == [earlier]
    assert earlier.read_text() == "of an earlier run"


def test_a_later_run_replaces_an_earlier_one_and_what_was_left_incomplete(tmp_path: Path) -> None:
    for leftover in (tmp_path / ".incomplete", tmp_path / "checkpoint" / "old", tmp_path / "metrics.json"):
        leftover.mkdir(parents=True)
    metrics = write(tmp_path, ('<b>"ä, b"</b>', "metrics"))
    assert facts.Metrics.read(tmp_path / facts.METRICS_FILE) == metrics
    assert facts.read_classes(tmp_path / facts.CLASSES_FILE) == ('<b>"ä, b"</b>', "metrics")
    assert facts.read_history(tmp_path / facts.HISTORY_FILE) == (EPOCH,)
    assert not (tmp_path / ".incomplete").exists()
    assert not (tmp_path / "checkpoint" / "old").exists()


def test_the_saved_model_has_each_weight_once(tmp_path: Path) -> None:
    write(tmp_path, ("a", "b"))
    saved = tf.train.load_checkpoint(str(tmp_path / "checkpoint" / "variables" / "variables"))
    shapes = {name: shape for name, shape in saved.get_variable_to_shape_map().items() if "VARIABLE_VALUE" in name}
    assert sorted(shapes.values()) == [[2], [8 * 8 * 3, 2]]


def test_the_saved_model_has_the_lookup_tables_of_layers(tmp_path: Path) -> None:
    pixels = keras.Input((8, 8, 3))
    ranks = keras.layers.IntegerLookup(vocabulary=list(range(255, -1, -1)))(pixels)
    outputs = keras.layers.Dense(2, "softmax")(keras.layers.Flatten()(ranks / 255))
    model = keras.Model(pixels, outputs)
    write_model(tmp_path, model, SETTINGS, ("a", "b"))
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3)).astype(np.float32)
    serving = tf.saved_model.load(str(tmp_path / "checkpoint")).signatures["serving_default"]
    np.testing.assert_allclose(serving(pixels=tf.constant(images))["probabilities"], model(images), atol=1e-6)
