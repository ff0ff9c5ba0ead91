"""Keras's random layers, where its own do not change each image of a batch by itself, and a faster way for some.

The classes here have the names, the arguments and the effects of Keras's. They draw from their own seed generator
only, whose state then decides what they do.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

# Flips, rotations and so on: each moves pixels by an affine map.
AFFINE = (
    keras.layers.RandomFlip,
    keras.layers.RandomRotation,
    keras.layers.RandomShear,
    keras.layers.RandomTranslation,
    keras.layers.RandomZoom,
)
# The layers that RandAugment and AugMix are made of, by the names of their attributes.
OPERATIONS = (
    "random_shear",
    "random_translation",
    "random_rotation",
    "random_brightness",
    "random_color_degeneration",
    "random_contrast",
    "random_sharpness",
    "random_posterization",
    "solarization",
    "auto_contrast",
    "equalization",
)


class Equalization(keras.layers.Equalization):
    """Equalizes each image by a histogram of its own; Keras's takes one of the whole batch."""

    def transform_images(self, images: Any, transformation: Any, training: bool = True) -> Any:
        """Return the images, shape (batch, height, width, channels), with levels that are equally frequent."""
        if not training:
            return images
        batch, height, width, channels = (tf.shape(images)[axis] for axis in range(4))
        levels = tf.cast(tf.clip_by_value(images * ((self.bins - 1) / 255), 0, self.bins - 1), tf.int32)
        planes = tf.reshape(tf.range(batch * channels), (batch, 1, 1, channels))
        places = levels + self.bins * planes
        counts = tf.math.unsorted_segment_sum(tf.ones_like(places), places, self.bins * batch * channels)
        below = tf.cumsum(tf.reshape(counts, (batch * channels, self.bins)), axis=1)
        darkest = tf.reduce_min(tf.where(below > 0, below, height * width), axis=1, keepdims=True)
        others = height * width - darkest
        table = tf.round(255 * tf.maximum(below - darkest, 0) / tf.maximum(others, 1))
        equalized = tf.gather(tf.reshape(tf.cast(table, tf.float32), (-1,)), places)
        # A plane of one level has nothing to spread.
        return tf.where(tf.reshape(others == 0, (batch, 1, 1, channels)), images, equalized)


class RandAugment(keras.layers.RandAugment):
    """Draws the operations of each image; Keras's draws the same ones for all images of a batch."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.equalization = Equalization(value_range=self.value_range)

    def call(self, data: Any, training: bool = True) -> Any:
        """Return images changed by `num_ops` operations each."""
        if training:
            for _ in range(self.num_ops):
                data = _changed_by_one_each(data, _operations(self, data), self.generator)
        return data


class AugMix(keras.layers.AugMix):
    """Draws the operations of each image in each step; Keras's draws those of all images once, while it is traced."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.equalization = Equalization(value_range=self.value_range)

    def call(self, data: Any, training: bool = True) -> Any:
        """Return each image mixed with `num_chains` others made from it by up to `chain_depth` operations."""
        if not training:
            return data
        count = tf.shape(data)[0]
        chains = tf.tile(data, (self.num_chains, 1, 1, 1))
        for _ in range(self.chain_depth):
            chains = _changed_by_one_each(chains, [None, *_operations(self, data)], self.generator)
        shares = keras.random.gamma((self.num_chains, count, 1, 1, 1), self.alpha, seed=self.generator)
        shares /= tf.reduce_sum(shares, axis=0, keepdims=True)
        mixture = tf.reduce_sum(shares * tf.reshape(chains, (self.num_chains, count, *data.shape[1:])), axis=0)
        kept = keras.random.beta((count, 1, 1, 1), self.alpha, self.alpha, seed=self.generator)
        return kept * data + (1 - kept) * mixture


class RandomGaussianBlur(keras.layers.RandomGaussianBlur):
    """Draws the strength of each image; Keras's draws one for all images of a batch."""

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """Return which images are blurred, shape (batch,), and how far up and down and to the sides, (batch, 2)."""
        drawn = super().get_random_transformation(data, training, seed)
        if drawn is None:
            return None
        farther = keras.random.uniform((tf.shape(data)[0], 2), *self.sigma, seed=seed or self.generator)
        return drawn | {"blur_factor": farther + keras.config.epsilon()}

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Any:
        """Return the images, shape (batch, height, width, channels), some of them blurred."""
        if not training:
            return images
        blurred = images
        for axis in (0, 1):
            blurred = _blurred(blurred, 1 + axis, self.kernel_size[axis], transformation["blur_factor"][:, axis])
        return tf.where(transformation["should_apply_blur"][:, None, None, None], blurred, images)


class _ImageByImage:
    """What makes a layer treat each image as a batch of its own, with random numbers of its own."""

    def call(self: Any, data: Any, training: bool = True) -> Any:
        """Return the images changed one by one."""
        if not training:
            return data
        seeds = tf.zeros((tf.shape(data)[0], 2), tf.int32)
        if hasattr(self, "generator"):
            seeds = keras.random.randint(tf.shape(seeds), 0, 2**31 - 1, seed=self.generator)
        return tf.map_fn(self._changed, (data, seeds), fn_output_signature=data.dtype)

    def _changed(self: Any, image_and_seed: tuple[Any, Any]) -> Any:
        image, seed = image_and_seed
        images = image[tf.newaxis]
        return self.transform_images(images, self.get_random_transformation(images, seed=_FixedSeeds(seed)))[0]


class ContrastLimitedAdaptiveHistogramEqualization(
    _ImageByImage, keras.layers.ContrastLimitedAdaptiveHistogramEqualization
):
    """Keras's needs 1 KiB of memory for each value of all images that it changes at once."""


class RandomElasticTransform(_ImageByImage, keras.layers.RandomElasticTransform):
    """Keras's changes only the first image of a batch whose size is not known, all by one strength."""


class Affine(keras.Layer):
    """Several layers of AFFINE as the one map that they make together: pixels are computed once, not by each layer.

    What one layer moves out of the image and the next one back in stays the image's own, where Keras's layers one
    after the other would have filled it up.
    """

    def __init__(self, parts: Sequence[keras.Layer]) -> None:
        super().__init__()
        self.parts = list(parts)
        self.fill = affine_fill(next(part for part in parts if affine_fill(part)))

    def build(self, input_shape: Any) -> None:
        """Do nothing: affine layers have no weights."""

    def call(self, images: Any, training: bool = True) -> Any:
        """Return the images, shape (batch, height, width, channels), moved."""
        if not training:
            return images
        matrix = _affine_matrix(self.parts[0], images)
        for part in self.parts[1:]:
            matrix = tf.matmul(matrix, _affine_matrix(part, images))
        interpolation, fill_mode, fill_value = self.fill
        return keras.ops.image.affine_transform(
            images, tf.reshape(matrix, (-1, 9))[:, :8], interpolation, fill_mode, fill_value
        )


def affine_fill(layer: keras.Layer) -> tuple[Any, ...]:
    """Return how an affine layer computes pixels, as `affine_transform` takes it; empty: a flip only moves them."""
    if isinstance(layer, keras.layers.RandomFlip):
        return ()
    return layer.interpolation, layer.fill_mode, layer.fill_value


class _FixedSeeds(keras.random.SeedGenerator):
    """The seeds of one image: without a state, so that images can be changed side by side."""

    def __init__(self, seed: Any) -> None:
        self._seed, self._drawn = seed, 0

    def next(self, ordered: bool = True) -> Any:
        """Return another seed, shape (2,)."""
        self._drawn += 1
        return self._seed + tf.constant([0, self._drawn])


def _operations(layer: keras.Layer, images: Any) -> list[keras.Layer]:
    operations = [getattr(layer, name) for name in OPERATIONS if hasattr(layer, name)]
    if images.shape[-1] == 3:
        return operations
    # Without color there is none to take away.
    return [each for each in operations if not isinstance(each, keras.layers.RandomColorDegeneration)]


def _blurred(images: Any, axis: int, size: int, sigmas: Any) -> Any:
    """Return the images blurred along an axis, over `size` pixels, each by a normal distribution of its own."""
    places = tf.range(size, dtype=tf.float32) - (size - 1) / 2
    weights = tf.exp(-0.5 * (places / sigmas[:, tf.newaxis]) ** 2)
    weights = tf.unstack(weights / tf.reduce_sum(weights, axis=1, keepdims=True), size, axis=1)
    # Black around the image, as Keras has it.
    padded = tf.pad(images, [[size // 2] * 2 if each == axis else [0, 0] for each in range(4)])
    lengths = [images.shape[axis] if each == axis else -1 for each in range(4)]
    return tf.add_n(
        [
            weight[:, None, None, None] * tf.slice(padded, [place if each == axis else 0 for each in range(4)], lengths)
            for place, weight in enumerate(weights)
        ]
    )


def _changed_by_one_each(images: Any, operations: Sequence[keras.Layer | None], generator: Any) -> Any:
    """Return the images, each changed by an operation drawn for it alone; None leaves it as it is."""
    count = tf.shape(images)[0]
    choices = keras.random.randint((count,), 0, len(operations), seed=generator)
    groups = tf.dynamic_partition(images, choices, len(operations))
    positions = tf.dynamic_partition(tf.range(count), choices, len(operations))
    changed = [_changed(group, operation, generator) for group, operation in zip(groups, operations, strict=True)]
    return tf.ensure_shape(tf.dynamic_stitch(positions, changed), images.shape)


def _changed(images: Any, operation: keras.Layer | None, generator: Any) -> Any:
    if operation is None:
        return images
    drawn = operation.get_random_transformation(images, seed=generator)
    # Some layers fail on no images at all.
    return tf.cond(tf.size(images) > 0, lambda: operation.transform_images(images, drawn), lambda: images)


def _affine_matrix(layer: keras.Layer, images: Any) -> Any:
    """Draw a map for each image, shape (batch, 3, 3): from places in the changed image to places in the given one."""
    drawn = layer.get_random_transformation(images)
    count, height, width = tf.shape(images)[0], images.shape[1], images.shape[2]
    zero, one = tf.zeros((count,)), tf.ones((count,))
    if isinstance(layer, keras.layers.RandomRotation):
        rows = [*tf.unstack(drawn["rotation_matrix"], 8, axis=1), one]
    elif isinstance(layer, keras.layers.RandomShear):
        x_shear, y_shear = tf.unstack(drawn["shear_factor"], 2, axis=1)
        rows = [one, x_shear, zero, y_shear, one, zero, zero, zero, one]
    elif isinstance(layer, keras.layers.RandomTranslation):
        right, down = tf.unstack(drawn["translations"], 2, axis=1)
        rows = [one, zero, -right, zero, one, -down, zero, zero, one]
    else:
        if isinstance(layer, keras.layers.RandomFlip):
            flipped = tf.where(tf.reshape(drawn["flips"], (-1,)), -1.0, 1.0)
            x_scale, y_scale = (flipped if way in layer.mode else one for way in ("horizontal", "vertical"))
        else:
            x_scale, y_scale = drawn["width_zoom"][:, 0], drawn["height_zoom"][:, 0]
        # Both leave the center where it is.
        x_shift, y_shift = (1 - x_scale) * (width - 1) / 2, (1 - y_scale) * (height - 1) / 2
        rows = [x_scale, zero, x_shift, zero, y_scale, y_shift, zero, zero, one]
    return tf.reshape(tf.stack(rows, axis=1), (-1, 3, 3))
