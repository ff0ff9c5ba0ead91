"""The networks: their inputs, their outputs, what of them learns."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from container.errors import SettingsError
from container.modeling.backbone_names import BACKBONES
from container.modeling.networks.layers import leaves
from container.modeling.networks.models import build_model, class_probabilities, release_last_layers
from container.modeling.settings import ContainerSettings, FineTuning, Image, Model

# The smallest input that a backbone takes, where it is not 32 pixels a side.
SMALLEST = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71}
# One of each family. MobileNetV3, ConvNeXt and InceptionResNetV2 have layers that Keras cannot load from HDF5.
FAMILIES = (*("ConvNeXtTiny", "EfficientNetB0", "MobileNetV3Large", "ResNet50V2"),)


def fine_tune(image: Image | None = None, **values: Any) -> ContainerSettings:
    return ContainerSettings(
        image=image or Image(height=32, width=32),
        model=Model(name="fine_tune", head=((4, 0.3),)),
        fine_tuning=FineTuning(**{"backbone": "MobileNet", "weights": "none"} | values),
    )


def noise(height: int = 32, width: int = 32, channels: int = 3) -> NDArray[np.float32]:
    return np.random.default_rng(0).integers(0, 256, (2, height, width, channels)).astype(np.float32)


def preprocessing(model: keras.Model) -> keras.Model:
    """What stands before a model's backbone."""
    return keras.Model(model.input, model.layers[model.layers.index(model.get_layer("backbone")) - 1].output)


def check_saved(model: keras.Model, pixels: NDArray[np.float32], folder: Path) -> None:
    """See that both of Keras's formats give back the same model, without any of our code."""
    for name in ("model.keras", "model.h5"):
        model.save(folder / name)
        np.testing.assert_allclose(keras.models.load_model(folder / name)(pixels), model(pixels), atol=1e-5)


@pytest.mark.parametrize(
    "image",
    [
        Image(height=8, width=8, channels=1),
        Image(height=8, width=2048),
        Image(height=224, width=150),
        Image(height=2048, width=2048),
    ],
    ids=lambda image: f"{image.height}x{image.width}",
)
def test_baseline_takes_every_input_size_and_stays_small(image: Image) -> None:
    model = build_model(ContainerSettings(image=image), class_count=3)
    assert model.input_shape == (None, image.height, image.width, image.channels)
    assert model.output_shape == (None, 3)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert (kinds.count("Conv2D"), kinds.count("Dense"), kinds.count("Dropout")) == (5, 2, 1)
    assert model.count_params() < 1_500_000


def test_the_same_seed_gives_the_same_weights_and_probabilities() -> None:
    settings = ContainerSettings(image=Image(height=8, width=8))
    pixels = noise(8, 8)
    outputs = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        outputs.append(np.asarray(build_model(settings, 3)(pixels)))
    np.testing.assert_array_equal(*outputs)
    np.testing.assert_allclose(outputs[0].sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("name", ["baseline", "fine_tune"])
@pytest.mark.parametrize("head", [(), ((4, 0.0),), ((8, 0.2), (4, 0.1))], ids=len)
def test_the_head_has_the_layers_of_the_settings(name: str, head: tuple[tuple[int, float], ...]) -> None:
    settings = fine_tune()
    settings = settings.model_copy(update={"model": Model(name=name, filters=(2, 2, 2, 2, 2), head=head)})
    model = build_model(settings, 3)
    dense = [layer.units for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    dropped = [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert dense == [*(units for units, _ in head), 3]
    assert dropped == [dropout for _, dropout in head]


class TestSigmoid:
    def test_two_classes_may_end_in_one_unit(self) -> None:
        settings = ContainerSettings(image=Image(height=8, width=8), model=Model(output="sigmoid"))
        outputs = np.asarray(build_model(settings, 2)(noise(8, 8)))
        assert outputs.shape == (2, 1)
        probabilities = class_probabilities(outputs)
        assert isinstance(probabilities, np.ndarray)
        np.testing.assert_allclose(probabilities, np.hstack([1 - outputs, outputs]))

    def test_its_probabilities_can_be_made_part_of_a_graph(self) -> None:
        graph = tf.function(class_probabilities, input_signature=[tf.TensorSpec((None, 1))])
        np.testing.assert_allclose(graph(tf.constant([[0.25], [1.0]])), [[0.75, 0.25], [0, 1]])

    def test_probabilities_of_each_class_stay_as_they_are(self) -> None:
        assert class_probabilities(outputs := np.ones((2, 3))) is outputs

    def test_more_classes_are_refused(self) -> None:
        settings = ContainerSettings(model=Model(output="sigmoid"))
        with pytest.raises(SettingsError, match=r"model.output=sigmoid is for two classes, and there are 3"):
            build_model(settings, 3)


class TestBackbones:
    def test_the_settings_know_the_names_that_keras_has(self) -> None:
        functions = [name for name in dir(keras.applications) if callable(getattr(keras.applications, name))]
        assert sorted(BACKBONES) == sorted(functions)

    @pytest.mark.slow
    @pytest.mark.parametrize(("backbone", "module"), [("MobileNet", "mobilenet"), ("VGG16", "vgg16")])
    def test_each_gets_its_own_preprocessing_and_is_saved_with_it(
        self, tmp_path: Path, backbone: str, module: str
    ) -> None:
        pixels = noise()
        preprocessed = getattr(keras.applications, module).preprocess_input(pixels.copy())
        model = build_model(fine_tune(backbone=backbone), 3)
        np.testing.assert_allclose(preprocessing(model)(pixels), preprocessed, atol=1e-4)
        check_saved(model, pixels, tmp_path)

    @pytest.mark.slow
    def test_those_with_layers_of_their_own_are_saved_too_and_see_the_same(self, tmp_path: Path) -> None:
        keras.utils.set_random_seed(1)
        original = keras.applications.MobileNetV3Small(
            include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg"
        )
        original.save_weights(tmp_path / "backbone.weights.h5")
        weights = str(tmp_path / "backbone.weights.h5")
        model = build_model(fine_tune(backbone="MobileNetV3Small", weights=weights), 3)
        np.testing.assert_allclose(model.get_layer("backbone")(noise()), original(noise()), atol=1e-5)
        check_saved(model, noise(), tmp_path)

    @pytest.mark.long
    @pytest.mark.slow
    @pytest.mark.parametrize("backbone", FAMILIES)
    def test_one_of_each_family_is_saved_and_learns(self, backbone: str, tmp_path: Path) -> None:
        side = SMALLEST.get(backbone, 32)
        settings = fine_tune(Image(height=side, width=side), backbone=backbone, released_layers=10_000)
        model = build_model(settings, 3)
        pixels = noise(side, side)
        check_saved(model, pixels, tmp_path)
        release_last_layers(model, settings.fine_tuning)
        model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
        assert np.isfinite(model.train_on_batch(pixels, np.array([0, 1])))

    def test_grey_images_become_colored_ones(self) -> None:
        model = build_model(fine_tune(Image(height=32, width=40, channels=1)), 3)
        assert model(noise(32, 40, 1)).shape == (2, 3)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"backbone": "InceptionV3"}, "InceptionV3 cannot be built: Input size must be at least 75x75"),
            ({"weights": "/no/such.weights.h5"}, "there is no such file in the container"),
            ({"weights": "pretrained"}, "fine_tuning.weights=pretrained needs the channel `pretrained`"),
            ({"backbone": "pretrained"}, "fine_tuning.backbone=pretrained needs the channel `pretrained`"),
        ],
    )
    def test_one_that_cannot_be_had_is_explained(self, values: dict[str, str], message: str) -> None:
        with pytest.raises(SettingsError, match=message):
            build_model(fine_tune(**values), 3)


class TestPhases:
    def test_first_the_head_learns_then_the_end_of_the_backbone_without_its_batch_normalization(self) -> None:
        settings = fine_tune(released_layers=12)
        model = build_model(settings, 3)
        backbone = model.get_layer("backbone")
        assert backbone.trainable_weights == []
        assert len(model.trainable_weights) == 5  # dense, its batch normalization's two, dense and bias

        release_last_layers(model, settings.fine_tuning)
        learning = [layer for layer in backbone.layers if layer.trainable_weights]
        assert learning
        assert set(learning) <= set(backbone.layers[-12:])
        assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in learning)

    @pytest.mark.parametrize("backbone", ["MobileNet", "VGG16"])
    def test_more_layers_than_there_are_release_them_all(self, backbone: str) -> None:
        settings = fine_tune(backbone=backbone, released_layers=10_000)
        model = build_model(settings, 3)
        release_last_layers(model, settings.fine_tuning)
        backbone_layers = list(leaves(model.get_layer("backbone")))
        for layer in backbone_layers:
            assert bool(layer.trainable_weights) is (
                bool(layer.weights) and not isinstance(layer, keras.layers.BatchNormalization)
            )
        # What puts channels into the backbone's order never learns.
        assert preprocessing(model).trainable_weights == []

    @pytest.mark.slow
    def test_a_step_changes_what_learns_and_nothing_else(self) -> None:
        # Through its few layers of random weights a gradient comes back.
        settings = fine_tune(backbone="VGG16", released_layers=4)
        model = build_model(settings, 3)
        for release in (False, True):
            if release:
                release_last_layers(model, settings.fine_tuning)
            backbone = model.get_layer("backbone")
            before = {weight.path: weight.numpy() for weight in backbone.weights}
            model.compile("adam", "sparse_categorical_crossentropy")
            model.train_on_batch(noise(), np.array([0, 1]))
            changed = {weight.path for weight in backbone.weights if (before[weight.path] != weight.numpy()).any()}
            assert changed == ({weight.path for weight in backbone.trainable_weights} if release else set())


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", ["baseline", "fine_tune"])
def test_probabilities_stay_exact_where_the_rest_computes_in_lower_precision(name: str, policy: str) -> None:
    settings = fine_tune(backbone="MobileNetV3Small")
    settings = settings.model_copy(update={"model": Model(name=name, filters=(2, 2, 2, 2, 2))})
    keras.config.set_dtype_policy(policy)
    try:
        model = build_model(settings, 3)
    finally:
        keras.config.set_dtype_policy("float32")
    assert any(layer.compute_dtype == policy.removeprefix("mixed_") for layer in leaves(model))
    outputs = model(noise())
    assert outputs.dtype == tf.float32
    np.testing.assert_allclose(np.asarray(outputs).sum(axis=1), 1, rtol=1e-5)


def little(image: Image, class_count: int) -> keras.Model:
    """A model of a user's own."""
    return keras.Sequential(
        [
            keras.Input((image.height, image.width, image.channels)),
            keras.layers.Flatten(),
            keras.layers.Dense(class_count, activation="softmax"),
        ]
    )


class TestPartsOfTheUsersOwn:
    settings = ContainerSettings(
        image=Image(height=8, width=8), model=Model(name="own:little", filters=(2, 2, 2, 2, 2))
    )

    def test_a_model_takes_the_place_of_ours(self) -> None:
        model = build_model(self.settings, 3, builder=little)
        assert [type(layer).__name__ for layer in model.layers] == ["Flatten", "Dense"]

    def test_a_preprocessor_is_a_part_of_the_saved_model(self, tmp_path: Path) -> None:
        for name in ("baseline", "own:little"):
            settings = self.settings.model_copy(update={"model": Model(name=name, filters=(2, 2, 2, 2, 2))})
            builder = little if name == "own:little" else None
            inverted = keras.layers.Rescaling(-1, 255)
            model = build_model(settings, 3, preprocessor=inverted, builder=builder)
            plain = keras.Model(model.layers[1].output, model.output)
            np.testing.assert_allclose(model(noise(8, 8)), plain(255 - noise(8, 8)), atol=1e-6)
            check_saved(model, noise(8, 8), tmp_path)

    def test_a_preprocessor_may_change_the_size(self) -> None:
        settings = ContainerSettings(image=Image(height=8, width=8))
        model = build_model(settings, 3, preprocessor=keras.layers.Resizing(16, 12))
        assert model(noise(8, 8)).shape == (2, 3)

    @pytest.mark.parametrize(
        ("builder", "message"),
        [
            (lambda image, classes: little(image, classes + 1), r"shape \(None, 3\), but returns shape \(None, 4\)"),
            (lambda image, classes: little(Image(height=9, width=9), classes), r"must take pixels of shape .*8, 8, 3"),
        ],
    )
    def test_a_model_that_does_not_fit_is_refused(self, builder: Any, message: str) -> None:
        with pytest.raises(SettingsError, match=message):
            build_model(self.settings, 3, builder=builder)

    def test_a_preprocessor_of_maps_of_no_size_is_refused(self) -> None:
        settings = ContainerSettings(image=Image(height=8, width=8))
        with pytest.raises(SettingsError, match=r"parts.preprocessor makes \(None, 192\)"):
            build_model(settings, 3, preprocessor=keras.layers.Flatten())

    def test_one_sigmoid_unit_is_for_our_models(self) -> None:
        settings = self.settings.model_copy(update={"model": Model(name="own:little", output="sigmoid")})
        with pytest.raises(SettingsError, match=r"leave model\.output at softmax"):
            build_model(settings, 2, builder=little)
