"""Starting from an earlier model: its archive or file, the whole of it or what stands before its head."""

import io
import json
import logging
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from container.errors import ProjectError, SettingsError
from container.modeling.networks.backbones import WeightFolders
from container.modeling.networks.initial_weights import load_initial_weights
from container.modeling.networks.layers import leaves
from container.modeling.networks.models import build_model, class_probabilities, release_last_layers
from container.modeling.settings import ContainerSettings, FineTuning, Image, Model

FLOWERS = ("daisy", "rose", "tulip")
IMAGE = Image(height=8, width=8)
FILTERS = (2, 2, 2, 2, 4)
# Backbones of special layers, and of many weights.
SLOW = ("MobileNetV3Small", "VGG16")


def baseline(image: Image = IMAGE, **model: Any) -> ContainerSettings:
    return ContainerSettings(image=image, model=Model(**{"filters": FILTERS, "head": ((4, 0.3),)} | model))


def on_earlier_model(image: Image = IMAGE, **fine_tuning: Any) -> ContainerSettings:
    values = {"backbone": "pretrained", "released_layers": 10_000} | fine_tuning
    return ContainerSettings(
        image=image, model=Model(name="fine_tune", head=((4, 0.3),)), fine_tuning=FineTuning(**values)
    )


def noise(image: Image = IMAGE) -> NDArray[np.float32]:
    shape = (3, image.height, image.width, image.channels)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)


def trained(settings: ContainerSettings | None = None, class_count: int = 3) -> keras.Model:
    """A model none of whose weights is what it is made with."""
    model = build_model(settings or baseline(), class_count)
    random = np.random.default_rng(1)
    for layer in leaves(model):
        layer.set_weights([random.uniform(0.1, 1, array.shape) for array in layer.get_weights()])
    return model


def archive(folder: Path, model: keras.Model, classes: Sequence[str] | None = FLOWERS, name: str = "model.h5") -> Path:
    """The folder of a channel with a training job's model.tar.gz."""
    folder.mkdir(exist_ok=True)
    model.save(folder / name)
    with tarfile.open(folder / "model.tar.gz", "w:gz") as packed:
        packed.add(folder / name, f"./{name}")
        if classes:
            content = json.dumps(classes).encode()
            member = tarfile.TarInfo("classes.json")
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    (folder / name).unlink()
    return folder


def started(settings: ContainerSettings, classes: Sequence[str], channel: Path | None) -> keras.Model:
    """A new model as a training job starts from it."""
    folders = WeightFolders(pretrained=channel)
    model = build_model(settings, len(classes), folders=folders)
    load_initial_weights(model, settings.model, classes, folders)
    return model


def probabilities(model: keras.Model, image: Image = IMAGE) -> NDArray[Any]:
    return class_probabilities(np.asarray(model(noise(image))))


class TestInitialWeights:
    @pytest.mark.parametrize("name", ["model.keras", "model.h5"])
    def test_the_same_classes_give_the_same_probabilities(self, tmp_path: Path, name: str) -> None:
        earlier = trained()
        channel = archive(tmp_path / "channel", earlier, name=name)
        model = started(baseline(initial_weights="pretrained"), FLOWERS, channel)
        np.testing.assert_allclose(probabilities(model), probabilities(earlier), atol=1e-6)

    def test_the_same_classes_in_another_order_keep_what_was_learned(self, tmp_path: Path) -> None:
        earlier = trained()
        model = started(baseline(initial_weights="pretrained"), FLOWERS[::-1], archive(tmp_path, earlier))
        np.testing.assert_allclose(probabilities(model), probabilities(earlier)[:, ::-1], atol=1e-6)

    def test_a_new_class_starts_anew_beside_the_known_ones(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        earlier = trained()
        classes = ("aster", "rose", "daisy")
        with caplog.at_level(logging.INFO):
            model = started(baseline(initial_weights="pretrained"), classes, archive(tmp_path, earlier))
        old, new = (network.get_layer("probabilities").get_weights()[0] for network in (earlier, model))
        np.testing.assert_array_equal(new[:, 1:], old[:, [1, 0]])
        assert not np.isin(new[:, 0], old).any()
        assert "the classes rose, daisy" in caplog.text
        assert "anew for the classes aster" in caplog.text

    def test_other_classes_keep_all_but_the_last_layer(self, tmp_path: Path) -> None:
        earlier = trained()
        model = started(baseline(initial_weights="pretrained"), ("cat", "dog"), archive(tmp_path, earlier))
        before = [keras.Model(network.input, network.layers[-1].input) for network in (earlier, model)]
        np.testing.assert_allclose(before[0](noise()), before[1](noise()), atol=1e-6)
        assert model.output_shape == (None, 2)

    @pytest.mark.parametrize("outputs", [("softmax", "sigmoid"), ("sigmoid", "softmax"), ("sigmoid", "sigmoid")])
    def test_two_classes_may_change_their_places_and_their_output(
        self, tmp_path: Path, outputs: tuple[str, str]
    ) -> None:
        earlier = trained(baseline(output=outputs[0]), 2)
        channel = archive(tmp_path, earlier, ("cat", "dog"))
        model = started(baseline(output=outputs[1], initial_weights="pretrained"), ("dog", "cat"), channel)
        np.testing.assert_allclose(probabilities(model), probabilities(earlier)[:, ::-1], atol=1e-5)

    def test_a_file_of_weights_is_enough_for_the_same_classes(self, tmp_path: Path) -> None:
        earlier = trained()
        earlier.save_weights(file := tmp_path / "any.weights.h5")
        model = started(baseline(initial_weights=str(file)), FLOWERS, None)
        np.testing.assert_allclose(probabilities(model), probabilities(earlier), atol=1e-6)
        with pytest.raises(SettingsError, match=r"any\.weights\.h5 does not fit the network"):
            started(baseline(initial_weights=str(file)), ("cat", "dog"), None)

    def test_a_model_without_names_is_taken_to_have_those_of_the_job(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        earlier = trained()
        earlier.save(tmp_path / "own.keras")
        model = started(baseline(initial_weights="pretrained"), FLOWERS, tmp_path)
        np.testing.assert_allclose(probabilities(model), probabilities(earlier), atol=1e-6)
        assert "does not tell its classes" in caplog.text

    def test_another_architecture_is_refused_with_what_differs(self, tmp_path: Path) -> None:
        channel = archive(tmp_path, trained())
        with pytest.raises(SettingsError, match=r"model\.h5 in .*model\.tar\.gz .* number 1 \(Conv2D\) has 3x3x3x2"):
            started(baseline(filters=(3, 2, 2, 2, 4), initial_weights="pretrained"), FLOWERS, channel)
        with pytest.raises(SettingsError, match="layers with weights"):
            started(baseline(head=(), initial_weights="pretrained"), FLOWERS, channel)

    @pytest.mark.slow
    def test_fine_tuning_needs_no_weights_of_the_backbone_then(self, tmp_path: Path) -> None:
        image = Image(height=32, width=32)
        settings = on_earlier_model(image, backbone="MobileNet", weights="none")
        earlier = build_model(settings, 3)
        channel = archive(tmp_path, earlier)
        again = on_earlier_model(image, backbone="MobileNet", weights="imagenet")
        again = again.model_copy(update={"model": again.model.model_copy(update={"initial_weights": "pretrained"})})
        model = started(again, FLOWERS, channel)
        np.testing.assert_allclose(probabilities(model, image), probabilities(earlier, image), atol=1e-6)


@pytest.mark.slow
class TestPretrainedBackbone:
    def test_all_before_the_head_is_taken_over_and_learns_in_the_second_phase(self, tmp_path: Path) -> None:
        earlier = trained()
        settings = on_earlier_model()
        model = started(settings, ("cat", "dog"), archive(tmp_path, earlier))
        flat = keras.Model(earlier.input, earlier.get_layer(index=-6).output)
        assert isinstance(earlier.get_layer(index=-6), keras.layers.Flatten)
        np.testing.assert_allclose(model.get_layer("backbone")(noise()), flat(noise()), atol=1e-5)
        assert model.get_layer("backbone").trainable_weights == []
        release_last_layers(model, settings.fine_tuning)
        assert [weight.name for weight in model.get_layer("backbone").trainable_weights] == ["kernel"] * 5

    def test_a_model_on_a_model_on_a_model_is_saved_whole(self, tmp_path: Path) -> None:
        model = trained()
        for step in range(2):
            channel = archive(tmp_path / str(step), model)
            model = started(on_earlier_model(), FLOWERS, channel)
        model.save(tmp_path / "model.h5")
        np.testing.assert_allclose(keras.models.load_model(tmp_path / "model.h5")(noise()), model(noise()), atol=1e-6)

    @pytest.mark.slow
    def test_the_backbone_of_a_fine_tuned_model_keeps_its_preprocessing(self, tmp_path: Path) -> None:
        image = Image(height=32, width=32)
        earlier = build_model(on_earlier_model(image, backbone="VGG16", weights="none"), 3)
        settings = on_earlier_model(image)
        model = started(settings, ("cat", "dog"), archive(tmp_path, earlier))
        inner = keras.Model(earlier.input, earlier.get_layer(index=-5).input)
        np.testing.assert_allclose(model.get_layer("backbone")(noise(image)), inner(noise(image)), rtol=1e-4)
        release_last_layers(model, settings.fine_tuning)
        # The layer that puts channels into VGG16's order stays as it is.
        learning = model.get_layer("backbone").trainable_weights
        assert len(learning) == len(earlier.get_layer("backbone").weights)

    def test_a_backbone_takes_its_weights_from_a_model_that_has_it_within(self, tmp_path: Path) -> None:
        image = Image(height=32, width=32)
        earlier = build_model(on_earlier_model(image, backbone="MobileNet", weights="none"), 3)
        channel = archive(tmp_path, earlier)
        model = started(on_earlier_model(image, backbone="MobileNet", weights="pretrained"), ("cat", "dog"), channel)
        here, there = (network.get_layer("backbone").get_weights() for network in (model, earlier))
        assert all(np.array_equal(one, other) for one, other in zip(here, there, strict=True))
        with pytest.raises(SettingsError, match=r"there is no VGG16 in model\.h5"):
            started(on_earlier_model(image, backbone="VGG16", weights="pretrained"), FLOWERS, channel)

    def test_images_of_another_size_are_refused_with_both(self, tmp_path: Path) -> None:
        channel = archive(tmp_path, trained())
        with pytest.raises(SettingsError, match=r"of 8x8 pixels and 3 channels, but here they are of 8x16 pixels"):
            started(on_earlier_model(Image(height=8, width=16)), FLOWERS, channel)
        grey = Image(height=8, width=8, channels=1)
        assert probabilities(started(on_earlier_model(grey), FLOWERS, channel), grey).shape == (3, 3)

    @pytest.mark.parametrize("backbone", ["MobileNet", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
    def test_it_computes_in_the_precision_of_the_new_job(self, tmp_path: Path, backbone: str) -> None:
        image = Image(height=32, width=32)
        earlier = build_model(on_earlier_model(image, backbone=backbone, weights="none"), 3)
        channel = archive(tmp_path, earlier)
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            model = started(on_earlier_model(image), FLOWERS, channel)
        finally:
            keras.config.set_dtype_policy("float32")
        kinds = {layer.compute_dtype for layer in leaves(model.get_layer("backbone")) if layer.weights}
        assert kinds == {"bfloat16"}
        assert model(noise(image)).dtype == "float32"

    def test_a_model_that_is_only_a_head_keeps_its_hidden_layers(self, tmp_path: Path) -> None:
        layers = keras.layers
        earlier = keras.Sequential(
            [keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(5, "relu"), layers.Dense(3, "softmax")]
        )
        model = started(on_earlier_model(), ("cat", "dog"), archive(tmp_path, earlier))
        assert model.get_layer("backbone").output_shape == (None, 5)


def write_archive(file: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(file, "w:gz") as packed:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))


class TestDamagedAndHostile:
    def start(self, channel: Path) -> keras.Model:
        return started(on_earlier_model(), FLOWERS, channel)

    def test_a_damaged_archive_is_named(self, tmp_path: Path) -> None:
        whole = (archive(tmp_path, trained()) / "model.tar.gz").read_bytes()
        for content in (b"", b"no archive", whole[: len(whole) // 2]):
            (tmp_path / "model.tar.gz").write_bytes(content)
            with pytest.raises(SettingsError, match=r"model\.tar\.gz is no whole tar\.gz archive"):
                self.start(tmp_path)

    def test_an_archive_without_a_model_is_named(self, tmp_path: Path) -> None:
        write_archive(tmp_path / "model.tar.gz", {"../model.keras": b"x", "deep/model.h5": b"x", "classes.json": b"[]"})
        with pytest.raises(SettingsError, match=r"holds neither model\.keras nor model\.h5"):
            self.start(tmp_path)
        assert not (tmp_path.parent / "model.keras").exists()

    @pytest.mark.parametrize("name", ["model.keras", "model.h5"])
    def test_a_damaged_model_is_named(self, tmp_path: Path, name: str) -> None:
        write_archive(tmp_path / "model.tar.gz", {name: b"no model"})
        with pytest.raises(SettingsError, match=rf"{name} in .*model\.tar\.gz cannot be read as a model of Keras"):
            self.start(tmp_path)

    def test_a_link_in_an_archive_is_not_followed(self, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_bytes(b"x")
        (tmp_path / "channel").mkdir()
        with tarfile.open(tmp_path / "channel" / "model.tar.gz", "w:gz") as packed:
            member = tarfile.TarInfo("model.keras")
            member.type, member.linkname = tarfile.SYMTYPE, str(secret)
            packed.addfile(member)
        with pytest.raises(SettingsError, match="holds neither"):
            self.start(tmp_path / "channel")

    @pytest.mark.parametrize("name", ["model.keras", "model.h5"])
    def test_code_in_a_model_is_not_run(self, tmp_path: Path, name: str) -> None:
        ran = tmp_path / "ran"
        file = str(ran)
        pixels = keras.Input((8, 8, 3))
        harmful = keras.layers.Lambda(lambda maps: (os.mknod(file), maps)[1], output_shape=(8, 8, 3))
        outputs = keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(harmful(pixels)))
        earlier = keras.Model(pixels, outputs)
        channel = archive(tmp_path / "channel", earlier, name=name)
        with pytest.raises(SettingsError, match="cannot be read as a model of Keras"):
            self.start(channel)
        assert not ran.exists()
        earlier(noise())
        assert ran.exists()

    def test_a_pickle_is_no_model(self, tmp_path: Path) -> None:
        (tmp_path / "model.pkl").write_bytes(b"\x80\x04")
        with pytest.raises(SettingsError, match=r"must hold one model, .* it holds none"):
            self.start(tmp_path)
        with pytest.raises(SettingsError, match=r"model\.pkl is no model: its name must end in"):
            started(baseline(initial_weights=str(tmp_path / "model.pkl")), FLOWERS, None)

    def test_several_models_leave_open_which_one_is_meant(self, tmp_path: Path) -> None:
        for name in ("a.keras", "b.h5"):
            (tmp_path / name).touch()
        with pytest.raises(SettingsError, match=r"it holds a\.keras, b\.h5"):
            self.start(tmp_path)

    def test_weights_alone_are_no_backbone(self, tmp_path: Path) -> None:
        trained().save_weights(tmp_path / "own.weights.h5")
        with pytest.raises(SettingsError, match="has weights only: a whole model is needed"):
            self.start(tmp_path)

    def test_damaged_names_of_classes_are_named(self, tmp_path: Path) -> None:
        channel = archive(tmp_path, trained(), ("one", "two"))
        with pytest.raises(ProjectError, match=r"has 3 outputs, but classes\.json 2 names"):
            started(baseline(initial_weights="pretrained"), FLOWERS, channel)

    def test_a_missing_file_is_named(self) -> None:
        with pytest.raises(SettingsError, match=r"model\.initial_weights=/no/file\.keras: there is no such file"):
            started(baseline(initial_weights="/no/file.keras"), FLOWERS, None)
