"""What `fine_tune` puts its new head on: a network of keras.applications, or an earlier training job's model."""

import inspect
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from container.errors import SettingsError
from container.modeling.networks import imagenet
from container.modeling.networks.earlier_models import CHANNEL, EarlierModel, opened, source
from container.modeling.networks.layers import (
    DifferentNetworksError,
    before_head,
    copy_weights,
    in_plain_layers,
    under_present_policy,
)
from container.modeling.settings import FineTuning

BACKBONE = "backbone"
# The layer that reorders channels; it never learns.
REVERSED_CHANNELS = "reversed_channels"
# Where the Dockerfile puts what it downloads. What is not there is downloaded when it is needed.
IMAGENET_FOLDER = Path(__file__).resolve().parents[3] / "imagenet"


@dataclass(frozen=True)
class WeightFolders:
    """Where first weights lie."""

    pretrained: Path | None = None
    """The folder of the channel `pretrained`; None: the job has no such channel."""
    imagenet: Path = IMAGENET_FOLDER
    """What `imagenet.download` wrote."""


def on_backbone(pixels: Any, settings: FineTuning, folders: WeightFolders) -> Any:
    """Return the features, shape (batch, features), that a backbone finds in images.

    The backbone becomes one layer, called `backbone`. It is frozen, and its batch normalization keeps its averages
    also when its weights learn later on.

    Args:
        pixels: a symbolic tensor of shape (batch, height, width, channels), 0 to 255.
        settings: which backbone, with which weights.
        folders: where weights may lie.

    Raises:
        SettingsError: the backbone is unknown, takes no images of this size, or has no such weights.
    """
    if pixels.shape[-1] not in (1, 3):
        raise SettingsError(f"a backbone takes 1 or 3 channels, and parts.preprocessor makes {pixels.shape[-1]}")
    if settings.backbone == CHANNEL:
        backbone = _of_earlier_model(pixels.shape[1:], folders)
        pixels = _in_channels(pixels, backbone.input_shape[-1])
    else:
        backbone, preprocess = _of_applications(pixels.shape[1:3], settings, folders)
        pixels = _preprocessed(_in_channels(pixels, 3), preprocess)
    backbone.trainable = False
    return backbone(pixels, training=False)


def _of_earlier_model(shape: Any, folders: WeightFolders) -> keras.Model:
    with opened(source(CHANNEL, "fine_tuning.backbone", folders.pretrained)) as earlier:
        network = under_present_policy(earlier.network())
    wanted = network.input_shape[1:]
    same_size = all(size in (None, here) for size, here in zip(wanted[:2], shape[:2], strict=True))
    # Grey images become colored ones, not the other way round.
    if not same_size or (wanted[2], shape[2]) not in ((1, 1), (3, 3), (3, 1)):
        raise SettingsError(
            f"fine_tuning.backbone=pretrained: {earlier.shown} takes images of {_written(wanted)}, but here they are "
            f"of {_written(shape)}: set image.height, image.width and image.channels as in the earlier job"
        )
    try:
        return keras.Model(network.inputs[0], before_head(network), name=BACKBONE)
    except DifferentNetworksError as error:
        raise SettingsError(
            f"fine_tuning.backbone=pretrained: {earlier.shown} has no head to replace: {error}"
        ) from None


def _of_applications(size: Any, settings: FineTuning, folders: WeightFolders) -> tuple[keras.Model, Any]:
    """Return a backbone with its weights, and its preprocessing, which stands in the same module of Keras."""
    build: Any = getattr(keras.applications, settings.backbone, None)
    if build is None:
        raise SettingsError(f"fine_tuning.backbone={settings.backbone}: keras.applications has no such model")
    try:
        network = build(include_top=False, weights=None, input_shape=(*size, 3), pooling="avg")
    except ValueError as error:
        raise SettingsError(f"{settings.backbone} cannot be built: {_one_line(error)}") from error
    if settings.weights == "imagenet":
        with _imagenet_file(settings.backbone, folders.imagenet) as file:
            network.load_weights(file)
    elif settings.weights != "none":
        with opened(source(settings.weights, "fine_tuning.weights", folders.pretrained)) as earlier:
            _load(network, earlier, settings.backbone)
    plain = in_plain_layers(network)
    module: Any = inspect.getmodule(build)
    return keras.Model(plain.input, plain.output, name=BACKBONE), module.preprocess_input


@contextmanager
def _imagenet_file(backbone: str, folder: Path) -> Iterator[Path]:
    file = imagenet.weights_file(folder, backbone)
    if file.is_file():
        yield file
        return
    with tempfile.TemporaryDirectory() as temporary:
        file = imagenet.weights_file(Path(temporary), backbone)
        try:
            imagenet.download(backbone, file)
        except imagenet.DownloadError as error:
            raise SettingsError(
                f"{error}; name the backbone in training_image.backbones and build the image anew, give the job "
                "network access, or set fine_tuning.weights to a file, to `pretrained` or to none"
            ) from error
        yield file


def _load(network: keras.Model, earlier: EarlierModel, backbone: str) -> None:
    """Give a backbone the weights of a file: of the backbone alone, or of a model that has it within."""
    if not earlier.is_whole:
        earlier.load_into(network)
        return
    whole = earlier.network()
    for candidate in (whole, *(layer for layer in whole.layers if isinstance(layer, keras.Model))):
        try:
            copy_weights(candidate, network)
            return
        except DifferentNetworksError:
            continue
    raise SettingsError(
        f"fine_tuning.weights: there is no {backbone} in {earlier.shown}: set fine_tuning.backbone to the one it has, "
        "or to `pretrained`"
    )


def _in_channels(pixels: Any, channels: int) -> Any:
    return pixels if pixels.shape[-1] == channels else keras.layers.Concatenate()([pixels] * channels)


def _preprocessed(pixels: Any, preprocess: Any) -> Any:
    """Apply a backbone's own preprocessing as layers that can be saved: channels in its order, scaled and shifted."""
    # Each of them is such a map, and four colors tell which.
    probes = np.concatenate([np.zeros((1, 3)), 255 * np.eye(3)]).reshape((4, 1, 1, 3)).astype("float32")
    black, *primaries = np.asarray(preprocess(probes.copy())).reshape((4, 3))
    matrix = (np.stack(primaries) - black) / 255
    if matrix[0, 0] == 0:
        # No layer reorders channels but a convolution, and HDF5 knows layers only.
        reverse = keras.layers.Conv2D(3, 1, use_bias=False, trainable=False, name=REVERSED_CHANNELS)
        pixels, matrix = reverse(pixels), matrix[::-1]
        reverse.set_weights([np.eye(3)[::-1].reshape((1, 1, 3, 3))])
    return keras.layers.Rescaling(np.diag(matrix).tolist(), black.tolist())(pixels)


def _written(shape: Any) -> str:
    height, width, channels = ("any" if size is None else size for size in shape)
    return f"{height}x{width} pixels and {channels} channels"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
