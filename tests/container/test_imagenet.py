"""ImageNet's weights: from where Keras keeps what it downloaded, into the image, into a model."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from container.errors import SettingsError
from container.modeling.networks import imagenet
from container.modeling.networks.backbones import WeightFolders
from container.modeling.networks.layers import set_weights
from container.modeling.networks.models import build_model
from container.modeling.settings import ContainerSettings, FineTuning, Image, Model

pytestmark = pytest.mark.slow

PROGRAM = Path(imagenet.__file__)
# As Keras names the file of MobileNet at imagenet.SIZE, without its head, in its cache.
CACHED = "models/mobilenet_1_0_224_tf_no_top.h5"


def fine_tune(backbone: str = "MobileNet", side: int = 32) -> ContainerSettings:
    return ContainerSettings(
        image=Image(height=side, width=side),
        model=Model(name="fine_tune", head=()),
        fine_tuning=FineTuning(backbone=backbone, weights="imagenet"),
    )


def download(keras_home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program as the Dockerfile does, with a cache of Keras's own, and no network."""
    environment = {"PATH": os.environ["PATH"], "KERAS_HOME": str(keras_home), "https_proxy": "http://127.0.0.1:9"}
    return subprocess.run(
        [sys.executable, str(PROGRAM), *arguments], env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, Path]:
    """A network in the place of the one trained on ImageNet, and the folder that Keras would download it to."""
    keras.utils.set_random_seed(3)
    network = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg")
    home = tmp_path_factory.mktemp("keras")
    (home / "models").mkdir()
    network.save(home / CACHED)
    return network, home


def test_what_was_downloaded_is_found_in_the_image(published: tuple[keras.Model, Path], tmp_path: Path) -> None:
    network, home = published
    done = download(home, str(tmp_path / "imagenet"), "MobileNet")
    assert done.returncode == 0, done.stderr
    # Neither the home folder nor the network is asked any more.
    model = build_model(fine_tune(), 3, folders=WeightFolders(imagenet=tmp_path / "imagenet"))
    for here, there in zip(model.get_layer("backbone").get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(here, there)
    assert [file.name for file in (tmp_path / "imagenet").iterdir()] == ["MobileNet.weights.h5"]


def test_an_image_without_backbones_has_an_empty_folder(tmp_path: Path) -> None:
    assert download(tmp_path, str(tmp_path / "imagenet")).returncode == 0
    assert list((tmp_path / "imagenet").iterdir()) == []


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        pytest.param("MobileNetV7", "has no model 'MobileNetV7'", marks=pytest.mark.slow),
        ("VGG16", "the imagenet weights of VGG16 cannot be downloaded"),
    ],
)
def test_the_build_of_an_image_fails_with_the_reason(tmp_path: Path, backbone: str, message: str) -> None:
    failed = download(tmp_path, str(tmp_path / "imagenet"), backbone)
    assert failed.returncode == 1
    assert message in failed.stderr.splitlines()[-1]
    assert list((tmp_path / "imagenet").iterdir()) == []


@pytest.mark.slow
def test_a_file_that_is_not_what_keras_expects_is_not_taken(tmp_path: Path) -> None:
    # Keras knows the hash of what it downloads for VGG16.
    (tmp_path / "models").mkdir()
    keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]).save(
        tmp_path / "models" / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    )
    assert download(tmp_path, str(tmp_path / "imagenet"), "VGG16").returncode == 1


def test_a_job_that_cannot_download_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(SettingsError, match=r"the imagenet weights of VGG19 .* training_image\.backbones and build"):
        build_model(fine_tune("VGG19"), 3, folders=WeightFolders(imagenet=tmp_path))


def test_efficientnet_sees_what_it_sees_with_keras_own_additional_rescaling() -> None:
    scale = [2.0, 4.0, 5.0]
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)

    def build() -> keras.Model:
        return keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))

    def rescaled_after(layer: keras.Layer, *inputs: object, **options: object) -> object:
        outputs = layer(*inputs, **options)
        return keras.layers.Rescaling(scale)(outputs) if isinstance(layer, keras.layers.Normalization) else outputs

    original = build()
    normalization = next(layer for layer in original.layers if isinstance(layer, keras.layers.Normalization))
    _, _, count = normalization.get_weights()
    set_weights(normalization, [np.array([0.4, 0.5, 0.6]), np.array([0.05, 0.06, 0.07]), count])
    published = keras.models.clone_model(original, clone_function=lambda layer: layer, call_function=rescaled_after)
    expected = np.asarray(published(pixels))
    np.testing.assert_allclose(imagenet.with_one_rescaling(published, build())(pixels), expected, rtol=1e-3, atol=1e-9)
