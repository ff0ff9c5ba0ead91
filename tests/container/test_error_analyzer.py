"""ErrorAnalyzer: which images it shows, what it says of each, and what it takes."""

import io
import pickle
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image

from container.errors import DataError
from container.report.error_analyzer import ErrorAnalyzer

MAPPING = {"cat": 0, "dog": 1, "eel": 2}
# Three cats, of which two are given another class; a dog that is recognized; no eel.
TRUE = ["cat", "cat", "cat", "dog"]
PROBABILITIES = np.array([[0.1, 0.6, 0.3], [0.8, 0.1, 0.1], [0.05, 0.05, 0.9], [0.2, 0.7, 0.1]], np.float32)
IMAGES = np.full((4, 6, 8, 3), [[[[0]]], [[[50]]], [[[100]]], [[[150]]]], np.uint8)


def analyzer(**others: Any) -> ErrorAnalyzer:
    return ErrorAnalyzer(
        **({"y_true": TRUE, "images": IMAGES, "y_pred": PROBABILITIES, "label_mapping": MAPPING} | others)
    )


def texts(figure: Figure) -> list[str]:
    """All that is written in a figure, panel by panel."""
    return [
        text.get_text().replace("\n", " ")
        for part in figure.subfigs
        for text in part.findobj(Text)
        if isinstance(text, Text) and text.get_text()
    ]


def pictures(figure: Figure) -> list[list[NDArray[Any]]]:
    """The pixels of the images that each panel shows."""
    return [[np.asarray(axes.images[0].get_array()) for axes in part.axes if axes.images] for part in figure.subfigs]


def shades(figure: Figure) -> list[list[int]]:
    """Of each image in each panel, its first pixel's red."""
    return [[int(pixels.ravel()[0]) for pixels in panel] for panel in pictures(figure)]


class TestWhatIsShown:
    def test_wrong_ones_first_and_the_most_confident_of_them_first(self) -> None:
        figure = analyzer().plot_mis_clf(class_label="cat")
        assert shades(figure) == [[100, 0], [50]]
        found = texts(figure)
        assert "wrong predictions of cat (2 of 2)" in found
        assert "right predictions of cat (1 of 1)" in found
        assert [text for text in found if "0." in text] == ["eel 0.900", "dog 0.600", "cat 0.800"]
        assert [text for text in found if text.startswith("image")] == ["image 2", "image 0", "image 1"]

    @settings(max_examples=15)
    @given(data=st.data())
    def test_every_image_of_the_class_is_in_its_panel_and_none_else(self, data: st.DataObject) -> None:
        labels = np.array(data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=8)))
        random = np.random.default_rng(data.draw(st.integers(0, 99)))
        probabilities = random.dirichlet(np.ones(3), len(labels))
        images = np.arange(len(labels), dtype=np.uint8)[:, None, None] * np.ones((2, 2), np.uint8)
        wrong, right = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
        figure = ErrorAnalyzer(labels, images, probabilities, MAPPING).plot_mis_clf(0, None, wrong, right)

        predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
        of_class = sorted(np.flatnonzero(labels == 0).tolist(), key=lambda position: -confidence[position])
        assert shades(figure) == [
            [position for position in of_class if predicted[position] != 0][:wrong],
            [position for position in of_class if predicted[position] == 0][:right],
        ]

    def test_what_there_is_not_is_said(self) -> None:
        assert "no wrong prediction among 1 image of this class" in texts(analyzer().plot_mis_clf("dog"))
        assert texts(analyzer().plot_mis_clf("eel")).count("there is no image of this class") == 2
        lost = analyzer(y_true=["cat", "eel", "cat", "dog"]).plot_mis_clf("cat")
        assert "no right prediction among 2 images of this class" in texts(lost)
        assert shades(lost) == [[100, 0], []]

    def test_a_sample_of_none_leaves_its_panel_out(self) -> None:
        assert shades(analyzer().plot_mis_clf("cat", sample_mis_clf=0)) == [[50]]
        assert shades(analyzer().plot_mis_clf("cat", sample_correct_clf=0)) == [[100, 0]]
        with pytest.raises(ValueError, match="both 0"):
            analyzer().plot_mis_clf("cat", sample_mis_clf=0, sample_correct_clf=0)

    def test_a_class_has_a_name_and_a_position(self) -> None:
        assert texts(analyzer().plot_mis_clf(0)) == texts(analyzer().plot_mis_clf("cat"))

    @pytest.mark.filterwarnings("error")
    def test_any_name_is_text(self) -> None:
        names = [r"$\frac{$_^", "a" * 200, "line\nbreak"]
        mapping = {name: position for position, name in enumerate(names)}
        figure = analyzer(y_true=[0, 0, 0, 1], label_mapping=mapping).plot_mis_clf(names[0], sample_mis_clf=3)
        figure.savefig(io.BytesIO())
        found = texts(figure)
        assert f"{names[0]} 0.800" in found
        assert r"line\nbreak 0.900" in found
        assert max(map(len, found)) < 100

    @pytest.mark.parametrize("figsize", [(6.0, 5.0), (8.0, 4.6), (5.0, 8.0), (20.0, 6.0), (3.0, 5.0)])
    @pytest.mark.parametrize("shape", [(40, 10), (10, 40), (8, 8)])
    def test_every_text_is_inside_the_figure(self, figsize: tuple[float, float], shape: tuple[int, int]) -> None:
        figure = analyzer(images=np.zeros((4, *shape), np.uint8)).plot_mis_clf("cat", figsize=figsize)
        figure.savefig(io.BytesIO())
        assert tuple(figure.get_size_inches()) == figsize
        for part in figure.subfigs:
            for text in part.findobj(Text):
                if isinstance(text, Text) and text.get_text():
                    extent = text.get_window_extent()
                    assert 0 <= extent.x0 < extent.x1 <= figure.bbox.width
                    assert 0 <= extent.y0 < extent.y1 <= figure.bbox.height

    def test_a_notebook_shows_it_and_nothing_global_changes(self) -> None:
        before = dict(matplotlib.rcParams)
        png = analyzer().plot_mis_clf("cat")._repr_png_()
        with Image.open(io.BytesIO(png)) as image:
            assert image.size == (1000, 580)
        assert dict(matplotlib.rcParams) == before


class TestImages:
    @pytest.mark.parametrize(
        "images",
        [
            IMAGES.astype(np.float32),
            IMAGES.astype(np.int64),
            IMAGES / 255,
            IMAGES[..., 0],
            IMAGES[..., :1] / 255,
            np.concatenate([IMAGES, np.full_like(IMAGES[..., :1], 255)], axis=-1),
            list(IMAGES),
            [IMAGES[0], IMAGES[1, :, :5], IMAGES[2, ..., 0], IMAGES[3, ..., :1]],
            [Image.fromarray(image) for image in IMAGES],
        ],
        ids=["float 255", "int64", "float 1", "grey", "one channel", "alpha", "list", "several sizes", "Pillow"],
    )
    def test_all_forms_are_shown_alike(self, images: Any) -> None:
        assert shades(analyzer(images=images).plot_mis_clf("cat")) == [[100, 0], [50]]

    def test_files_are_read_upright_when_they_are_shown(self, tmp_path: Path) -> None:
        files = [tmp_path / f"{position}.jpg" for position in range(4)]
        turned = Image.Exif()
        turned[0x0112] = 6
        for file, image in zip(files[:3], IMAGES, strict=False):
            Image.fromarray(image).resize((1600, 1200)).save(file, exif=turned)
        files[3].write_bytes(b"no image")
        figure = analyzer(images=files).plot_mis_clf("cat")
        ((first, _), _) = pictures(figure)
        assert first.shape == (512, 384, 3)
        assert [text for text in texts(figure) if text.endswith(".jpg")] == ["2.jpg", "0.jpg", "1.jpg"]
        with pytest.raises(DataError, match=r"3\.jpg cannot be shown"):
            analyzer(images=[str(file) for file in files]).plot_mis_clf("dog")

    def test_they_stay_as_they_are(self) -> None:
        given = [Image.new("RGB", (600, 600)) for _ in range(4)]
        analyzer(images=given).plot_mis_clf("cat")
        assert given[2].size == (600, 600)

    @pytest.mark.parametrize(
        ("images", "said"),
        [
            (IMAGES[:3], "images has 3 images and y_true 4"),
            (IMAGES[0, :4, :, 0], "images has the shape (4, 8)"),
            (IMAGES[..., :2], "image 0 has the shape (6, 8, 2)"),
            ([*IMAGES[:3], np.zeros((2, 2, 3, 1))], "image 3 has the shape (2, 2, 3, 1)"),
            (IMAGES / 127.5 - 1, "image 0 has values from -1 to -1"),
            (IMAGES.astype(float) * 3, "image 2 has values from 300 to 300"),
            (np.where(IMAGES == 50, np.nan, IMAGES), "image 1 has values from nan"),
            (IMAGES.astype(complex), "image 0 holds complex128"),
            ("folder/*.jpg", "a list with an array or a path for each"),
            (7, "a list with an array or a path for each"),
        ],
    )
    def test_what_is_no_image_is_refused(self, images: Any, said: str) -> None:
        with pytest.raises(ValueError, match=r"\w") as raised:
            analyzer(images=images)
        assert said in str(raised.value)


class TestLabelMapping:
    def test_it_is_that_of_classes_dict(self) -> None:
        mapping = pickle.loads(pickle.dumps(MAPPING))
        assert shades(analyzer(label_mapping=mapping).plot_mis_clf("cat")) == [[100, 0], [50]]

    def test_names_by_position_do_as_well(self) -> None:
        names = {np.int64(position): name for name, position in MAPPING.items()}
        assert texts(analyzer(label_mapping=names).plot_mis_clf("cat")) == texts(analyzer().plot_mis_clf("cat"))

    @pytest.mark.parametrize(
        ("mapping", "said"),
        [
            ({}, "must be a dict"),
            (["cat", "dog", "eel"], "must be a dict"),
            ({"cat": 0, "dog": 1}, "must have (4, 2)"),
            ({"cat": 1, "dog": 2, "eel": 3}, "from 0 to 2 once"),
            ({"cat": 0, "dog": 0, "eel": 1}, "from 0 to 2 once"),
            ({0: "cat", 1: "cat", 2: "dog"}, "'cat' twice"),
            ({"cat": "dog"}, "text on one side"),
            ({0: 1, 1: 0}, "text on one side"),
            ({"cat": 0.0, "dog": 1.0, "eel": 2.0}, "text on one side"),
        ],
    )
    def test_one_that_does_not_fit_is_refused(self, mapping: Any, said: str) -> None:
        with pytest.raises(ValueError, match=r"\w") as raised:
            analyzer(label_mapping=mapping)
        assert said in str(raised.value)


class TestRefusals:
    @pytest.mark.parametrize(
        ("class_label", "said"), [("dgo", "did you mean 'dog'?"), (3, "position 3"), (0.5, "float64")]
    )
    def test_an_unknown_class(self, class_label: Any, said: str) -> None:
        with pytest.raises(ValueError, match="class_label") as raised:
            analyzer().plot_mis_clf(class_label)
        assert said in str(raised.value)

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"sample_mis_clf": -1}, "sample_mis_clf is -1"),
            ({"sample_correct_clf": 2.5}, "sample_correct_clf is 2.5"),
            ({"sample_correct_clf": True}, "sample_correct_clf is True"),
            ({"figsize": 10}, "figsize is 10"),
            ({"figsize": (10, 0)}, r"figsize is \(10, 0\)"),
            ({"figsize": (10, float("nan"))}, "figsize"),
            ({"figsize": "ab"}, "figsize"),
        ],
    )
    def test_arguments_out_of_range(self, arguments: dict[str, Any], said: str) -> None:
        with pytest.raises(ValueError, match=said):
            analyzer().plot_mis_clf("cat", **arguments)

    @pytest.mark.parametrize(
        "y_pred", [PROBABILITIES[:3], PROBABILITIES[:, :2], PROBABILITIES[:, 0], PROBABILITIES * 9]
    )
    def test_probabilities_that_are_none(self, y_pred: Any) -> None:
        with pytest.raises(ValueError, match="y_pred"):
            analyzer(y_pred=y_pred)

    def test_an_unknown_true_class(self) -> None:
        with pytest.raises(ValueError, match="y_true has 'cow'"):
            analyzer(y_true=["cat", "cow", "cat", "dog"])
