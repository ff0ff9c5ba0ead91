"""What `fit` keeps, when it ends, and how its two phases follow each other."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from container.modeling.augmentation import build_augmentor
from container.modeling.input_pipeline import Batches, LabeledImages
from container.modeling.networks.models import build_model
from container.modeling.optimization.checkpoints import CheckpointFolder
from container.modeling.optimization.fit import DivergedError, Fitted, fit
from container.modeling.optimization.steps import Predictor
from container.modeling.settings import Augmentation, ContainerSettings, FineTuning, Image, Model, Training
from container.modeling.stopping import Stop

BATCH = 8


def noise(count: int, side: int = 8) -> LabeledImages:
    """Images that nothing can be learned from but by heart."""
    random = np.random.default_rng(count)
    pixels = random.integers(0, 256, (count, side, side, 3), np.uint8)
    labels = random.integers(0, 2, count, np.int32)
    return LabeledImages(("heads", "tails"), labels, tuple(map(str, range(count))), pixels=pixels)


def settings(**training: Any) -> ContainerSettings:
    return ContainerSettings(
        image=Image(height=8, width=8),
        model=Model(filters=(4, 4, 4, 4, 4), head=((8, 0.3),)),
        training=Training(**{"batch_size": BATCH, "learning_rate": 0.01} | training),
    )


class Trained:
    """A model after `fit`."""

    def __init__(
        self, chosen: ContainerSettings, folder: Path, stop: Stop | None = None, side: int = 8, weights: Any = None
    ) -> None:
        keras.utils.set_random_seed(0)
        self.validation = Batches(noise(24, side), chosen)
        self.model = build_model(chosen, 2)
        self.result: Fitted = fit(
            self.model,
            Batches(noise(40, side), chosen, weights),
            self.validation,
            chosen,
            build_augmentor(Augmentation(), chosen.image, 0),
            CheckpointFolder(folder, chosen.checkpoints),
            stop or Stop(),
        )
        self.history = self.result.history

    def judged(self) -> tuple[float, float]:
        """Loss and accuracy of the model on the validation images."""
        probabilities = Predictor(self.model, 2)(self.validation.iterate()).probabilities
        labels = self.validation.images.labels
        chosen = probabilities[np.arange(len(labels)), labels]
        return float(-np.log(chosen).mean()), float((probabilities.argmax(axis=1) == labels).mean())


@pytest.mark.parametrize(
    ("monitor", "mode", "best_of"),
    [
        ("val_loss", "auto", min),
        ("val_accuracy", "auto", max),
        ("val_f1", "auto", max),
        ("val_loss", "max", max),
        ("val_accuracy", "min", min),
    ],
)
def test_the_model_ends_with_the_weights_of_the_best_epoch(
    monitor: str, mode: str, best_of: Any, tmp_path: Path
) -> None:
    trained = Trained(settings(epochs=8, patience=0, monitor=monitor, mode=mode), tmp_path)
    values = [getattr(epoch, monitor) for epoch in trained.history]
    assert len(values) == 8
    # The first of equals.
    best = trained.result.best
    assert best.epoch == values.index(best_of(values)) + 1
    assert trained.judged() == (pytest.approx(best.val_loss, rel=1e-4), pytest.approx(best.val_accuracy))


def test_training_ends_after_the_epochs_without_improvement(tmp_path: Path) -> None:
    trained = Trained(settings(epochs=50, patience=2, monitor="val_loss"), tmp_path)
    assert len(trained.history) == trained.result.best.epoch + 2 < 50
    assert not trained.result.stopped


def test_a_change_below_the_least_is_no_improvement(tmp_path: Path) -> None:
    trained = Trained(settings(epochs=5, patience=1, monitor="val_loss", min_delta=100), tmp_path)
    assert (len(trained.history), trained.result.best.epoch) == (2, 1)


def test_a_stop_before_the_first_epoch_is_over_judges_what_there_is(tmp_path: Path) -> None:
    stop = Stop()
    stop.requested = True
    trained = Trained(settings(epochs=50), tmp_path, stop)
    assert (len(trained.history), trained.result.best.epoch, trained.result.stopped) == (1, 1, True)


def test_a_loss_that_is_no_number_names_the_setting_to_lower(tmp_path: Path) -> None:
    with pytest.raises(
        DivergedError, match=r"loss became nan in epoch 1: lower training\.learning_rate \(it was 0\.01\)"
    ):
        Trained(settings(epochs=3), tmp_path, weights=np.full(40, np.nan, np.float32))


@pytest.mark.parametrize("chosen", [{"xla": True}, {"precision": "mixed_bfloat16"}, {"precision": "mixed_float16"}])
def test_the_ways_to_compute_train_as_well(chosen: dict[str, Any], tmp_path: Path) -> None:
    keras.mixed_precision.set_dtype_policy(chosen.get("precision", "float32"))
    try:
        trained = Trained(settings(epochs=12, patience=0, **chosen), tmp_path)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    first, last = trained.history[0], trained.history[-1]
    assert last.loss < first.loss
    assert trained.model.layers[-1].compute_dtype == "float32"


def test_fine_tuning_counts_on_in_its_second_phase_and_keeps_the_best_of_both(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    chosen = ContainerSettings(
        image=Image(height=32, width=32),
        model=Model(name="fine_tune", head=((4, 0.3),)),
        training=Training(epochs=2, batch_size=BATCH, learning_rate=0.01, monitor="val_loss"),
        fine_tuning=FineTuning(backbone="VGG16", weights="none", epochs=1, released_layers=2, learning_rate=0.5),
    )
    with caplog.at_level("INFO"):
        trained = Trained(chosen, tmp_path, side=32)
    rows = [(epoch.epoch, epoch.phase, epoch.learning_rate) for epoch in trained.history]
    assert rows == [(1, 1, pytest.approx(0.01)), (2, 1, pytest.approx(0.01)), (3, 2, 0.5)]
    assert [message.split()[:2] for message in caplog.messages if message.startswith("epoch=")] == [
        [f"epoch={number}", "epochs=3"] for number in (1, 2, 3)
    ]
    # Such steps ruin the network, so that the best epoch lies in the first phase.
    assert trained.result.best.phase == 1
    assert trained.judged()[0] == pytest.approx(trained.result.best.val_loss, rel=1e-4)
