"""What is checked of what a user's own functions return."""

import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from container.modeling.evaluate import predictions
from container.modeling.own_parts.checked import OwnAugmentor, OwnEvaluator, OwnModelBuilder, OwnPreprocessor
from container.modeling.own_parts.sources import (
    AUGMENTOR,
    EVALUATOR,
    MODEL_BUILDER,
    PREPROCESSOR,
    Choice,
)
from container.modeling.settings import Image
from tests.container.refusals import refusal

IMAGE = Image(height=8, width=8)


def builder(function: Callable[..., Any]) -> OwnModelBuilder:
    return OwnModelBuilder(Choice(MODEL_BUILDER, "m", "f"), function, {})


def sequential(*layers: Any, shape: Any = (8, 8, 3)) -> keras.Model:
    return keras.Sequential([keras.Input(shape), keras.layers.GlobalAveragePooling2D(), *layers])


class Unsaved(keras.layers.Layer):
    """Has an argument, and does not tell Keras which it was given."""

    def __init__(self, size: object) -> None:
        super().__init__()

    def call(self, pixels: Any) -> Any:
        return pixels


class Subclassed(keras.Model):
    """Does not know its input before it is called."""

    def call(self, pixels: Any) -> Any:
        return pixels


class TestModelBuilder:
    def test_half_precision_ends_in_single_precision(self) -> None:
        def build(image: Image, class_count: int) -> keras.Model:
            return sequential(keras.layers.Dense(class_count, activation="softmax", dtype="float16"))

        model = builder(build)(IMAGE, 4)
        assert (model.outputs[0].dtype, model.outputs[0].shape) == ("float32", (None, 4))

    def test_a_function_that_leaves_the_program_has_failed(self) -> None:
        def leave(image: Image, class_count: int) -> keras.Model:
            sys.exit(0)

        assert "m:f failed: SystemExit: 0" in refusal(lambda: builder(leave)(IMAGE, 4))

    def test_a_model_may_take_any_size(self) -> None:
        model = sequential(keras.layers.Dense(4, activation="softmax"), shape=(None, None, 3))
        assert builder(lambda *_: model)(IMAGE, 4) is model

    @pytest.mark.parametrize(
        ("build", "said"),
        [
            (lambda *_: None, "the model builder m:f must return a keras.Model; it returned NoneType"),
            (lambda *_: Subclassed(), "begin with keras.Input((8, 8, 3))"),
            (
                lambda *_: sequential(keras.layers.Dense(4)),
                "gives 3 probabilities, of shape (None, 3); its output",
            ),
            (lambda *_: sequential(keras.layers.Dense(3, bias_initializer="ones")), "must return probabilities"),
            (lambda *_: sequential(keras.layers.Dense(3, activation="sigmoid")), "must return probabilities"),
            (lambda *_: sequential(Unsaved(object()), keras.layers.Softmax()), "saving the model of the model builder"),
        ],
    )
    def test_what_cannot_be_trained_is_refused(self, build: Any, said: str) -> None:
        assert said in refusal(lambda: builder(build)(IMAGE, 3))


class TestPreprocessor:
    def preprocessor(self, function: Callable[..., Any]) -> OwnPreprocessor:
        return OwnPreprocessor(Choice(PREPROCESSOR, "m", "f"), function, {})

    @pytest.mark.parametrize("make", [lambda: keras.layers.Rescaling(2.0), lambda: sequential_of_layers()])
    def test_a_layer_or_several_are_taken(self, make: Callable[[], Any]) -> None:
        layer = make()
        assert self.preprocessor(lambda image: layer)(IMAGE) is layer

    @pytest.mark.parametrize(
        ("build", "said"),
        [
            (lambda image: abs, "must return a keras.Layer; it returned builtin_function_or_method"),
            (
                lambda image: keras.layers.Flatten(),
                "(batch, height, width, channels) from pixels; it makes (None,",
            ),
            (lambda image: keras.layers.Dense("many"), "the preprocessor m:f failed"),
            (lambda image: Unsaved(object()), "saving the layer of the preprocessor m:f failed"),
        ],
    )
    def test_what_is_no_layer_of_pixels_is_refused(self, build: Any, said: str) -> None:
        assert said in refusal(lambda: self.preprocessor(build)(IMAGE))


def sequential_of_layers() -> keras.Model:
    return keras.Sequential([keras.layers.Rescaling(2.0), keras.layers.AveragePooling2D(2)])


class Swap(keras.layers.Layer):
    """Reverses the batch, targets included."""

    def call(self, pixels: Any, targets: Any) -> Any:
        return keras.ops.flip(pixels, axis=0), keras.ops.flip(targets, axis=0)


class TestAugmentor:
    PIXELS = np.arange(2 * 8 * 8 * 3, dtype=np.float32).reshape((2, 8, 8, 3)) % 256
    TARGETS = np.eye(2, dtype=np.float32)

    def augmentor(self, function: Callable[..., Any]) -> OwnAugmentor:
        return OwnAugmentor(Choice(AUGMENTOR, "m", "f"), function, {})

    def augmented(self, function: Callable[..., Any]) -> Any:
        layer = self.augmentor(function)(IMAGE, 2, 5)
        step = tf.function(lambda pixels, targets: layer(pixels, targets), jit_compile=True)
        return [tensor.numpy() for tensor in step(tf.constant(self.PIXELS), tf.constant(self.TARGETS))]

    def test_a_layer_of_pixels_leaves_the_targets(self) -> None:
        pixels, targets = self.augmented(lambda *_: keras.layers.RandomBrightness((1.0, 1.0)))
        assert (pixels == 255).all()
        np.testing.assert_array_equal(targets, self.TARGETS)

    def test_a_layer_with_targets_gets_both(self) -> None:
        pixels, targets = self.augmented(lambda *_: Swap())
        np.testing.assert_array_equal(pixels, self.PIXELS[::-1])
        np.testing.assert_array_equal(targets, self.TARGETS[::-1])

    def test_a_function_gets_both(self) -> None:
        pixels, targets = self.augmented(
            lambda image, class_count, seed: lambda pixels, targets: (pixels + seed, targets)
        )
        np.testing.assert_array_equal(pixels, self.PIXELS + 5)
        np.testing.assert_array_equal(targets, self.TARGETS)

    def test_the_random_state_of_a_function_can_be_set(self) -> None:
        def build(image: Image, class_count: int, seed: int) -> Any:
            generator, flip = keras.random.SeedGenerator(seed), keras.layers.RandomFlip(seed=seed)

            def augment(pixels: Any, targets: Any) -> Any:
                noise = keras.random.normal(keras.ops.shape(pixels), seed=generator)
                return flip(pixels, training=True) + noise, targets

            return augment

        layer = self.augmentor(build)(IMAGE, 2, 5)
        states = [variable for variable in layer.non_trainable_variables if variable.name == "seed_generator_state"]
        assert len(states) == 2
        before = [state.numpy() for state in states]
        first, _ = layer(self.PIXELS, self.TARGETS)
        second, _ = layer(self.PIXELS, self.TARGETS)
        for state, value in zip(states, before, strict=True):
            state.assign(value)
        again, _ = layer(self.PIXELS, self.TARGETS)
        assert not np.allclose(first, second)
        np.testing.assert_array_equal(first, again)

    @pytest.mark.parametrize("held_as", [lambda made: made, lambda made: {"flips": [made]}])
    def test_what_a_function_draws_from_may_be_held_in_lists(self, held_as: Callable[[Any], Any]) -> None:
        def build(image: Image, class_count: int, seed: int) -> Any:
            held = held_as(keras.layers.RandomFlip(seed=seed))

            def augment(pixels: Any, targets: Any) -> Any:
                for flip in keras.tree.flatten(held):
                    pixels = flip(pixels, training=True)
                return pixels, targets

            return augment

        assert len(self.augmentor(build)(IMAGE, 2, 5).non_trainable_variables) == 1

    @pytest.mark.parametrize(
        "draw",
        [
            lambda pixels, targets: (pixels + np.random.default_rng().random(), targets),
            lambda pixels, targets: (pixels + tf.random.uniform(()), targets),
            lambda pixels, targets: (keras.layers.RandomFlip()(pixels, training=True), targets),
        ],
    )
    def test_what_a_resumed_job_could_not_repeat_is_refused(self, draw: Any) -> None:
        assert "could not repeat" in refusal(lambda: self.augmentor(lambda *_: draw)(IMAGE, 2, 0))

    def test_mixed_precision_leaves_it_exact(self) -> None:
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            pixels, _ = self.augmented(lambda *_: keras.layers.Rescaling(1.0))
            assert keras.config.dtype_policy().name == "mixed_bfloat16"
        finally:
            keras.config.set_dtype_policy(policy)
        np.testing.assert_array_equal(pixels, self.PIXELS)

    @pytest.mark.parametrize(
        ("build", "said"),
        [
            (lambda *_: None, "must return a layer or a function; it returned NoneType"),
            (lambda *_: lambda pixels, targets: (pixels[:1], targets), "must keep the shapes of pixels and targets"),
            (lambda *_: lambda pixels, targets: pixels, "must return (pixels, targets); it returned"),
            (lambda *_: lambda pixels: pixels, "the augmentor m:f failed"),
            (lambda *_: keras.layers.Flatten(), "must keep the shapes of pixels and targets"),
        ],
    )
    def test_what_changes_the_batch_otherwise_is_refused(self, build: Any, said: str) -> None:
        assert said in refusal(lambda: self.augmentor(build)(IMAGE, 2, 0))


class TestEvaluator:
    def metrics(self, returned: Any) -> Any:
        return OwnEvaluator(Choice(EVALUATOR, "m", "f"), lambda: returned, {})()

    def test_each_metric_sees_one_image_and_becomes_a_column(self) -> None:
        def spoiled(y_true: Any, y_pred: Any) -> float:
            y_pred[:] = 0
            return -float(y_true.argmax())

        metrics = self.metrics({"spoiled": spoiled, "certainty": lambda y_true, y_pred: tf.reduce_max(y_pred)})
        probabilities = np.array([[0.75, 0.25], [0.5, 0.5], [0.0, 1.0]], np.float32)
        found = predictions("evaluation", ("a", "b", "c"), np.array([0, 1, 1]), probabilities, ("x", "y"), metrics)
        assert found.metrics == ("spoiled", "certainty")
        assert [(row.path, row.label, row.prediction, row.metrics) for row in found.rows] == [
            ("a", "x", "x", (0.0, 0.75)),
            ("b", "y", "x", (-1.0, 0.5)),
            ("c", "y", "y", (-1.0, 1.0)),
        ]
        assert found.means == {"spoiled": pytest.approx(-2 / 3), "certainty": pytest.approx(0.75)}

    @pytest.mark.parametrize(
        ("returned", "said"),
        [
            (None, "must return functions by name; it returned NoneType"),
            ({"top 5": abs}, "letters, digits and underscores"),
            ({"x" * 65: abs}, "at most 64"),
            ({5: abs}, "names a metric 5"),
            ({"label": abs}, "names a metric 'label', which is the name of something else"),
            ({"accuracy": abs}, "names a metric 'accuracy'"),
            ({"probability_rose": abs}, "names a metric 'probability_rose'"),
            ({"brier": 0.5}, "gives for 'brier' no function, but float"),
        ],
    )
    def test_what_is_no_table_of_functions_is_refused(self, returned: Any, said: str) -> None:
        assert said in refusal(lambda: self.metrics(returned))

    @pytest.mark.parametrize(
        ("metric", "said"),
        [
            (lambda y_true, y_pred: 1 / 0, "failed: ZeroDivisionError"),
            (lambda y_true, y_pred: float("nan"), "must be one finite number; it is nan"),
            (lambda y_true, y_pred: y_pred, "must be one finite number; it is numpy.ndarray"),
            (lambda y_true, y_pred: None, "must be one finite number; it is NoneType"),
            (lambda y_true, y_pred: "high", "must be one finite number; it is str"),
        ],
    )
    def test_what_is_no_number_names_the_metric_and_the_image(self, metric: Any, said: str) -> None:
        metrics = self.metrics({"mine": metric})
        args = ("evaluation", ("x/1.png",), np.array([0]), np.full((1, 2), 0.5, np.float32), ("x", "y"))
        text = refusal(lambda: predictions(*args, metrics))
        assert text.startswith("the metric 'mine' of the evaluator m:f, for the image 'x/1.png',")
        assert said in text
        assert said in refusal(lambda: metrics.try_out(2))
