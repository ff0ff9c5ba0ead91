"""What the loss is made of, and that it is a finite number whatever the model says."""

import math
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from container.modeling.container_settings import Loss
from container.modeling.optimization.losses import build_loss

FIRST_OF_THREE = [[1.0, 0.0, 0.0]]
SETTINGS = [
    Loss(),
    Loss(label_smoothing=0.2),
    Loss(name="focal"),
    Loss(name="focal", focal_gamma=0.5, label_smoothing=0.1),
]


def value(loss: Loss, targets: Any, outputs: Any, weights: Any = None, output: Any = "softmax") -> float:
    targets, outputs = tf.constant(targets, tf.float32), tf.constant(outputs, tf.float32)
    ones = tf.ones(len(targets)) if weights is None else tf.constant(weights, tf.float32)
    return float(build_loss(loss, output)(targets, outputs, ones))


def test_cross_entropy_is_that_of_the_true_class() -> None:
    assert value(Loss(), FIRST_OF_THREE, [[0.5, 0.3, 0.2]]) == pytest.approx(-math.log(0.5))


def test_a_mixed_image_has_the_loss_of_each_class_by_its_share() -> None:
    expected = -0.75 * math.log(0.5) - 0.25 * math.log(0.2)
    assert value(Loss(), [[0.75, 0.0, 0.25]], [[0.5, 0.3, 0.2]]) == pytest.approx(expected)


def test_smoothing_spreads_a_share_of_the_label_over_all_classes() -> None:
    smoothed = value(Loss(label_smoothing=0.3), FIRST_OF_THREE, [[0.5, 0.3, 0.2]])
    assert smoothed == pytest.approx(-0.8 * math.log(0.5) - 0.1 * math.log(0.3) - 0.1 * math.log(0.2))


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 5.0])
def test_focal_loss_is_cross_entropy_that_counts_less_for_what_is_recognized(gamma: float) -> None:
    loss = Loss(name="focal", focal_gamma=gamma)
    assert value(loss, FIRST_OF_THREE, [[0.9, 0.05, 0.05]]) == pytest.approx(-(0.1**gamma) * math.log(0.9), rel=1e-4)
    assert value(loss, FIRST_OF_THREE, [[0.1, 0.2, 0.7]]) == pytest.approx(-(0.9**gamma) * math.log(0.1), rel=1e-4)


@pytest.mark.parametrize("settings", SETTINGS)
def test_one_sigmoid_unit_has_the_loss_of_both_classes_probabilities(settings: Loss) -> None:
    random = np.random.default_rng(0)
    second = random.uniform(0.01, 0.99, (20, 1))
    shares = random.choice([0.0, 0.3, 1.0], (20, 1))
    targets, weights = np.hstack([1 - shares, shares]), random.uniform(0, 2, 20)
    one_unit = value(settings, targets, second, weights, "sigmoid")
    assert one_unit == pytest.approx(value(settings, targets, np.hstack([1 - second, second]), weights), rel=1e-5)


def test_an_image_counts_by_its_weight_whatever_else_is_in_the_batch() -> None:
    targets, outputs = np.eye(3), np.full((3, 3), 1 / 3)
    assert value(Loss(), targets, outputs, [1, 1, 1]) == pytest.approx(math.log(3))
    # Three images and a weight of 2 in all.
    assert value(Loss(), targets, outputs, [0, 0.5, 1.5]) == pytest.approx(math.log(3) * 2 / 3)
    assert value(Loss(), targets, outputs, [0, 0, 0]) == 0


@pytest.mark.parametrize("settings", [*SETTINGS, Loss(name="focal", focal_gamma=0.0)])
@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_loss_and_gradient_are_finite_where_the_model_is_certain(settings: Loss, output: Any) -> None:
    loss = build_loss(settings, output)
    right_and_wrong = [[1.0, 0.0], [0.0, 1.0]] if output == "softmax" else [[0.0], [1.0]]
    outputs = tf.constant(right_and_wrong)
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        total = loss(tf.constant([[1.0, 0.0], [1.0, 0.0]]), outputs, tf.ones(2))
    assert math.isfinite(float(total))
    assert float(total) > 1
    assert np.isfinite(tape.gradient(total, outputs)).all()


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
@pytest.mark.parametrize("xla", [False, True])
def test_a_model_that_is_certain_and_wrong_still_learns(output: Any, xla: bool) -> None:
    # The logits differ so much that the probability of the true class is 0 in float32.
    pixels = keras.Input((1,))
    logits = keras.layers.Dense(2 if output == "softmax" else 1, use_bias=False)(pixels)
    model = keras.Model(pixels, keras.layers.Activation(output)(logits))
    model.set_weights([np.array([[-200.0, 200.0]] if output == "softmax" else [[200.0]])])
    loss = build_loss(Loss(), output)

    @tf.function(jit_compile=xla)
    def gradient(count: int) -> Any:
        with tf.GradientTape() as tape:
            outputs = model(tf.ones((count, 1)), training=True)
            total = loss(tf.one_hot([0] * count, 2), outputs, tf.ones(count))
        return tape.gradient(total, model.trainable_variables)[0]

    for count in (3, 2):
        np.testing.assert_allclose(gradient(count)[0][-1], 1, rtol=1e-5)
