"""What each setting of the optimizer and its schedule does to a few weights."""

import math
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from container.modeling.container_settings import ContainerSettings, Optimizer, Schedule, Training
from container.modeling.optimization.history import History
from container.modeling.optimization.optimizers import build_optimizer, reduce_on_plateau
from container.report.facts import Epoch

BY_KERAS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "nadam": keras.optimizers.Nadam,
    "sgd": keras.optimizers.SGD,
    "rmsprop": keras.optimizers.RMSprop,
    "adagrad": keras.optimizers.Adagrad,
    "lion": keras.optimizers.Lion,
    "lamb": keras.optimizers.Lamb,
}


def settings(precision: Any = "float32", **optimizer: Any) -> ContainerSettings:
    return ContainerSettings(optimizer=Optimizer(**optimizer), training=Training(precision=precision))


def rates(epochs: int = 4, steps_per_epoch: int = 10, learning_rate: float = 0.8, **schedule: Any) -> list[float]:
    """The learning rate of each step of a phase, and of the one after it."""
    chosen = ContainerSettings(schedule=Schedule(**schedule))
    optimizer = build_optimizer(chosen, learning_rate, epochs, steps_per_epoch)
    found = []
    for step in range(epochs * steps_per_epoch + 1):
        optimizer.iterations.assign(step)
        found.append(float(optimizer.learning_rate))
    return found


def moved(optimizer: keras.optimizers.Optimizer, gradients: list[list[float]], start: float = 1.0) -> np.ndarray:
    """What becomes of a kernel in steps with these gradients."""
    kernel = keras.Variable(np.full(len(gradients[0]), start, np.float32), name="kernel")
    optimizer.build([kernel])
    for gradient in gradients:
        optimizer.apply_gradients([(tf.constant(gradient), kernel)])
    return np.asarray(kernel)


def history(without_improvement: int) -> History:
    row = Epoch(
        epoch=1,
        phase=1,
        seconds=1,
        learning_rate=1,
        loss=1,
        accuracy=0,
        val_loss=1,
        val_accuracy=0,
        val_f1=0,
    )
    return History(epochs=(row,), best=row, without_improvement=without_improvement)


class TestOptimizer:
    @pytest.mark.parametrize("name", BY_KERAS)
    def test_each_is_keras_own(self, name: str) -> None:
        optimizer = build_optimizer(settings(name=name, momentum=0.5, weight_decay=0.1), 0.05, 2, 10)
        arguments = {"momentum": 0.5} if name in ("sgd", "rmsprop") else {}
        by_keras = BY_KERAS[name](learning_rate=0.05, weight_decay=0.1, **arguments)
        assert type(optimizer) is type(by_keras)
        gradients = [[0.1, -3.0], [0.2, 1.0], [-0.1, 0.3]]
        np.testing.assert_allclose(moved(optimizer, gradients), moved(by_keras, gradients), rtol=1e-6)

    @pytest.mark.parametrize("name", ["sgd", "rmsprop"])
    def test_momentum_keeps_a_share_of_the_last_change(self, name: str) -> None:
        without, with_it = (
            moved(build_optimizer(settings(name=name, momentum=momentum), 0.1, 2, 10), [[1.0], [0.0]])
            for momentum in (0.0, 0.5)
        )
        first = 1 - moved(build_optimizer(settings(name=name, momentum=0.5), 0.1, 2, 10), [[1.0]])
        np.testing.assert_allclose(without - with_it, 0.5 * first, rtol=1e-5)

    @pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
    @pytest.mark.parametrize("name", BY_KERAS)
    def test_decay_takes_from_weights_but_not_from_biases_and_normalization(self, name: str, precision: Any) -> None:
        pixels = keras.Input((4, 3))
        maps = keras.layers.Conv1D(2, 3, name="unbiased_scale")(pixels)
        maps = keras.layers.BatchNormalization()(maps)
        maps = keras.layers.LayerNormalization()(maps)
        maps = keras.layers.RMSNormalization()(maps)
        maps = keras.layers.MultiHeadAttention(1, 2, name="attention")(maps, maps)
        model = keras.Model(pixels, keras.layers.Dense(2, name="beta")(maps))
        for variable in model.trainable_variables:
            variable.assign(np.ones(variable.shape))
        optimizer = build_optimizer(settings(precision, name=name, weight_decay=0.5), 0.1, 2, 10)
        optimizer.build(model.trainable_variables)
        optimizer.apply_gradients([(tf.zeros(variable.shape), variable) for variable in model.trainable_variables])
        kept = {variable.path: float(np.mean(variable)) for variable in model.trainable_variables}
        decayed = {path for path, mean in kept.items() if mean == pytest.approx(0.95)}
        assert decayed == {path for path in kept if path.endswith("/kernel")}
        assert len(decayed) == 6
        assert {mean for path, mean in kept.items() if path not in decayed} == {1.0}

    def test_gradients_are_clipped_by_their_norm_together(self) -> None:
        clipped = moved(build_optimizer(settings(name="sgd", momentum=0, clip_norm=1), 1.0, 2, 10), [[3.0, 4.0]])
        np.testing.assert_allclose(clipped, [1 - 0.6, 1 - 0.8], rtol=1e-5)
        small = moved(build_optimizer(settings(name="sgd", momentum=0, clip_norm=9), 1.0, 2, 10), [[3.0, 4.0]])
        np.testing.assert_allclose(small, [-2, -3], rtol=1e-5)

    def test_float16_scales_the_loss_and_passes_over_steps_without_a_gradient(self) -> None:
        optimizer = build_optimizer(settings("mixed_float16", name="sgd", momentum=0), 1.0, 2, 10)
        kernel = keras.Variable([1.0], name="kernel")
        optimizer.build([kernel])
        scale = float(optimizer.scale_loss(1.0))
        assert scale > 1000
        optimizer.apply_gradients([(tf.constant([math.inf]), kernel)])
        assert np.asarray(kernel) == [1.0]
        assert float(optimizer.scale_loss(1.0)) == scale / 2
        optimizer.apply_gradients([(optimizer.scale_loss(tf.constant([0.25])), kernel)])
        np.testing.assert_allclose(kernel, [0.75])
        assert float(optimizer.learning_rate) == 1.0

    @pytest.mark.parametrize("precision", ["float32", "mixed_float16", "mixed_bfloat16"])
    @pytest.mark.parametrize("name", BY_KERAS)
    def test_another_goes_on_from_its_variables(self, name: str, precision: Any) -> None:
        chosen = ContainerSettings(
            optimizer=Optimizer(name=name, weight_decay=0.01, clip_norm=1),
            schedule=Schedule(name="plateau", warmup_epochs=0.5, patience=1),
            training=Training(precision=precision),
        )
        first, kernel = build_optimizer(chosen, 0.1, 3, 4), keras.Variable([1.0, -2.0], name="kernel")
        first.build([kernel])
        take_steps(first, kernel, 0, 5)
        reduce_on_plateau(first, chosen.schedule, history(1))
        other, copy = build_optimizer(chosen, 0.1, 3, 4), keras.Variable(kernel.numpy(), name="kernel")
        other.build([copy])
        for variable, saved in zip(other.variables, [variable.numpy() for variable in first.variables], strict=True):
            variable.assign(saved)
        assert float(other.learning_rate) == float(first.learning_rate) == pytest.approx(0.05)
        take_steps(first, kernel, 5, 9)
        take_steps(other, copy, 5, 9)
        np.testing.assert_array_equal(kernel, copy)

    def test_the_variables_do_not_depend_on_the_schedule(self) -> None:
        names = ("constant", "exponential", "cosine", "plateau")
        counts = {
            len(build_optimizer(ContainerSettings(schedule=Schedule(name=name)), 1.0, 2, 10).variables)  # type: ignore[arg-type]
            for name in names
        }
        assert len(counts) == 1

    @pytest.mark.parametrize("xla", [False, True])
    def test_it_runs_in_a_compiled_step(self, xla: bool) -> None:
        chosen = ContainerSettings(
            optimizer=Optimizer(name="sgd", momentum=0, weight_decay=0.1, clip_norm=1),
            schedule=Schedule(name="cosine", warmup_epochs=1),
            training=Training(precision="mixed_float16"),
        )
        kernels = []
        for compiled in (True, False):
            optimizer, kernel = build_optimizer(chosen, 0.1, 2, 5), keras.Variable([3.0], name="kernel")
            optimizer.build([kernel])
            step = partial(take_step, optimizer, kernel)
            step = tf.function(step, jit_compile=xla) if compiled else step
            for _ in range(10):
                step()
            kernels.append(np.asarray(kernel))
        np.testing.assert_allclose(*kernels, rtol=1e-5)
        assert kernels[0] < 3

    def test_adamw_without_decay_is_told(self, caplog: pytest.LogCaptureFixture) -> None:
        build_optimizer(settings(name="adamw", weight_decay=0.1), 0.1, 2, 10)
        assert not caplog.messages
        build_optimizer(settings(name="adamw"), 0.1, 2, 10)
        assert "optimizer.name=adamw without optimizer.weight_decay is adam" in caplog.text


def take_step(optimizer: keras.optimizers.Optimizer, kernel: keras.Variable) -> None:
    with tf.GradientTape() as tape:
        loss = optimizer.scale_loss(tf.reduce_sum(kernel.value**2))
    optimizer.apply_gradients([(tape.gradient(loss, kernel.value), kernel)])


def take_steps(optimizer: keras.optimizers.Optimizer, kernel: keras.Variable, first: int, after: int) -> None:
    for step in range(first, after):
        gradient = tf.constant([math.sin(step), math.cos(step)], tf.float32)
        optimizer.apply_gradients([(optimizer.scale_loss(gradient), kernel)])


class TestSchedule:
    def test_constant(self) -> None:
        assert rates() == pytest.approx([0.8] * 41)

    def test_exponential_multiplies_by_the_factor_in_each_epoch(self) -> None:
        found = rates(name="exponential", factor=0.5)
        assert found[::10] == pytest.approx([0.8, 0.4, 0.2, 0.1, 0.05])
        assert sorted(found, reverse=True) == found

    def test_cosine_falls_to_the_minimum(self) -> None:
        found = rates(name="cosine", minimum=0.25)
        expected = [0.2 + 0.6 * (1 + math.cos(math.pi * step / 40)) / 2 for step in range(41)]
        assert found == pytest.approx(expected, abs=1e-6)

    def test_none_falls_below_the_minimum(self) -> None:
        assert rates(name="exponential", factor=0.1, minimum=0.25)[-1] == pytest.approx(0.2)
        assert rates(name="cosine", minimum=0)[-1] == pytest.approx(0, abs=1e-7)

    @pytest.mark.parametrize("name", ["constant", "exponential", "cosine", "plateau"])
    @pytest.mark.parametrize(("warmup", "steps"), [(2, 20), (0.5, 5), (0.01, 0)])
    def test_each_rises_linearly_in_its_warm_up_and_begins_after_it(self, name: Any, warmup: float, steps: int) -> None:
        found = rates(name=name, warmup_epochs=warmup, minimum=0.5)
        assert found[:steps] == pytest.approx([0.8 * (step + 1) / steps for step in range(steps)])
        unwarmed = rates(name=name, minimum=0.5) if name != "cosine" else []
        assert found[steps] == pytest.approx(0.8)
        assert found[steps:] == pytest.approx(unwarmed[: 41 - steps] or found[steps:])
        assert found[-1] == pytest.approx(0.4 if name in ("exponential", "cosine") else 0.8)

    def test_a_warm_up_rounded_to_the_whole_phase_leaves_its_last_step(self) -> None:
        assert rates(warmup_epochs=3.99)[-2] == pytest.approx(0.8)


class TestPlateau:
    def reduced(self, stuck: list[int], **schedule: Any) -> list[float]:
        """The learning rate after each epoch, told how many there were without improvement."""
        chosen = ContainerSettings(schedule=Schedule(**schedule))
        optimizer, found = build_optimizer(chosen, 0.8, 10, 4), []
        for epochs in stuck:
            optimizer.iterations.assign_add(4)
            reduce_on_plateau(optimizer, chosen.schedule, history(epochs))
            found.append(float(optimizer.learning_rate))
        return found

    def test_it_falls_each_time_the_patience_is_used_up(self) -> None:
        found = self.reduced([0, 1, 2, 3, 4, 5, 0, 1, 2], name="plateau", patience=2, factor=0.5)
        assert found == pytest.approx([0.8, 0.8, 0.4, 0.4, 0.2, 0.2, 0.2, 0.2, 0.1])

    def test_it_stays_above_the_minimum(self) -> None:
        found = self.reduced([1, 2, 3, 4], name="plateau", patience=1, factor=0.5, minimum=0.2)
        assert found == pytest.approx([0.4, 0.2, 0.16, 0.16])

    def test_it_works_beside_a_warm_up(self) -> None:
        found = self.reduced([0, 1, 2], name="plateau", patience=1, factor=0.5, warmup_epochs=2)
        assert found == pytest.approx([0.8 * 5 / 8, 0.4, 0.2])

    @pytest.mark.parametrize("name", ["constant", "exponential", "cosine"])
    def test_other_schedules_do_not_look_at_the_metric(self, name: Any) -> None:
        assert self.reduced([1, 2, 3], name=name, patience=1) == self.reduced([0, 0, 0], name=name)
