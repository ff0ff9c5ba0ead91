"""The images of a channel, wherever their pixels come from."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from container.dataset.index import ImageFolder
from container.dataset.sharded_folder import ShardedFolder
from container.modeling.input_pipeline.streamed_shards import PieceReader


@dataclass(frozen=True, eq=False)
class LabeledImages:
    """The images of one channel: files, parts of shards, or pixels that are in memory already.

    An image is known by its position. What reads it asks its `reader`, so that images may lie elsewhere than in files.
    """

    classes: tuple[str, ...]
    labels: NDArray[np.int32]
    """Position of each image's class, shape (images,)."""
    names: tuple[str, ...]
    """What tells the images apart: their paths inside the channel."""
    paths: tuple[bytes, ...] = ()
    """The files, as the file system names them; none where the images are no files."""
    shards: ShardedFolder | None = None
    """Where the images lie in shards."""
    pixels: NDArray[np.uint8] | None = None
    """Shape (images, height, width, channels)."""
    is_share: bool = False
    """Whether the job's other hosts have other images of the channel, not the same."""
    is_streamed: bool = False
    """Whether to open a file, or to read a part of it, takes the time of a request to S3."""

    @classmethod
    def of_folder(cls, folder: ImageFolder) -> Self:
        """Return the images of an indexed folder."""
        return cls(
            classes=folder.classes,
            labels=np.fromiter((sample.label for sample in folder.samples), np.int32, len(folder.samples)),
            names=tuple(sample.path.relative_to(folder.directory).as_posix() for sample in folder.samples),
            paths=tuple(os.fsencode(sample.path) for sample in folder.samples),
        )

    @classmethod
    def of_shards(cls, folder: ShardedFolder) -> Self:
        """Return the images of indexed shards."""
        return cls(classes=folder.classes, labels=folder.labels, names=folder.names, shards=folder)

    def __len__(self) -> int:
        return len(self.labels)

    def reader(self) -> Callable[[Any], Any]:
        """Return what gives the bytes of the image at a position: of a scalar tensor a scalar string tensor.

        It raises tf.errors.OpError where the image cannot be read.
        """
        if self.shards is None:
            paths = tf.constant(self.paths)
            return lambda position: tf.io.read_file(tf.gather(paths, position))
        content = PieceReader(self.shards).content if self.is_streamed else self.shards.content

        def read(position: Any) -> Any:
            encoded = tf.numpy_function(content, [position], tf.string)
            encoded.set_shape(())
            return encoded

        return read

    def with_classes(self, classes: tuple[str, ...]) -> Self:
        """Return the same images with labels that count in other classes, all of these among them."""
        positions = np.array([classes.index(name) for name in self.classes], np.int32)
        return replace(self, classes=classes, labels=positions[self.labels])

    def fingerprint(self) -> str:
        """Return a text that tells sets apart by the names and the labels of their images."""
        content = json.dumps([self.classes, self.names, self.labels.tolist()])
        return hashlib.sha256(content.encode()).hexdigest()
