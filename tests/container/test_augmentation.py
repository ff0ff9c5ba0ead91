"""Augmentation: what each layer does to a batch, what it may depend on, and what is said of wrong settings."""

import inspect
import json
import random
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from container.errors import SettingsError
from container.modeling.augmentation import AugmentationModel, Augmentor, build_augmentor
from container.modeling.overrides import override
from container.modeling.settings import ContainerSettings, Image

HEIGHT, WIDTH, CLASSES, BATCH = 20, 24, 3, 6
# Arguments by which each layer changes what it is given.
LAYERS: dict[str, dict[str, Any]] = {
    "AugMix": {"num_chains": 2, "chain_depth": 1},
    "AutoContrast": {},
    "ContrastLimitedAdaptiveHistogramEqualization": {"clip_limit": 3, "tile_grid_size": [4, 4]},
    "CutMix": {"factor": [0.5, 1]},
    "Equalization": {},
    "MixUp": {"alpha": 0.4},
    "RandAugment": {"num_ops": 1, "factor": 0.6},
    "RandomBrightness": {"factor": [-0.5, 0.5]},
    "RandomColorDegeneration": {"factor": 0.7},
    "RandomColorJitter": {
        "brightness_factor": 0.3,
        "contrast_factor": 0.3,
        "saturation_factor": 0.7,
        "hue_factor": 0.4,
    },
    "RandomContrast": {"factor": 0.5},
    "RandomElasticTransform": {},
    "RandomErasing": {"fill_value": [255, 0, 100]},
    "RandomFlip": {"mode": "horizontal"},
    "RandomGaussianBlur": {"kernel_size": 5, "sigma": [0.5, 1]},
    "RandomGrayscale": {},
    "RandomHue": {"factor": 0.5},
    "RandomInvert": {"factor": 0.5},
    "RandomPerspective": {},
    "RandomPosterization": {"factor": [2, 5]},
    "RandomRotation": {"factor": 0.2, "fill_mode": "constant", "fill_value": 255},
    "RandomSaturation": {"factor": [0.0, 1.0]},
    "RandomSharpness": {"factor": 0.9},
    "RandomShear": {"x_factor": 0.3, "y_factor": 0.3},
    "RandomTranslation": {"height_factor": 0.3, "width_factor": 0.3},
    "RandomZoom": {"height_factor": 0.3},
    "Solarization": {"addition_factor": 0.3, "threshold_factor": 0.5},
}
RESIZING = ("CenterCrop", "RandomCrop", "Resizing")
MIXING = ("CutMix", "MixUp")
# They change every image in the same way.
FIXED = ("AutoContrast", "ContrastLimitedAdaptiveHistogramEqualization", "Equalization")
# Made of many operations, or of convolutions.
SLOW = ("AugMix", "RandAugment", "RandomElasticTransform")
COLOR = ("RandomColorDegeneration", "RandomGrayscale", "RandomHue", "RandomSaturation")

Pixels = NDArray[np.float32]


def image(channels: int = 3) -> Image:
    return Image.model_validate({"height": HEIGHT, "width": WIDTH, "channels": channels})


def augmentor(layers: Mapping[str, Any], channels: int = 3, seed: int = 0) -> Augmentor:
    """Return what a job with this hyperparameter trains with."""
    container = override(ContainerSettings(), {"augmentation.layers": json.dumps(layers)})
    return build_augmentor(container.augmentation, image(channels), seed)


def photos(count: int = BATCH, seed: int = 0, channels: int = 3) -> Pixels:
    """Return images that are neither smooth nor mere noise, nor as dark or bright as they could be."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(30, 220, (count, HEIGHT // 4, WIDTH // 4, channels)).repeat(4, 1).repeat(4, 2)
    return (coarse + rng.uniform(-20, 20, (count, HEIGHT, WIDTH, channels))).astype(np.float32)


def labels(count: int = BATCH) -> Pixels:
    return np.eye(CLASSES, dtype=np.float32)[np.arange(count) % CLASSES]


class Step:
    """An augmentor in a compiled step that takes batches of any size, as training has it."""

    def __init__(self, augmentor: Augmentor, channels: int = 3) -> None:
        self.states = list(augmentor.non_trainable_variables)
        signature = [tf.TensorSpec((None, HEIGHT, WIDTH, channels)), tf.TensorSpec((None, CLASSES))]
        self._run = tf.function(augmentor, input_signature=signature)

    def __call__(self, pixels: Pixels, state: int = 1) -> tuple[Pixels, Pixels]:
        for number, variable in enumerate(self.states):
            variable.assign([state + number, 0])
        changed, targets = self._run(tf.constant(pixels), tf.constant(labels(len(pixels))))
        return changed.numpy(), targets.numpy()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in LAYERS]
)
def test_a_layer_changes_each_image_by_itself_and_by_its_seeds_alone(name: str) -> None:
    step, given_pixels = Step(augmentor({name: LAYERS[name]})), photos()
    random.seed(1)
    pixels, targets = step(given_pixels)
    assert pixels.dtype == targets.dtype == np.float32
    assert pixels.shape == given_pixels.shape
    assert pixels.min() >= 0
    assert pixels.max() <= 255
    changed = np.abs(pixels - given_pixels).mean(axis=(1, 2, 3))
    assert changed.max() > 1
    assert bool(step.states) == (name not in FIXED)
    if name not in FIXED:
        assert not np.array_equal(step(given_pixels, state=2)[0], pixels)

    random.seed(2)
    keras.utils.set_random_seed(3)
    np.testing.assert_array_equal(step(given_pixels)[0], pixels)
    np.testing.assert_array_equal(Step(augmentor({name: LAYERS[name]}, seed=9))(given_pixels)[0], pixels)

    if name not in MIXING:
        np.testing.assert_array_equal(targets, labels())
        others = np.concatenate([given_pixels[:1], photos(seed=1)[1:]])
        np.testing.assert_array_equal(step(others)[0][0], pixels[0])
    if name not in (*MIXING, *FIXED):
        alike, _ = step(given_pixels[:1].repeat(BATCH, axis=0))
        assert len({one.tobytes() for one in alike}) > 1
    assert step(given_pixels[:1])[0].shape == (1, HEIGHT, WIDTH, 3)


def test_every_layer_of_keras_that_augments_is_tried_here() -> None:
    augmenting = {
        name
        for name, layer in inspect.getmembers(keras.layers, inspect.isclass)
        if hasattr(layer, "get_random_transformation")
    }
    assert augmenting == {*LAYERS, *RESIZING, "MaxNumBoundingBoxes"}


chains = st.lists(st.sampled_from([name for name in LAYERS if name not in SLOW]), max_size=4, unique=True)


@settings(max_examples=15)
@given(names=chains, seed=st.integers(0, 2**31 - 1), count=st.integers(1, 4))
@pytest.mark.slow
def test_any_chain_of_layers_keeps_shape_and_range_and_repeats_by_its_seed(
    names: list[str], seed: int, count: int
) -> None:
    layers = {name: LAYERS[name] for name in names}
    pixels, targets = augmentor(layers, seed=seed)(photos(count), labels(count))
    assert pixels.shape == (count, HEIGHT, WIDTH, 3)
    assert np.min(pixels) >= 0
    assert np.max(pixels) <= 255
    np.testing.assert_allclose(np.sum(targets, axis=1), 1, rtol=1e-5)
    again, targets_again = augmentor(layers, seed=seed)(photos(count), labels(count))
    np.testing.assert_array_equal(again, pixels)
    np.testing.assert_array_equal(targets_again, targets)


def test_layers_come_in_the_given_order_and_draw_their_own_numbers() -> None:
    brightness, inversion = {"RandomBrightness": {"factor": [0.5, 0.5]}}, {"RandomInvert": {}}
    black = np.zeros((1, HEIGHT, WIDTH, 3), np.float32)
    assert np.all(augmentor(brightness | inversion)(black) == 127.5)
    assert np.all(augmentor(inversion | brightness)(black) == 255)
    states = augmentor({name: LAYERS[name] for name in LAYERS if name not in FIXED}).non_trainable_variables
    assert len({int(state[0]) for state in states}) >= len(LAYERS) - len(FIXED)
    assert not np.array_equal(*(augmentor({"RandomHue": {"factor": 0.5}}, seed=seed)(photos()) for seed in (0, 1)))


def test_without_layers_and_outside_of_training_nothing_changes() -> None:
    pixels, targets = augmentor({})(photos().astype(np.uint8), labels())
    assert pixels.dtype == tf.float32
    np.testing.assert_array_equal(pixels, photos().astype(np.uint8))
    np.testing.assert_array_equal(targets, labels())
    unchanged, _ = augmentor(LAYERS)(photos(), labels(), training=False)
    np.testing.assert_array_equal(unchanged, photos())


def test_the_model_takes_images_alone_unless_it_mixes_targets() -> None:
    model = AugmentationModel(aug_params={"RandomFlip": {"mode": "vertical"}}).build_augmented_model()
    changed = np.asarray(model(photos(30)))
    flipped = np.array([np.array_equal(*pair) for pair in zip(changed, photos(30)[:, ::-1], strict=True)])
    kept = np.array([np.array_equal(*pair) for pair in zip(changed, photos(30), strict=True)])
    assert np.all(flipped ^ kept)
    assert 0 < flipped.sum() < 30
    with pytest.raises(ValueError, match="targets"):
        AugmentationModel({"MixUp": {}}).build_augmented_model()(photos())


@pytest.mark.parametrize("name", MIXING)
def test_targets_are_mixed_as_the_images_are(name: str) -> None:
    count = 60
    shares = (np.arange(count) % 2).astype(np.float32)
    pixels = np.broadcast_to(255 * shares[:, None, None, None], (count, HEIGHT, WIDTH, 3))
    targets = np.stack([1 - shares, shares], axis=1)
    mixed, mixed_targets = augmentor({name: {}})(pixels, targets)
    assert len(np.unique(mixed_targets)) > 10
    np.testing.assert_allclose(np.sum(mixed_targets, axis=1), 1, atol=1e-5)
    # CutMix counts the pixels of a box by its length and height before they are rounded.
    np.testing.assert_allclose(np.mean(mixed, axis=(1, 2, 3)) / 255, mixed_targets[:, 1], atol=0.1)


@pytest.mark.parametrize("name", ["RandAugment", "AugMix"])
def test_operations_are_drawn_image_by_image(name: str) -> None:
    # Some operations leave a plain image as it is.
    plain = np.full((150, HEIGHT, WIDTH, 3), 100, np.float32)
    arguments = {"num_ops": 1} if name == "RandAugment" else {"num_chains": 1, "chain_depth": 1}
    pixels, _ = Step(augmentor({name: arguments}))(plain)
    changed = np.abs(pixels - plain).max(axis=(1, 2, 3)) > 0.01
    assert 15 < changed.sum() < 135


def test_equalization_takes_each_image_by_itself() -> None:
    pixels, _ = Step(augmentor({"Equalization": {}}))(photos() / 2)
    keras_layer = keras.layers.Equalization()
    one_by_one = np.concatenate([keras_layer(one[np.newaxis] / 2) for one in photos()])
    np.testing.assert_allclose(pixels, one_by_one, atol=1)
    assert pixels.min(axis=(1, 2)).max() == 0
    assert pixels.max(axis=(1, 2)).min() == 255


def test_saturation_never_passes_its_limits() -> None:
    gray_to_full, _ = Step(augmentor({"RandomSaturation": {"factor": [1.0, 1.0]}}))(photos())
    # A full saturation leaves at least one of the three colors at nothing, and the brightest one as it is.
    np.testing.assert_allclose(gray_to_full.min(axis=-1), 0, atol=0.01)
    np.testing.assert_allclose(gray_to_full.max(axis=-1), photos().max(axis=-1), rtol=1e-4)


@pytest.mark.parametrize("name", ["RandomFlip", "RandomRotation", "RandomShear", "RandomTranslation", "RandomZoom"])
def test_a_layer_does_the_same_when_it_is_merged_with_others(name: str) -> None:
    arguments = {"RandomFlip": {}, "RandomRotation": {"factor": 0.2}}.get(name, LAYERS[name])
    idle = {"RandomZoom": {"height_factor": 0}} if name != "RandomZoom" else {"RandomRotation": {"factor": 0}}
    alone = np.asarray(augmentor({name: arguments})(photos()))
    merged = np.asarray(augmentor({name: arguments} | idle)(photos()))
    assert np.abs(alone - photos()).mean() > 1
    # A place on the border may be rounded to either side of it.
    assert np.mean(np.abs(alone - merged) > 0.1) < 0.01


def test_merged_layers_move_pixels_as_one_after_the_other() -> None:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    smooth = np.stack([120 + 60 * np.sin(rows / 9), 120 + 60 * np.cos(columns / 9), 3 * (rows + columns)], axis=-1)
    pixels = smooth[np.newaxis].repeat(8, axis=0).astype(np.float32)
    layers: dict[str, Any] = {
        "RandomTranslation": {"height_factor": 0.1, "width_factor": 0.1},
        "RandomFlip": {},
        "RandomRotation": {"factor": 0.05},
        "RandomZoom": {"height_factor": [-0.3, -0.1], "width_factor": [-0.3, -0.1]},
    }
    # A layer that leaves images as they are, but keeps its neighbors from being merged.
    apart: dict[str, Any] = {}
    for name, idle in zip(layers, ("RandomBrightness", "RandomHue", "RandomSharpness", ""), strict=True):
        apart[name] = layers[name]
        if idle:
            apart[idle] = {"factor": [0.5, 0.5] if idle == "RandomSharpness" else 0}
    merged, separate = augmentor(layers), augmentor(apart)
    for one, other in zip(merged.non_trainable_variables, separate.non_trainable_variables[::2], strict=True):
        other.assign(one)
    inner = np.s_[:, 5:-5, 5:-5]
    together, in_turn = np.asarray(merged(pixels))[inner], np.asarray(separate(pixels))[inner]
    assert np.abs(together - pixels[inner]).mean() > 5
    assert np.abs(together - in_turn).mean() < 1.5


@pytest.mark.slow
@pytest.mark.parametrize(
    "names", [("RandomColorJitter", "RandomZoom", "CutMix"), pytest.param(SLOW, marks=pytest.mark.slow)]
)
def test_mixed_precision_does_not_reach_the_augmentation(names: tuple[str, ...]) -> None:
    layers = {name: LAYERS[name] for name in names}
    expected, _ = Step(augmentor(layers))(photos())
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        pixels, _ = Step(augmentor(layers))(photos())
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in LAYERS if name not in COLOR])
def test_greyscale_images_are_augmented_too(name: str) -> None:
    arguments = {
        "RandomColorJitter": {"brightness_factor": 0.3, "contrast_factor": 0.3},
        "RandomErasing": {},
    }.get(name, LAYERS[name])
    gray = photos(channels=1)
    pixels, _ = augmentor({name: arguments}, channels=1)(gray, labels())
    assert pixels.shape == gray.shape
    assert np.abs(pixels - gray).mean() > 0.2


@pytest.mark.parametrize("name", [*COLOR, "RandomColorJitter"])
def test_layers_of_color_are_refused_for_greyscale_images(name: str) -> None:
    with pytest.raises(SettingsError, match=rf"{name}.*image\.channels=1"):
        augmentor({name: LAYERS[name]}, channels=1)


@pytest.mark.parametrize("name", ["AutoContrast", "RandomFlip"])
def test_a_layer_that_is_not_random_is_warned_of(name: str, caplog: pytest.LogCaptureFixture) -> None:
    augmentor({name: {}})
    assert [message.split()[0] for message in caplog.messages] == [layer for layer in FIXED if layer == name]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"RandomFlp": {}}, "RandomFlp is no layer: did you mean RandomFlip?"),
        ({"random_flip": {}}, "did you mean RandomFlip?"),
        ({"Dense": {"units": 3}}, "Dense is a layer of Keras, but none that augments images: choose one of AugMix,"),
        ({"": {}}, "'' is no layer"),
        *(({name: {"height": 8, "width": 8}}, f"{name} makes images of another size") for name in RESIZING),
        ({"MaxNumBoundingBoxes": {"max_number": 1}}, "bounding boxes"),
        ({"RandomFlip": {"mod": "horizontal"}}, "RandomFlip has no argument mod: did you mean mode?"),
        ({"RandomFlip": {"dtype": "float16"}}, "RandomFlip has no argument dtype: choose one of mode"),
        ({"RandomFlip": {"mode": "horizontl"}}, "mode='horizontl') must be one of horizontal, vertical, "),
        ({"RandomFlip": {"mode": "horizontl"}}, "did you mean horizontal?"),
        ({"RandomFlip": {"seed": 3}}, "RandomFlip takes no seed here: training.seed"),
        ({"RandomShear": {}}, "changes nothing without arguments: give x_factor or y_factor"),
        ({"RandomRotation": {}}, "RandomRotation needs the argument factor"),
        ({"RandomRotation": {"factor": "0.1"}}, "RandomRotation(factor='0.1') must be a number, or two numbers"),
        ({"RandomRotation": {"factor": True}}, "factor=True) must be a number"),
        ({"RandomRotation": {"factor": 5}}, "RandomRotation(factor=5) is refused by Keras: The `factor` argument"),
        ({"RandomRotation": {"factor": [0, 5]}}, "in the range [-1, 1]"),
        ({"RandomRotation": {"factor": 0.1, "fill_mode": "refelct"}}, "did you mean reflect?"),
        ({"RandomRotation": {"factor": 0.1, "fill_mode": "mirror"}}, "RandomRotation(fill_mode='mirror') is refused"),
        ({"RandomRotation": {"factor": 0.1, "fill_value": 256}}, "must be a number from 0 to 255"),
        ({"RandomZoom": {"height_factor": [0.1, 0.2, 0.3]}}, "height_factor=[0.1, 0.2, 0.3]) must be"),
        ({"RandomPosterization": {"factor": 3.5}}, "must be a whole number"),
        ({"RandomGaussianBlur": {"kernel_size": 4}}, "must be an odd number"),
        ({"RandAugment": {"num_ops": 0}}, "must be a whole number from 1 to 10"),
        ({"RandAugment": {"value_range": [0, 1]}}, "must be [0, 255]"),
        ({"MixUp": {"alpha": 0}}, "must be a number from 0.01 to 100"),
        (
            {"ContrastLimitedAdaptiveHistogramEqualization": {"tile_grid_size": [63, 63]}},
            "(tile_grid_size=[63, 63]) is refused by Keras: ",
        ),
    ],
    ids=str,
)
def test_wrong_layers_and_arguments_are_refused_with_a_way_out(layers: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        augmentor(layers)
    assert str(caught.value).startswith("augmentation.layers: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_python_callers_are_told_of_wrong_tables_too() -> None:
    wrong: Any = {"RandomFlip": "horizontal"}
    with pytest.raises(SettingsError, match="takes a table of arguments"):
        AugmentationModel(aug_params=wrong).build_augmented_model()
    with pytest.raises(SettingsError, match=r"factor=nan\) must be a number"):
        AugmentationModel(aug_params={"RandomRotation": {"factor": float("nan")}}).build_augmented_model()


ARGUMENTS = [
    (name, argument)
    for name in LAYERS
    for argument in inspect.signature(getattr(keras.layers, name)).parameters
    if argument != "kwargs"
]
values = st.recursive(
    st.none() | st.booleans() | st.integers(-300, 300) | st.floats(-2, 2) | st.text("abc", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(place=st.sampled_from(ARGUMENTS), value=values)
def test_whatever_an_argument_is_it_works_or_is_refused(place: tuple[str, str], value: Any) -> None:
    name, argument = place
    refusal, pixels, targets = "", photos(), labels()
    try:
        pixels, targets = augmentor({name: LAYERS[name] | {argument: value}})(pixels, targets)
    except SettingsError as error:
        refusal = str(error)
    assert not refusal or (name in refusal and argument in refusal)
    assert np.min(pixels) >= 0
    assert np.max(pixels) <= 255
    assert np.isfinite(targets).all()
