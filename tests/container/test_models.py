"""The networks: their inputs, their outputs, what of them learns."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from container.errors import SettingsError
from container.modeling.models import build_model, release_last_layers
from container.modeling.settings import ContainerSettings, FineTuning, Image, Model


def fine_tune(image: Image | None = None, **values: Any) -> ContainerSettings:
    return ContainerSettings(
        image=image or Image(height=32, width=32),
        model=Model(name="fine_tune", head=((4, 0.3),)),
        fine_tuning=FineTuning(**{"backbone": "MobileNet", "weights": "none"} | values),
    )


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
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype(np.float32)
    outputs = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        outputs.append(np.asarray(build_model(settings, 3)(pixels)))
    np.testing.assert_array_equal(*outputs)
    np.testing.assert_allclose(outputs[0].sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(("backbone", "module"), [("MobileNet", "mobilenet"), ("VGG16", "vgg16")])
def test_a_backbone_gets_its_own_preprocessing_and_is_saved_with_it(tmp_path: Path, backbone: str, module: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    preprocessed = getattr(keras.applications, module).preprocess_input(pixels.copy())
    model = build_model(fine_tune(backbone=backbone), 3)
    position = next(number for number, layer in enumerate(model.layers) if isinstance(layer, keras.Model))
    before = keras.Model(model.input, model.layers[position - 1].output)
    np.testing.assert_allclose(before(pixels), preprocessed, atol=1e-4)
    for name in ("model.keras", "model.h5"):
        model.save(tmp_path / name)
        np.testing.assert_allclose(keras.models.load_model(tmp_path / name)(pixels), model(pixels), atol=1e-6)


def test_a_backbone_of_colors_takes_grey_images() -> None:
    model = build_model(fine_tune(Image(height=32, width=40, channels=1)), 3)
    assert model(np.zeros((2, 32, 40, 1), np.float32)).shape == (2, 3)


def test_first_the_head_learns_then_the_end_of_the_backbone_without_its_batch_normalization() -> None:
    settings = fine_tune(released_layers=12)
    model = build_model(settings, 3)
    backbone = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    assert backbone.trainable_weights == []
    assert len(model.trainable_weights) == 5  # dense, its batch normalization's two, dense and bias

    release_last_layers(model, settings.fine_tuning)
    learning = [layer for layer in backbone.layers if layer.trainable_weights]
    assert learning
    assert set(learning) <= set(backbone.layers[-12:])
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in learning)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"backbone": "MobilNetV2"}, "no such model: did you mean 'MobileNetV2'"),
        ({"backbone": "InceptionV3"}, "InceptionV3 cannot be built: Input size must be at least 75x75"),
        ({"weights": "/no/such.weights.h5"}, "there is no such file in the container"),
    ],
)
def test_a_backbone_that_cannot_be_had_is_explained(values: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build_model(fine_tune(**values), 3)
