"""Downloads backbones trained on ImageNet, as files that `backbones.py` reads.

The Dockerfile runs this file by itself, before the rest of the code is in the image, so that its layer stays while
that code changes: it imports nothing of ours.

    python imagenet.py FOLDER [BACKBONE ...]
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

# A size that every backbone takes, and that most were trained at. What MobileNet and MobileNetV2 have for others is
# not asked for: a backbone has the same weights at every input size.
SIZE = (224, 224, 3)


class DownloadError(Exception):
    """The weights of a backbone cannot be had."""


def weights_file(folder: Path, backbone: str) -> Path:
    """Return where the weights of a backbone lie in a folder of them."""
    return folder / f"{backbone}.weights.h5"


def download(backbone: str, file: Path) -> None:
    """Write the ImageNet weights of a backbone of keras.applications, without its head, into a `.weights.h5` file.

    They fit what keras.applications builds with `weights=None`. Keras takes them from its cache if they lie there.

    Raises:
        DownloadError: there is no such backbone, or Keras cannot download its weights.
    """
    import keras

    build = getattr(keras.applications, backbone, None)
    if not callable(build):
        raise DownloadError(f"keras.applications has no model {backbone!r}")
    try:
        network = build(include_top=False, weights="imagenet", input_shape=SIZE)
    # Keras raises a plain Exception when a download fails.
    except Exception as error:
        raise DownloadError(
            f"the imagenet weights of {backbone} cannot be downloaded: {' '.join(str(error).split())}"
        ) from error
    if backbone.startswith("EfficientNetB"):
        network = with_one_rescaling(network, build(include_top=False, weights=None, input_shape=SIZE))
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        partial = Path(folder) / file.name
        network.save_weights(partial)
        partial.rename(file)


def with_one_rescaling(published: Any, plain: Any) -> Any:
    """Return an EfficientNet as Keras builds it with `weights=None`, with the weights of one built with "imagenet".

    Only the latter has a layer behind the normalization that rescales once more: here the normalization does both.
    """
    import keras

    layers = [layer for layer in published.layers if layer.weights]
    for source, target in zip(layers, [layer for layer in plain.layers if layer.weights], strict=True):
        target.set_weights(source.get_weights())
        if isinstance(target, keras.layers.Normalization):
            position = published.layers.index(source)
            (scale,) = (layer.scale for layer in published.layers[position + 1 : position + 2])
            mean, variance, count = source.get_weights()
            target.set_weights([mean, variance / [factor**2 for factor in scale], count])
            target.finalize_state()
    return plain


def main(arguments: list[str]) -> None:
    """Download the backbones that are named into the folder, which is made in any case."""
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    for backbone in arguments[1:]:
        try:
            download(backbone, weights_file(folder, backbone))
        except DownloadError as error:
            sys.exit(f"error: {error}")
        print(f"the weights of {backbone} are in {folder}")


if __name__ == "__main__":
    main(sys.argv[1:])
