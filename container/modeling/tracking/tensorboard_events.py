"""Writes what TensorBoard shows, by TensorFlow alone: the package `tensorboard` is needed only to look at it.

tf.summary.scalar and tf.summary.image need that package for a few bytes, the metadata of their plugins; those that
tf.summary.write takes are described in tensorboard/plugins/scalar/metadata.py and tensorboard/plugins/image/metadata.py
of https://github.com/tensorflow/tensorboard/tree/2.21.0.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import confusion_matrix

from container.modeling.optimization.observing import ObservedEpoch
from container.modeling.settings import Tracking
from container.modeling.tracking.confusion_picture import confusion_png
from container.modeling.tracking.shown import shown_epoch, shown_results
from container.modeling.tracking.tracker import Results

logger = logging.getLogger(__name__)

# Figures of the training steps, and of the validation, which TensorBoard shows in groups by what is before the slash.
GROUPS = {"val_loss": "validation", "val_accuracy": "validation", "val_f1": "validation", "seconds": "time"}
GROUPS |= {"validation_seconds": "time", "data_seconds": "time"}
# https://github.com/tensorflow/tensorflow/blob/v2.21.0/tensorflow/core/framework/summary.proto
SCALAR, BLOB_SEQUENCE = 1, 3


class TensorBoardEvents:
    """Scalars and confusion matrix of each epoch, the model's graph, and a profile of chosen steps."""

    name = "TensorBoard"
    extra = ""
    remedy = "is the disk of the instance full? raise training_job.volume_size_gb, or set tracking.tensorboard=false"

    def __init__(self, settings: Tracking, folder: Path, model: keras.Model, classes: Sequence[str]) -> None:
        self._settings, self._folder, self._model, self._classes = settings, folder, model, classes
        self._writer: Any = None
        self._is_profiling = False

    def begin(self) -> None:
        """Open a file of events, with the model's graph as it predicts."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._writer = tf.summary.create_file_writer(str(self._folder))
        pixels = tf.TensorSpec((None, *self._model.input_shape[1:]), tf.float32, name="pixels")
        forward = tf.function(lambda batch: self._model(batch, training=False), autograph=False)
        with self._writer.as_default():
            tf.summary.graph(forward.get_concrete_function(pixels).graph)
        self._writer.flush()

    def before_steps(self, first: int, count: int) -> None:
        """Begin or end the profile. It has whole groups of steps, as they run at once, from the chosen ones' first."""
        chosen = self._settings.profile_first_step
        if self._is_profiling and first >= chosen + self._settings.profile_steps:
            self._end_profile()
        elif first <= chosen < first + count:
            try:
                tf.profiler.experimental.start(str(self._folder))
            except tf.errors.OpError as error:
                logger.warning("the steps are not profiled: %s", error.message)
            else:
                self._is_profiling = True

    def log_epoch(self, epoch: ObservedEpoch) -> None:
        """Write an epoch's figures, and what the model took the validation images for."""
        # Before the validation's figures there are no more steps.
        self._end_profile()
        number, said = epoch.row.epoch, epoch.validation
        positions = np.arange(len(self._classes))
        matrix = confusion_matrix(said.labels, said.probabilities.argmax(axis=1), labels=positions)
        with self._writer.as_default():
            for name, value in shown_epoch(epoch.row).items():
                _scalar(f"{GROUPS.get(name, 'training')}/{name}", value, number)
            _picture("validation/confusion_matrix", confusion_png(matrix, self._classes), number)
        self._writer.flush()

    def abandon(self) -> None:
        """Nothing of it holds up the end of the process."""

    def finish(self, results: Results | None) -> None:
        """Write the figures of the finished model, and close the file."""
        self._end_profile()
        if results:
            metrics = results.metrics
            matrix = np.array(metrics.confusion_matrix)
            with self._writer.as_default():
                for name, value in shown_results(metrics).items():
                    _scalar(f"finished/{name}", value, metrics.best_epoch.epoch)
                _picture("finished/confusion_matrix", confusion_png(matrix, self._classes), metrics.best_epoch.epoch)
        self._writer.close()

    def _end_profile(self) -> None:
        if self._is_profiling:
            self._is_profiling = False
            tf.profiler.experimental.stop()


def _scalar(tag: str, value: float, step: int) -> None:
    tf.summary.write(tag, tf.constant(value, tf.float32), step, _metadata("scalars", SCALAR))


def _picture(tag: str, png: bytes, step: int) -> None:
    width, height = (str(int.from_bytes(png[begin : begin + 4], "big")) for begin in (16, 20))
    content = tf.constant([width.encode(), height.encode(), png])
    tf.summary.write(tag, content, step, _metadata("images", BLOB_SEQUENCE))


def _metadata(plugin: str, data_class: int) -> Any:
    metadata = tf.compat.v1.SummaryMetadata(data_class=data_class)
    metadata.plugin_data.plugin_name = plugin
    return metadata
