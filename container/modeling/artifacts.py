"""Writes what lies in model.tar.gz: the model in three formats, and what is known about it.

`checkpoint/` is a SavedModel for TensorFlow Serving and its like, with two signatures. Both return `probabilities`,
float32 of shape (images, classes):

- `serving_default` (also called `serving_pixels`) takes `pixels`: float32, 0 to 255, of shape (images, height, width,
  channels), the input size of the settings.
- `serving_images` takes `image_bytes`: strings of shape (images,), each an encoded image of any size (JPEG, PNG, GIF,
  BMP, WebP), which is decoded and resized as in training.

`model.keras` and `model.h5` take pixels. The pickles hold plain Python and NumPy objects only.
"""

import logging
import pickle
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from container.modeling.decoding import decode_image
from container.modeling.evaluate import as_report
from container.modeling.networks.models import class_probabilities
from container.modeling.settings import ContainerSettings, Image
from container.report import facts
from container.report.page import write_report

logger = logging.getLogger(__name__)

# Hidden, and on the file system of the model's folder, where a rename is one step.
INCOMPLETE_FOLDER = ".incomplete"
# Every Python since 3.4 reads it.
PICKLE_PROTOCOL = 4


def write_model(folder: Path, model: keras.Model, settings: ContainerSettings, classes: Sequence[str]) -> None:
    """Write the model into a folder in its three formats, with its classes and settings.

    What an earlier run left under these names is replaced; nothing appears before all of it is written.
    """
    with _written_at_once(folder) as incomplete:
        # The optimizer's state belongs to the last epoch, the weights to the best one: it is left out.
        model = keras.Model(model.inputs, model.outputs, name=model.name)
        model.save(incomplete / facts.KERAS_FILE)
        model.save(incomplete / facts.H5_FILE)
        _export(incomplete / facts.SAVED_MODEL_FOLDER, model, settings.image)
        facts.write_classes(incomplete / facts.CLASSES_FILE, classes)
        (incomplete / facts.CONFIG_FILE).write_text(settings.model_dump_json(indent=2) + "\n", encoding="utf-8")
        # As Keras's class_indices: position by name.
        _pickle(incomplete / facts.CLASSES_PICKLE, {name: position for position, name in enumerate(classes)})
        _pickle(incomplete / facts.CONFIG_PICKLE, settings.model_dump())


def write_judgement(
    folder: Path,
    metrics: facts.Metrics,
    history: Sequence[facts.Epoch],
    predictions: facts.Predictions,
    diagnostics: facts.Diagnostics,
) -> None:
    """Write how the model came about and how good it is, beside it and in the same way."""
    with _written_at_once(folder) as incomplete:
        facts.write_history(incomplete / facts.HISTORY_FILE, history)
        metrics.write(incomplete / facts.METRICS_FILE)
        predictions.write(incomplete / facts.PREDICTIONS_FILE)
        diagnostics.write(incomplete / facts.DIAGNOSTICS_FILE)
        _pickle(incomplete / facts.REPORT_PICKLE, as_report(metrics))
        _pickle(incomplete / facts.CONFUSION_PICKLE, np.array(metrics.confusion_matrix, np.int64))


def write_page(folder: Path, image_folders: Mapping[str, Path]) -> None:
    """Make report.html of what lies in the folder; a failure is told and passed over: the model is worth as much.

    Args:
        folder: the model's.
        image_folders: of the sets whose images the page may show, by the set's name.
    """
    try:
        write_report(folder, image_folders)
    except Exception:
        logger.exception("report.html could not be made; the files that it shows are whole")


@contextmanager
def _written_at_once(folder: Path) -> Iterator[Path]:
    incomplete = folder / INCOMPLETE_FOLDER
    _remove(incomplete)
    incomplete.mkdir(parents=True)
    try:
        yield incomplete
        for whole in sorted(incomplete.iterdir()):
            _remove(folder / whole.name)
            whole.rename(folder / whole.name)
    finally:
        _remove(incomplete)


def _export(folder: Path, model: keras.Model, image: Image) -> None:
    # keras.export.ExportArchive of Keras 3.15 traces each signature twice and writes each weight twice.
    def from_pixels(pixels: Any) -> dict[str, Any]:
        return {"probabilities": class_probabilities(model(pixels, training=False))}

    def from_images(image_bytes: Any) -> dict[str, Any]:
        decoded = tf.TensorSpec(size, tf.uint8)
        pixels = tf.map_fn(lambda encoded: decode_image(encoded, image), image_bytes, fn_output_signature=decoded)
        return serving_pixels(tf.cast(pixels, tf.float32))

    size = image.height, image.width, image.channels
    serving_pixels = _traced(from_pixels, tf.TensorSpec((None, *size), tf.float32, name="pixels"))
    serving_images = _traced(from_images, tf.TensorSpec((None,), tf.string, name="image_bytes"))
    module = tf.Module()
    # A SavedModel holds what hangs on its module: what the functions read, and the lookup tables of the user's layers.
    module.read = serving_pixels.variables
    tables = tf.saved_model.experimental.TrackableResource
    module.tables = [part for part in tf.train.TrackableView(model).descendants() if isinstance(part, tables)]
    signatures = {
        "serving_default": serving_pixels,
        "serving_pixels": serving_pixels,
        "serving_images": serving_images,
    }
    tf.saved_model.save(module, folder, signatures=signatures)


def _traced(function: Callable[[Any], Any], argument: Any) -> Any:
    return tf.function(function, autograph=False).get_concrete_function(argument)


def _pickle(file: Path, content: Any) -> None:
    file.write_bytes(pickle.dumps(content, protocol=PICKLE_PROTOCOL))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
