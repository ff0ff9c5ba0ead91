"""What `fit` keeps, when it ends, and how its two phases follow each other."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from container.modeling.models import build_model
from container.modeling.optimization import DivergedError, Fitted, fit
from container.modeling.settings import ContainerSettings, FineTuning, Image, Model, Training
from container.modeling.stopping import Stop

BATCH = 8


def noise(count: int, side: int = 8, dtype: str = "uint8") -> Any:
    """Images that nothing can be learned from but by heart."""
    random = np.random.default_rng(count)
    pixels = random.integers(0, 256, (count, side, side, 3)).astype(dtype)
    return tf.data.Dataset.from_tensor_slices((pixels, random.integers(0, 2, count))).batch(BATCH)


def settings(**training: Any) -> ContainerSettings:
    return ContainerSettings(
        image=Image(height=8, width=8),
        model=Model(filters=(4, 4, 4, 4, 4), head=((8, 0.3),)),
        training=Training(**{"batch_size": BATCH, "learning_rate": 0.01} | training),
    )


def fitted(chosen: ContainerSettings, stop: Stop | None = None, side: int = 8) -> tuple[Fitted, keras.Model, Any]:
    keras.utils.set_random_seed(0)
    model, validation = build_model(chosen, 2), noise(24, side)
    return fit(model, noise(40, side), validation, chosen, stop or Stop()), model, validation


@pytest.mark.parametrize("monitor", ["val_loss", "val_accuracy"])
def test_the_model_ends_with_the_weights_of_the_best_epoch(monitor: str) -> None:
    result, model, validation = fitted(settings(epochs=8, patience=0, monitor=monitor))
    values = [getattr(epoch, monitor) for epoch in result.history]
    best = min(values) if monitor == "val_loss" else max(values)
    assert len(values) == 8
    # The first of equals.
    assert result.best.epoch == values.index(best) + 1
    loss, accuracy = model.evaluate(validation, verbose=0)
    assert (loss, accuracy) == (pytest.approx(result.best.val_loss), pytest.approx(result.best.val_accuracy))


def test_training_ends_after_the_epochs_without_improvement() -> None:
    result, _, _ = fitted(settings(epochs=50, patience=2, monitor="val_loss"))
    assert len(result.history) == result.best.epoch + 2 < 50
    assert not result.stopped


def test_a_change_below_the_least_is_no_improvement() -> None:
    result, _, _ = fitted(settings(epochs=5, patience=1, monitor="val_loss", min_delta=100))
    assert (len(result.history), result.best.epoch) == (2, 1)


def test_a_stop_ends_training_after_the_running_steps_and_its_validation() -> None:
    stop = Stop()
    stop.requested = True
    result, _, _ = fitted(settings(epochs=50), stop)
    assert (len(result.history), result.best.epoch, result.stopped) == (1, 1, True)


def test_a_loss_that_is_no_number_names_the_setting_to_lower() -> None:
    pixels = np.full((8, 8, 8, 3), np.nan, np.float32)
    broken = tf.data.Dataset.from_tensor_slices((pixels, np.zeros(8, int))).batch(BATCH)
    chosen = settings(epochs=3)
    with pytest.raises(
        DivergedError, match=r"loss became nan in epoch 1: lower training\.learning_rate \(it was 0\.01\)"
    ):
        fit(build_model(chosen, 2), broken, broken, chosen, Stop())


def test_fine_tuning_counts_on_in_its_second_phase_and_keeps_the_best_of_both(caplog: pytest.LogCaptureFixture) -> None:
    chosen = ContainerSettings(
        image=Image(height=32, width=32),
        model=Model(name="fine_tune", head=((4, 0.3),)),
        training=Training(epochs=2, batch_size=BATCH, learning_rate=0.01, monitor="val_loss"),
        fine_tuning=FineTuning(backbone="VGG16", weights="none", epochs=1, released_layers=2, learning_rate=0.5),
    )
    with caplog.at_level("INFO"):
        result, model, validation = fitted(chosen, side=32)
    rows = [(epoch.epoch, epoch.phase, epoch.learning_rate) for epoch in result.history]
    assert rows == [(1, 1, pytest.approx(0.01)), (2, 1, pytest.approx(0.01)), (3, 2, 0.5)]
    assert [message.split()[:2] for message in caplog.messages if message.startswith("epoch=")] == [
        [f"epoch={number}", "epochs=3"] for number in (1, 2, 3)
    ]
    # Such steps ruin the network, so that the best epoch lies in the first phase.
    assert result.best.phase == 1
    assert model.evaluate(validation, verbose=0)[0] == pytest.approx(result.best.val_loss, rel=1e-5)
