"""Each rule has a training that trips it, and one that does not; what no small training trips is fed with figures."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from container.modeling.augmentation import build_augmentor
from container.modeling.diagnostics import rules
from container.modeling.diagnostics.checks import Check
from container.modeling.diagnostics.errors import NotCheckedError
from container.modeling.diagnostics.gpus import GpuSampler
from container.modeling.diagnostics.relu_units import ReluUnits
from container.modeling.diagnostics.watch import Watch
from container.modeling.distribution import Distribution
from container.modeling.input_pipeline.batches import Batches
from container.modeling.input_pipeline.epochs import Epochs, Replicas
from container.modeling.input_pipeline.labeled_images import LabeledImages
from container.modeling.input_pipeline.pixel_cache import CacheSpace
from container.modeling.networks.models import build_model, release_last_layers
from container.modeling.optimization.checkpoints import CheckpointFolder
from container.modeling.optimization.divergence import DivergedError
from container.modeling.optimization.fit import Fitted, fit
from container.modeling.optimization.observing import ObservedEpoch, Observer
from container.modeling.optimization.predictor import Predictor
from container.modeling.settings import (
    ContainerSettings,
    Diagnostics,
    FineTuning,
    Image,
    Model,
    Optimizer,
    Training,
)
from container.modeling.stopping import Stop
from container.modeling.train import run_job
from container.report import facts
from container.report.facts import Epoch, Finding
from tests.container.jobs import TINY, lay_out, run

pytestmark = pytest.mark.slow

BATCH = 8


def noise(count: int) -> LabeledImages:
    """Images that nothing can be learned from but by heart."""
    random = np.random.default_rng(count)
    pixels = random.integers(0, 256, (count, 8, 8, 3), np.uint8)
    labels = random.integers(0, 2, count, np.int32)
    return LabeledImages(("heads", "tails"), labels, tuple(map(str, range(count))), pixels=pixels)


def brightness(count: int) -> LabeledImages:
    """Images of two classes that are easily told apart."""
    labels = (np.arange(count) % 2).astype(np.int32)
    pixels = np.random.default_rng(count).integers(0, 100, (count, 8, 8, 3)) + 150 * labels[:, None, None, None]
    return LabeledImages(("dark", "bright"), labels, tuple(map(str, range(count))), pixels=pixels.astype(np.uint8))


@dataclass
class Run:
    """A training to be."""

    folder: Path
    """Of its checkpoints."""
    epochs: int = 2
    learning_rate: float = 0.01
    diagnostics: Diagnostics = field(default_factory=Diagnostics)
    optimizer: Optimizer = field(default_factory=Optimizer)
    training: dict[str, Any] = field(default_factory=dict)
    """Further settings."""
    images: LabeledImages = field(default_factory=lambda: brightness(40))
    validation: LabeledImages = field(default_factory=lambda: brightness(64))
    model: keras.Model | None = None
    """None: a small one."""
    weights: Any = None
    space: CacheSpace | None = None
    observers: Sequence[Observer] = ()

    @property
    def settings(self) -> ContainerSettings:
        given = {"epochs": self.epochs, "learning_rate": self.learning_rate, "batch_size": BATCH, "patience": 0}
        return ContainerSettings(
            image=Image(height=8, width=8),
            training=Training(**given | {"monitor": "val_loss"} | self.training),
            optimizer=self.optimizer,
            diagnostics=self.diagnostics,
        )

    def fit(self) -> Fitted:
        """Train, from the same first weights each time."""
        chosen, images = self.settings, self.images
        keras.utils.set_random_seed(0)
        model = self.model or small()
        return fit(
            model,
            Batches(images, chosen, "training", self.weights, self.space),
            Epochs(images, chosen, Replicas()),
            Batches(self.validation, chosen, "validation"),
            chosen,
            build_augmentor(chosen.augmentation, chosen.image, 0),
            CheckpointFolder(self.folder, chosen.checkpoints),
            Stop(),
            Distribution(),
            Predictor(model, 2, Distribution()),
            self.observers,
        )

    def findings(self) -> dict[str, Finding]:
        """Train, and return what looked wrong, by rule."""
        return {finding.rule: finding for finding in self.fit().diagnostics.findings}


@dataclass
class Kept(Observer):
    """Keeps what it is told."""

    epochs: list[ObservedEpoch] = field(default_factory=list)

    def after_epoch(self, epoch: ObservedEpoch) -> None:
        self.epochs.append(epoch)


def network(*layers: keras.Layer) -> keras.Model:
    """Return a network of two classes."""
    end = keras.layers.Dense(2, activation="softmax", name="probabilities", dtype="float32")
    return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Rescaling(1 / 255), *layers, end], name="sequential")


def small() -> keras.Model:
    """Return a network that learns."""
    normalization = keras.layers.BatchNormalization(momentum=0.5)
    return network(keras.layers.Flatten(), dense(16, "hidden"), normalization, keras.layers.ReLU(name="re_lu"))


def dense(units: int, name: str, **options: Any) -> keras.Layer:
    return keras.layers.Dense(units, name=name, **options)


def test_of_a_training_that_goes_well_nothing_is_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    diagnostics = Run(tmp_path).fit().diagnostics
    assert diagnostics.findings == ()
    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    expected = [
        *("vanishing_gradient", "exploding_gradient", "loss_not_decreasing", "overfit", "overtraining", "dead_units"),
        *("growing_memory", *(["low_gpu_utilization"] if has_gpu else []), "waiting_for_data"),
    ]
    assert list(diagnostics.rules) == expected
    assert not [record for record in caplog.records if "diagnostics" in record.name and record.levelname == "WARNING"]


def test_a_rule_that_is_off_is_not_among_the_rules_and_finds_nothing(tmp_path: Path) -> None:
    chosen = Diagnostics(off=("overtraining", "exploding_gradient"), overtraining_epochs=1)
    diagnostics = Run(tmp_path, epochs=3, training={"min_delta": 100}, diagnostics=chosen).fit().diagnostics
    assert not {"overtraining", "exploding_gradient"} & {*diagnostics.rules, *(it.rule for it in diagnostics.findings)}


def test_what_is_found_is_logged_once_with_its_remedy(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = Run(
        tmp_path, epochs=4, training={"min_delta": 100}, diagnostics=Diagnostics(overtraining_epochs=1)
    ).findings()
    (warning,) = [message for message in caplog.messages if message.startswith("overtraining: ")]
    assert found["overtraining"].epoch == 2
    assert found["overtraining"].message in warning
    assert "training.patience=1" in warning


def test_what_a_job_found_lies_in_its_model_folder(tmp_path: Path) -> None:
    chosen = {"training.epochs": "3", "training.patience": "0", "diagnostics.overtraining_epochs": "1"}
    opt_ml = lay_out(tmp_path, TINY | chosen | {"training.min_delta": "1", "diagnostics.off": '["overfit"]'})
    run_job(opt_ml)
    diagnostics = facts.Diagnostics.read(opt_ml.model_dir / facts.DIAGNOSTICS_FILE)
    assert "overtraining" in {finding.rule for finding in diagnostics.findings}
    # There are too few validation images for dead units.
    assert not {"overfit", "dead_units"} & {*diagnostics.rules}


# Cut in two, the processor stands for two GPUs.
TWO_DEVICES = """
import sys
from pathlib import Path
import tensorflow as tf
(processor,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
from container.modeling.job import OptMl
from container.modeling.train import run_job
run_job(OptMl(Path(sys.argv[1])))
"""


@pytest.mark.long
def test_several_devices_find_what_one_does(tmp_path: Path) -> None:
    found = []
    for batch_size in (12, 6):
        chosen = {"model.head": "[[8, 0.0]]", "training.batch_size": str(batch_size), "training.learning_rate": "1e-9"}
        chosen |= {"distribution.synchronized_batch_normalization": "true", "diagnostics.stuck_epochs": "1"}
        opt_ml = lay_out(tmp_path / str(batch_size), TINY | chosen | {"diagnostics.dead_units_share": "0.01"})
        for picture in opt_ml.channel_dir("validation").glob("*/*"):
            for number in range(5):
                shutil.copy(picture, picture.with_stem(f"{picture.stem}-{number}"))
        if batch_size == 12:
            # A program of its own too: Keras numbers layers in the order in which a program makes them.
            assert run(opt_ml)[0] == 0
        else:
            program = [sys.executable, "-c", TWO_DEVICES, str(opt_ml.base)]
            subprocess.run(program, cwd=Path(__file__).parents[2], check=True, timeout=120)
        diagnostics = facts.Diagnostics.read(opt_ml.model_dir / facts.DIAGNOSTICS_FILE)
        found.append({finding.rule: finding.message for finding in diagnostics.findings})
    assert "dead_units" in found[0]
    assert found[0] == found[1]


def test_a_run_that_goes_on_keeps_what_was_found_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run(tmp_path, epochs=2, training={"min_delta": 100}, diagnostics=Diagnostics(overtraining_epochs=1))
    before = run.findings()["overtraining"]
    caplog.clear()
    run.epochs = 3
    assert run.findings()["overtraining"] == before
    assert not [message for message in caplog.messages if message.startswith("overtraining: ")]


class TestGradients:
    """How large they are."""

    def test_the_measures_are_those_of_a_tape(self, tmp_path: Path) -> None:
        kept, images = Kept(), brightness(BATCH)
        model = network(keras.layers.Flatten(), dense(4, "hidden", activation="tanh"))
        pixels, labels = tf.cast(images.pixels, tf.float32), images.labels
        with tf.GradientTape() as tape:
            loss = keras.losses.SparseCategoricalCrossentropy()(labels, model(pixels, training=True))
        gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
        row = Run(tmp_path, epochs=1, model=model, images=images, observers=[kept]).fit().history[0]
        assert row.gradient_norm == pytest.approx(float(tf.linalg.global_norm(gradients)), rel=1e-4)
        (epoch,) = kept.epochs
        measured = epoch.totals.measured
        assert measured.largest_gradient_norm == row.gradient_norm
        assert [variable.mean_square for variable in measured.gradients] == pytest.approx(
            [float(tf.reduce_mean(tf.square(gradient))) for gradient in gradients], rel=1e-4
        )
        assert [(variable.path, variable.size) for variable in measured.gradients] == [
            (variable.path, int(np.prod(variable.shape))) for variable in model.trainable_variables
        ]

    def test_those_of_layers_behind_many_sigmoids_vanish(self, tmp_path: Path) -> None:
        deep = [dense(4, f"sigmoid_{number}", activation="sigmoid") for number in range(10)]
        model = network(keras.layers.Flatten(), dense(4, "first"), *deep)
        finding = Run(tmp_path, model=model, images=noise(40)).findings()["vanishing_gradient"]
        assert "the gradients of sequential/first, sequential/sigmoid_0" in finding.message
        assert "probabilities" not in finding.message
        assert "model.name=fine_tune" in finding.remedy

    def test_a_frozen_layer_has_none_that_could_vanish(self, tmp_path: Path) -> None:
        frozen = dense(4, "frozen")
        frozen.trainable = False
        model = network(keras.layers.Flatten(), frozen, dense(4, "relu", activation="relu"))
        assert "vanishing_gradient" not in Run(tmp_path, model=model, images=noise(40)).findings()

    def test_where_all_is_learned_they_may_vanish(self) -> None:
        gradients = [rules.VariableGradients("layer/kernel", 4, 1e-30)]
        row = epoch(1, accuracy=0.5)
        assert rules.vanishing_gradient(gradients, row, 1e-8)
        assert not rules.vanishing_gradient(gradients, row.model_copy(update={"accuracy": 1.0}), 1e-8)


class TestExploding:
    """Steps that training cannot go on from."""

    def test_the_first_step_whose_loss_is_no_number_ends_the_job_and_is_named(self, tmp_path: Path) -> None:
        weights = np.ones(40, np.float32)
        run = Run(tmp_path, training={"batch_size": 2}, weights=weights)
        shown = Epochs(run.images, run.settings, Replicas()).rows(1, 0)
        # Of the second epoch's third step; the first epoch shows it too.
        weights[shown[2][0]] = np.nan
        first = 1 + int(np.argwhere(Epochs(run.images, run.settings, Replicas()).rows(0, 0) == shown[2][0])[0][0])
        said = rf"loss became nan in epoch 1, step {first}: lower training\.learning_rate \(it was 0\.01\)"
        with pytest.raises(DivergedError, match=said):
            run.fit()
        assert not list(tmp_path.iterdir())

    def test_a_learning_rate_that_is_far_too_high_ends_the_job(self, tmp_path: Path) -> None:
        model = network(keras.layers.Flatten(), *(dense(32, f"layer_{number}") for number in range(4)))
        run = Run(tmp_path, 20, 10.0, model=model, images=noise(40), optimizer=Optimizer(name="sgd"))
        with pytest.raises(
            DivergedError, match=r"in epoch \d+, step \d+.*: lower training\.learning_rate \(it was 10\)"
        ):
            run.fit()
        for file in tmp_path.iterdir():
            with np.load(file) as archive:
                assert all(np.isfinite(archive[name]).all() for name in archive.files if name.startswith("model/"))

    def test_gradients_longer_than_the_setting_end_the_job(self, tmp_path: Path) -> None:
        said = r"norm of the gradients became \S+ in epoch 1, step 1, above diagnostics\.exploding_gradient=1e-06"
        with pytest.raises(DivergedError, match=said + r": lower .*, or set optimizer\.clip_norm"):
            Run(tmp_path, diagnostics=Diagnostics(exploding_gradient=1e-6)).fit()

    @pytest.mark.parametrize(
        ("off", "clip_norm"), [(("exploding_gradient",), 0), ((), 1)], ids=["the rule is off", "they are clipped"]
    )
    def test_unless(self, off: Any, clip_norm: float, tmp_path: Path) -> None:
        chosen = Diagnostics(exploding_gradient=1e-6, off=off)
        run = Run(tmp_path, diagnostics=chosen, optimizer=Optimizer(clip_norm=clip_norm))
        assert len(run.fit().history) == 2

    def test_with_the_rule_off_a_loss_that_is_no_number_still_ends_the_job_with_its_epoch(self, tmp_path: Path) -> None:
        off = Diagnostics(off=("exploding_gradient",))
        with pytest.raises(DivergedError, match="loss became nan in epoch 1: lower"):
            Run(tmp_path, diagnostics=off, weights=np.full(40, np.nan, np.float32)).fit()

    def test_a_step_that_loss_scaling_skips_is_no_failure(self, tmp_path: Path) -> None:
        keras.mixed_precision.set_dtype_policy("mixed_float16")
        kept = Kept()
        try:
            # Too heavy for float16 until the scale is lower.
            weights = np.full(40, 60, np.float32)
            precision = {"precision": "mixed_float16", "batch_size": 2}
            Run(tmp_path, training=precision, weights=weights, observers=[kept]).fit()
        finally:
            keras.mixed_precision.set_dtype_policy("float32")
        first = kept.epochs[0].totals.measured
        assert 0 < first.skipped_steps < 20
        assert first.exploded is None
        assert 0 < first.gradient_norm <= first.largest_gradient_norm < 1e6


class TestLosses:
    """What the curves say."""

    def test_a_loss_that_stands_still_is_found(self, tmp_path: Path) -> None:
        model = network(keras.layers.Flatten(), dense(4, "hidden"))
        run = Run(tmp_path, 3, 1e-9, Diagnostics(stuck_epochs=2), model=model, images=noise(40))
        finding = run.findings()["loss_not_decreasing"]
        assert finding.epoch == 3
        assert "training.learning_rate (it is 1e-09)" in finding.remedy

    def test_one_that_falls_is_not(self, tmp_path: Path) -> None:
        assert "loss_not_decreasing" not in Run(tmp_path, 3, diagnostics=Diagnostics(stuck_epochs=1)).findings()

    def test_learning_by_heart_is_overfitting(self, tmp_path: Path) -> None:
        finding = Run(tmp_path, 12, 0.02, images=noise(40), validation=noise(64)).findings()["overfit"]
        assert "augmentation.layers" in finding.remedy

    def test_learning_what_there_is_to_learn_is_not(self, tmp_path: Path) -> None:
        assert "overfit" not in Run(tmp_path, 6, diagnostics=Diagnostics(overfit_epochs=2)).findings()

    def test_a_validation_loss_that_comes_back_is_no_overfitting(self) -> None:
        val_losses = enumerate([2.0, 1.0, 1.1, 1.2, 1.3])
        rising = [epoch(number + 1, loss=1 - number / 10, val_loss=val_loss) for number, val_loss in val_losses]
        assert rules.overfit(rising, 3)
        rising[-2] = rising[-2].model_copy(update={"val_loss": 1.01})
        assert not rules.overfit(rising, 3)

    def test_training_that_ends_by_its_patience_does_not_overtrain(self, tmp_path: Path) -> None:
        chosen = Diagnostics(overtraining_epochs=3)
        run = Run(tmp_path, 9, diagnostics=chosen, training={"min_delta": 100, "patience": 2})
        assert "overtraining" not in run.findings()


def dead(share: float, name: str = "relu") -> keras.Layer:
    """Return a layer with a share of units that no image moves."""

    def bias(shape: Any, dtype: Any = None) -> Any:
        return tf.where(tf.range(shape[0]) < int(share * shape[0]), -1e4, 1.0)

    return keras.layers.Dense(8, activation="relu", bias_initializer=bias, name=name)


class TestDeadUnits:
    """Units that are 0 for every image."""

    def test_more_than_the_share_are_found(self, tmp_path: Path) -> None:
        finding = Run(tmp_path, model=network(keras.layers.Flatten(), dead(0.75))).findings()["dead_units"]
        assert finding.epoch == 1
        assert re.search("[67] of 8 in relu", finding.message)
        assert "each of 64 validation images" in finding.message

    def test_fewer_are_not(self, tmp_path: Path) -> None:
        model = network(keras.layers.Flatten(), dead(0.25))
        assert "dead_units" not in Run(tmp_path, learning_rate=0.001, model=model).findings()

    @pytest.mark.parametrize("case", ["too few images", "no relu"])
    def test_where_nothing_can_be_said_the_rule_is_not_among_the_rules(self, case: str, tmp_path: Path) -> None:
        run = Run(tmp_path, epochs=1, model=network(keras.layers.Flatten(), dead(0.75)))
        if case == "too few images":
            run.validation = brightness(63)
        else:
            run.model = network(keras.layers.Flatten(), dense(4, "selu", activation="selu"))
        diagnostics = run.fit().diagnostics
        assert "dead_units" not in diagnostics.rules
        assert not diagnostics.findings

    def test_networks_inside_are_looked_into_from_the_first_layer_that_learns_on(self) -> None:
        inner = keras.Sequential(
            [keras.Input((8, 8, 3)), *(keras.layers.Conv2D(2, 3, activation="relu", name=f"c_{n}") for n in range(3))],
            name="inner",
        )
        outer = network(inner, keras.layers.Flatten(), keras.layers.ReLU(name="re_lu"), dead(0.5, "head"))
        images = Batches(brightness(64), Run(Path()).settings, "validation")
        units = ReluUnits(outer, images)
        assert [layer.layer for layer in units.look()] == ["c_0", "c_1", "c_2", "re_lu", "head"]
        for layer in inner.layers[:2]:
            layer.trainable = False
        assert [(layer.layer, layer.units) for layer in units.look()] == [
            ("c_2", 2),
            ("re_lu", 2 * 2 * 2),
            ("head", 8),
        ]
        assert units.look()[-1].dead >= 4

    def test_layers_with_numbers_in_their_names_are_told_apart(self) -> None:
        names = ["activation", "activation_1", "activation_1_1", "other"]
        layers = [keras.layers.Activation("relu", name=name) for name in names]
        model = network(keras.layers.Flatten(), dense(4, "dense"), *layers)
        units = ReluUnits(model, Batches(brightness(64), Run(Path()).settings, "validation"))
        assert [layer.layer for layer in units.look()] == names

    def test_a_backbone_is_looked_at_once_it_learns(self) -> None:
        chosen = ContainerSettings(
            image=Image(height=32, width=32),
            model=Model(name="fine_tune", head=((4, 0.0),)),
            fine_tuning=FineTuning(backbone="VGG16", weights="none", released_layers=3),
        )
        pixels = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
        images = LabeledImages(("a", "b"), np.zeros(64, np.int32), tuple(map(str, range(64))), pixels=pixels)
        model = build_model(chosen, 2)
        units = ReluUnits(model, Batches(images, chosen, "validation"))
        assert [layer.units for layer in units.look()] == [4]
        release_last_layers(model, chosen.fine_tuning)
        assert [layer.layer for layer in units.look()[:-1]] == ["block5_conv3"]


class TestMemory:
    """What the process takes."""

    def test_a_process_that_grows_is_found(self, tmp_path: Path) -> None:
        held: list[bytes] = []

        class Leak(Observer):
            def after_epoch(self, epoch: ObservedEpoch) -> None:
                held.append(os.urandom(16_000_000))

        run = Run(tmp_path, 6, diagnostics=Diagnostics(memory_growth_mb=12), observers=[Leak()])
        assert "input.memory_share" in run.findings()["growing_memory"].remedy

    def test_one_that_does_not_is_not(self, tmp_path: Path) -> None:
        assert "growing_memory" not in Run(tmp_path, 6).findings()

    def test_the_first_epochs_may_grow(self) -> None:
        megabytes = [100, 300, 500, 560, 620]
        assert rules.growing_memory([size * rules.MB for size in megabytes], 50)
        assert not rules.growing_memory([size * rules.MB for size in megabytes[:4]], 50)
        assert not rules.growing_memory([size * rules.MB for size in [*megabytes, 669]], 50)


class SlowImages(LabeledImages):
    """Images of a storage that takes its time for each, one at a time."""

    def reader(self) -> Any:
        head = threading.Lock()
        read = super().reader()

        def slowly(position: Any) -> Any:
            with head:
                time.sleep(0.04)
            return position

        return lambda position: read(tf.ensure_shape(tf.numpy_function(slowly, [position], tf.int64), ()))


@pytest.fixture
def slow_images(tmp_path: Path) -> SlowImages:
    images = brightness(40)
    assert images.pixels is not None
    paths = [tmp_path / f"{name}.png" for name in images.names]
    for path, pixels in zip(paths, images.pixels, strict=True):
        keras.utils.save_img(path, pixels, scale=False)
    return SlowImages(images.classes, images.labels, images.names, tuple(os.fsencode(path) for path in paths))


class TestWaiting:
    """Steps that wait for images."""

    def test_where_each_epoch_reads_from_a_slow_storage_it_is_found(
        self, slow_images: SlowImages, tmp_path: Path
    ) -> None:
        run = Run(tmp_path / "checkpoints", images=slow_images)
        fitted = run.fit()
        (finding,) = [finding for finding in fitted.diagnostics.findings if finding.rule == "waiting_for_data"]
        assert finding.epoch == 2
        assert "input.memory_share" in finding.remedy
        for row in fitted.history:
            # The waiting is measured by TensorFlow's clock, which is set while it runs; the epoch by one that is not.
            assert 1 < row.data_seconds < 1.01 * (row.seconds - row.validation_seconds)

    def test_where_only_the_first_epoch_reads_it_is_not(self, slow_images: SlowImages, tmp_path: Path) -> None:
        run = Run(tmp_path / "checkpoints", images=slow_images, space=CacheSpace(1 << 30, None))
        fitted = run.fit()
        assert "waiting_for_data" not in {finding.rule for finding in fitted.diagnostics.findings}
        first, second = fitted.history
        assert first.data_seconds > 1 > second.data_seconds

    @pytest.mark.parametrize(
        ("reading", "remedy"),
        [
            (rules.Reading(is_kept=True, is_streamed=True, cores=4), "this one has 4"),
            (rules.Reading(is_kept=False, is_streamed=True, cores=4), "training_job.input_mode=File"),
            (rules.Reading(is_kept=False, is_streamed=False, cores=4), "input.disk_cache"),
        ],
    )
    def test_the_remedy_is_one_for_the_cause(self, reading: rules.Reading, remedy: str) -> None:
        row = epoch(2, seconds=12.0, validation_seconds=2.0, data_seconds=5.0)
        symptom = rules.waiting_for_data(row, 0.2, reading)
        assert symptom
        assert "5.0 seconds, 50% of their time" in symptom.message
        assert remedy in symptom.remedy
        assert not rules.waiting_for_data(row, 0.5, reading)
        # Too little to care.
        short = row.model_copy(update={"seconds": 1.0, "validation_seconds": 0.1, "data_seconds": 0.5})
        assert not rules.waiting_for_data(short, 0.2, reading)


# What NVIDIA's driver brings, as far as it is asked: two GPUs, of which the second is idle every other time.
NVML = """
#include <stdlib.h>
static int asked;
typedef struct { unsigned int gpu, memory; } rates;
int nvmlInitWithFlags(unsigned int flags) { return 0; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return "Not Supported"; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    *device = (void *)(size_t)(index + 1);
    return 0;
}
int nvmlDeviceGetUtilizationRates(void *device, rates *found) {
    if (getenv("TELLS_NOTHING")) return 3;
    found->gpu = (size_t)device == 1 ? 80 : asked++ % 2 ? 0 : 60;
    return 0;
}
"""
SAMPLING = """
import time
from container.modeling.diagnostics.errors import NotCheckedError
from container.modeling.diagnostics.gpus import GpuSampler
from container.modeling.diagnostics.gpus import GpuSampler
try:
    with GpuSampler(2, every_seconds=0.001) as sampler:
        began = time.perf_counter()
        end = began + 0.05
        while not (found := sampler.utilizations(began, end)) or time.perf_counter() < end:
            time.sleep(0.001)
        print(*found, len(sampler.utilizations(time.perf_counter() + 9, time.perf_counter() + 10)))
except NotCheckedError as reason:
    print(reason)
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("a driver to ask is made by a C compiler")
    folder = tmp_path_factory.mktemp("driver")
    (folder / "nvml.c").write_text(NVML)
    command = [compiler, "-shared", "-fPIC", "-o", str(folder / "libnvidia-ml.so.1"), str(folder / "nvml.c")]
    subprocess.run(command, check=True)
    return folder


class TestGpus:
    """How busy they are."""

    def sampled(self, driver: Path, **variables: str) -> str:
        """Return what a program prints that asks a driver."""
        done = subprocess.run(
            [sys.executable, "-c", SAMPLING],
            env={**os.environ, "LD_LIBRARY_PATH": str(driver), **variables},
            cwd=Path(__file__).parents[2],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout.strip()

    def test_their_driver_is_asked_again_and_again(self, driver: Path) -> None:
        busy, less_busy, late = map(float, self.sampled(driver).split())
        assert busy == pytest.approx(0.8)
        assert 0.2 < less_busy < 0.4
        assert late == 0

    def test_only_those_that_cuda_shows_are_asked(self, driver: Path) -> None:
        first, *_, late = self.sampled(driver, CUDA_VISIBLE_DEVICES="1").split()
        assert 0.2 < float(first) < 0.4
        assert late == "0"

    def test_those_that_do_not_tell_are_not_checked(self, driver: Path) -> None:
        assert self.sampled(driver, TELLS_NOTHING="1").startswith("NVML does not tell how busy the GPUs are")

    def test_where_no_gpu_trains_nothing_is_checked(self) -> None:
        with pytest.raises(NotCheckedError, match="no GPU"):
            GpuSampler(0)

    def test_the_least_busy_one_decides(self) -> None:
        row = epoch(2, seconds=10, data_seconds=6)
        symptom = rules.low_gpu_utilization((0.9, 0.25), 0.4, row)
        assert symptom
        assert "25%" in symptom.message
        assert "for 60%" in symptom.message
        assert not rules.low_gpu_utilization((0.9, 0.45), 0.4, row)
        # An epoch too short for samples.
        assert not rules.low_gpu_utilization((), 0.4, row)


class Broken(Check):
    """A rule that fails."""

    def after_epoch(self, epoch: ObservedEpoch) -> rules.Symptom | None:
        raise RuntimeError("a broken rule")


def test_a_rule_that_fails_is_told_of_once_and_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watching = Watch(Diagnostics())
    watching.add("overfit", Broken)
    kept = Kept()
    Run(tmp_path, epochs=2, observers=[kept, watching]).fit()
    assert "overfit" not in watching.diagnostics.rules
    assert [message for message in caplog.messages if "overfit" in message] == [
        "the rule overfit failed, and is not checked any more"
    ]
    assert len(kept.epochs) == 2


def epoch(number: int, **values: float) -> Epoch:
    """Return an epoch's row."""
    given = {"seconds": 10.0, "learning_rate": 0.001, "loss": 1.0, "accuracy": 0.5, "val_loss": 1.0}
    return Epoch.model_validate(
        {"epoch": number, "phase": 1, "val_accuracy": 0.5, "val_f1": 0.5, **given, **values},
    )
