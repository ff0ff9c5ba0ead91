"""What `fit` keeps, when it ends, and how its two phases follow each other."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from container.dataset.weights import epoch_order
from container.modeling.augmentation import build_augmentor
from container.modeling.distribution import Distribution
from container.modeling.input_pipeline.batches import Batches
from container.modeling.input_pipeline.epochs import Epochs, Replicas
from container.modeling.input_pipeline.labeled_images import LabeledImages
from container.modeling.networks.models import build_model
from container.modeling.optimization.checkpoints import CheckpointFolder
from container.modeling.optimization.divergence import DivergedError
from container.modeling.optimization.fit import Fitted, fit
from container.modeling.optimization.predictor import Predictor
from container.modeling.settings import (
    Augmentation,
    Checkpoints,
    ContainerSettings,
    FineTuning,
    Image,
    Loss,
    Model,
    Optimizer,
    Schedule,
    Training,
)
from container.modeling.stopping import Stop
from container.report import facts
from container.report.facts import Epoch

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
        training = noise(40, side)
        self.validation = Batches(noise(24, side), chosen, "validation")
        self.model = build_model(chosen, 2)
        self.result: Fitted = fit(
            self.model,
            Batches(training, chosen, "training", weights),
            Epochs(training, chosen, Replicas()),
            self.validation,
            chosen,
            build_augmentor(chosen.augmentation, chosen.image, 0),
            CheckpointFolder(folder, chosen.checkpoints),
            stop or Stop(),
            Distribution(),
            Predictor(self.model, 2, Distribution()),
        )
        self.history = self.result.history

    def judged(self) -> tuple[float, float]:
        """Loss and accuracy of the model on the validation images."""
        outputs = Predictor(self.model, 2, Distribution())(self.validation)
        assert outputs is not None
        probabilities = outputs.probabilities
        labels = self.validation.images.labels
        chosen = probabilities[np.arange(len(labels)), labels]
        return float(-np.log(chosen).mean()), float((probabilities.argmax(axis=1) == labels).mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("monitor", "mode", "best_of"),
    [
        ("val_loss", "auto", min),
        pytest.param("val_accuracy", "auto", max, marks=pytest.mark.slow),
        pytest.param("val_f1", "auto", max, marks=pytest.mark.slow),
        pytest.param("val_loss", "max", max, marks=pytest.mark.slow),
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


@pytest.mark.slow
def test_a_change_below_the_least_is_no_improvement(tmp_path: Path) -> None:
    trained = Trained(settings(epochs=5, patience=1, monitor="val_loss", min_delta=100), tmp_path)
    assert (len(trained.history), trained.result.best.epoch) == (2, 1)


def test_a_stop_before_the_first_epoch_is_over_judges_what_there_is(tmp_path: Path) -> None:
    stop = Stop()
    stop.requested = True
    trained = Trained(settings(epochs=50), tmp_path, stop)
    assert (len(trained.history), trained.result.best.epoch, trained.result.stopped) == (1, 1, True)


@pytest.mark.slow
def test_a_loss_that_is_no_number_names_the_setting_to_lower(tmp_path: Path) -> None:
    with pytest.raises(
        DivergedError, match=r"loss became nan in epoch 1, step 1: lower training\.learning_rate \(it was 0\.01\)"
    ):
        Trained(settings(epochs=3), tmp_path, weights=np.full(40, np.nan, np.float32))


@pytest.mark.slow
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


@pytest.mark.slow
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


class StopAfter(Stop):
    """Asks to stop when it was looked at so often."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    @property
    def requested(self) -> bool:  # type: ignore[override]
        self.looks -= 1
        return self.looks < 0


FINE_TUNE = ContainerSettings(
    image=Image(height=32, width=32),
    model=Model(name="fine_tune", head=((4, 0.3),), output="sigmoid"),
    training=Training(epochs=2, batch_size=BATCH, learning_rate=0.01),
    fine_tuning=FineTuning(backbone="MobileNet", weights="none", epochs=2, released_layers=20, learning_rate=0.01),
    optimizer=Optimizer(name="nadam", weight_decay=0.01),
)
PLATEAU = settings(epochs=7, patience=3, monitor="val_loss", learning_rate=0.1).model_copy(
    update={
        "schedule": Schedule(name="plateau", patience=1, factor=0.5),
        "loss": Loss(balance="oversampling", label_smoothing=0.1),
        "augmentation": Augmentation(layers={"RandomFlip": {}, "MixUp": {}}),
    }
)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("chosen", [PLATEAU, FINE_TUNE, settings(epochs=4, precision="mixed_float16")])
def test_stopped_at_any_look_and_gone_on_with_it_ends_as_if_it_never_was(
    chosen: ContainerSettings, tmp_path: Path
) -> None:
    # One step at a time makes more looks: batches of many pixels are not run together.
    side = chosen.image.height
    keras.mixed_precision.set_dtype_policy(chosen.training.precision)
    try:
        expected = Trained(chosen, tmp_path / "uninterrupted", side=side)
        for first in (0, 5):
            folder = tmp_path / f"stopped-{first}"
            looks = iter(range(first, 200, 4))
            while (trained := Trained(chosen, folder, StopAfter(next(looks)), side)).result.stopped:
                assert list(folder.iterdir())
            assert_alike(trained.history, expected.history)
            assert trained.judged() == pytest.approx(expected.judged(), rel=1e-3)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")


def assert_alike(history: tuple[Epoch, ...], expected: tuple[Epoch, ...]) -> None:
    assert [row.epoch for row in history] == [row.epoch for row in expected]
    for row, expected_row in zip(history, expected, strict=True):
        values = row.model_dump(exclude=facts.DURATIONS)
        assert values == pytest.approx(expected_row.model_dump(exclude=facts.DURATIONS), rel=1e-3, abs=1e-6)


@pytest.mark.slow
def test_with_another_batch_size_the_schedule_goes_on_where_it_was(tmp_path: Path) -> None:
    cosine = {"schedule": Schedule(name="cosine")}
    Trained(settings(epochs=4, patience=0, batch_size=2).model_copy(update=cosine), tmp_path, StopAfter(9))
    trained = Trained(settings(epochs=4, patience=0, batch_size=BATCH).model_copy(update=cosine), tmp_path)
    rates = [row.learning_rate for row in trained.history]
    assert len(rates) == 4
    assert rates == sorted(rates, reverse=True)
    assert rates[-2] > 0.001


@pytest.mark.slow
def test_a_small_rest_of_a_batch_is_left_out_of_an_epoch_but_not_of_the_next(tmp_path: Path) -> None:
    chosen = settings(epochs=3, batch_size=13)
    assert len(Trained(chosen, tmp_path).history) == 3
    images = noise(40)
    seen = [set(map(int, epoch_order(images.labels, 0, epoch, False)[:39])) for epoch in range(3)]
    assert set.union(*seen) == set(range(40))


@pytest.mark.slow
def test_checkpoints_by_time_alone_are_written_also_where_an_epoch_is_one_look_long(tmp_path: Path) -> None:
    chosen = settings(epochs=2).model_copy(update={"checkpoints": Checkpoints(every_epochs=0, every_minutes=1e-6)})
    Trained(chosen, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.slow
def test_a_damaged_checkpoint_never_makes_a_new_one_vanish(tmp_path: Path) -> None:
    chosen = settings(epochs=3, patience=0).model_copy(update={"checkpoints": Checkpoints(keep=1)})
    (tmp_path / "checkpoint-00000099-epoch-00050-step-00000000.npz").write_bytes(b"PK damaged")
    Trained(chosen, tmp_path)
    (kept,) = tmp_path.iterdir()
    assert kept.name == "checkpoint-00000102-epoch-00003-step-00000000.npz"
