"""The images of a user's own loader: each checked, and brought to the model's size."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from container.errors import DataError
from container.modeling.decoding import decode_image
from container.modeling.own_parts.checked import OwnLoader
from container.modeling.own_parts.loading import load_images
from container.modeling.own_parts.sources import (
    LOADER,
    Choice,
)
from container.modeling.settings import Image
from tests.container.refusals import refusal

IMAGE = Image(height=8, width=8)


def loader(elements: Any) -> OwnLoader:
    return OwnLoader(Choice(LOADER, "m", "f"), lambda folder, image: elements, {})


WHITE = np.full((4, 4, 3), 255, np.uint8)


class TestLoader:
    def load(self, elements: Any, **options: Any) -> Any:
        return load_images(loader(elements), Path("channels/training"), IMAGE, **options)

    def test_classes_are_sorted_and_images_numbered(self) -> None:
        images = self.load(iter([(WHITE, "b"), (WHITE, "a", "first.png"), (WHITE, b"b")]))
        assert images.classes == ("a", "b")
        assert images.labels.tolist() == [1, 0, 1]
        assert images.names == ("training/000000", "first.png", "training/000002")
        assert (images.pixels.shape, images.pixels.dtype) == ((3, 8, 8, 3), np.uint8)

    def test_other_channels_have_the_training_classes(self) -> None:
        images = self.load([(WHITE, "b")], classes=("a", "b"))
        assert (images.classes, images.labels.tolist()) == (("a", "b"), [1])
        text = refusal(lambda: self.load([(WHITE, "b"), (WHITE, "c")], classes=("a", "b")), DataError)
        assert "element 1 of the channel 'training' is of the class 'c'" in text

    @settings(max_examples=30)
    @given(
        st_numpy.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3]))),
        st.sampled_from(["stretch", "crop", "pad"]),
        st.sampled_from([1, 3]),
    )
    def test_pixels_become_what_an_image_file_of_them_becomes(self, pixels: Any, resize: Any, channels: Any) -> None:
        image = Image(height=8, width=12, channels=channels, resize=resize)
        (loaded,) = load_images(loader([(pixels, "a")]), Path("training"), image).pixels
        decoded = decode_image(tf.io.encode_png(pixels), image).numpy()
        np.testing.assert_array_equal(loaded, decoded)

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_floats_are_pixels_too(self, dtype: Any) -> None:
        assert (self.load([(WHITE.astype(dtype), "a")]).pixels == 255).all()

    def test_a_dataset_gives_what_a_generator_gives(self) -> None:
        dataset = tf.data.Dataset.from_tensor_slices((np.stack([WHITE, WHITE // 2]), ["a", "b"], ["1", "2"]))
        from_dataset = self.load(dataset)
        from_generator = self.load((tf.constant(w), tf.constant(c), n) for w, c, n in dataset.as_numpy_iterator())
        assert from_dataset.names == from_generator.names == ("1", "2")
        assert from_dataset.classes == from_generator.classes == ("a", "b")
        np.testing.assert_array_equal(from_dataset.pixels, from_generator.pixels)

    @pytest.mark.parametrize(
        ("element", "said"),
        [
            (WHITE, "no (pixels, class name) or (pixels, class name, image name), but ndarray of shape (4, 4, 3)"),
            ((WHITE,), "no (pixels, class name)"),
            ((WHITE, 3), "int as its class name, which must be a text"),
            ((WHITE, ""), "an empty class name"),
            ((WHITE, b"\xff"), "which must be UTF-8"),
            ((WHITE, "\udcff"), "which must be UTF-8"),
            ((WHITE, "a", 7), "int as its image name"),
            ((WHITE[0], "a"), "pixels of shape (4, 3); it must be (height, width, 1 or 3)"),
            ((WHITE[None], "a"), "give one image at a time, by Dataset.unbatch()"),
            ((WHITE[:, :, :2], "a"), "pixels of shape (4, 4, 2)"),
            ((WHITE[:0], "a"), "pixels of shape (0, 4, 3)"),
            ((WHITE.astype(int), "a"), "pixels of the type int64; they must be uint8 or float"),
            ((WHITE * np.float32(2), "a"), "pixels from 510 to 510; they must be finite, 0 to 255"),
            ((WHITE * np.float32(-1), "a"), "pixels from -255 to -255"),
            ((WHITE * np.float32("nan"), "a"), "pixels from nan to nan"),
            ((WHITE * np.float32("inf"), "a"), "pixels from inf to inf"),
            (([[1, 2], [3]], "a"), "pixels that make no array"),
            (("rose.png", "a"), "pixels of the type <U8"),
        ],
    )
    def test_an_element_that_is_no_image_is_named(self, element: Any, said: str) -> None:
        text = refusal(lambda: self.load([(WHITE, "a"), element]))
        assert text.startswith("the loader m:f gives as element 1 of the channel 'training' ")
        assert said in text

    @pytest.mark.parametrize("returned", [None, 5, "text", {"a": 1}])
    def test_what_gives_no_images_is_refused(self, returned: Any) -> None:
        assert "must yield images, or return a tf.data.Dataset" in refusal(lambda: self.load(returned))

    def test_an_empty_channel_is_an_error(self) -> None:
        assert "m:f gives no image for the channel 'training'" in refusal(lambda: self.load([]), DataError)

    def test_pixels_from_0_to_1_are_found_out(self) -> None:
        dark = np.full((4, 4, 3), 1, np.float32)
        assert "no pixel above 1; 255 is white" in refusal(lambda: self.load([(dark, "a")] * 3))
        self.load([(dark, "a"), (2 * dark, "a")])

    def test_a_generator_without_an_end_is_stopped(self) -> None:
        def endless() -> Iterator[Any]:
            while True:
                yield WHITE, "a"

        text = refusal(lambda: self.load(endless(), memory_bytes=1000), DataError)
        assert "gives more than 5 images for the channel 'training', which fill 1,000 bytes: let it end" in text
