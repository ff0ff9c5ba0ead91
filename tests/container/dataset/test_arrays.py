"""Arrays become images, and sets become arrays."""

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as any_array
from numpy.typing import NDArray
from PIL import Image as Picture

from container.dataset.array_sets import ArraySet, write_arrays
from container.dataset.arrays import ArrayFile
from container.dataset.ingest import Ingested, ingest_arrays
from container.dataset.taking import Limits
from container.errors import DataError
from container.modeling.settings import Image
from tests.container.dataset.preparing import Unwatched, encoded, files, write, write_sets

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), np.uint8)
LABELS = np.array([0, 1, 0, 1, 2, 0])
LIMITS = Limits(files=1000, bytes=0, ratio=100, pixels=10**6)


def save(path: Path, **arrays: NDArray[Any]) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def ingest(file: Path, labels: Path | None = None) -> Ingested:
    return ingest_arrays(file, labels, file.with_name("target"), LIMITS, Unwatched())


def pixels(file: Path) -> NDArray[Any]:
    with Picture.open(file) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture)


def names(folder: Path) -> list[str]:
    return sorted(name for name in files(folder) if not name.startswith("."))


@pytest.mark.parametrize("keys", [("images", "labels"), ("x", "y"), ("X", "Y"), ("arr_0", "arr_1"), ("data", "target")])
def test_an_npz_becomes_class_folders(tmp_path: Path, keys: tuple[str, str]) -> None:
    save(tmp_path / "a.npz", **{keys[0]: PIXELS, keys[1]: LABELS}, classes=np.array(["cat", "dog", "Kuh ü"]))
    done = ingest(tmp_path / "a.npz")
    assert names(tmp_path / "target") == [
        "Kuh ü/4.png",
        "cat/0.png",
        "cat/2.png",
        "cat/5.png",
        "dog/1.png",
        "dog/3.png",
    ]
    np.testing.assert_array_equal(pixels(tmp_path / "target/dog/3.png"), PIXELS[3])
    assert (done.files, done.left_out) == (6, 0)
    assert ingest(tmp_path / "a.npz").unchanged


def test_an_npy_needs_labels_beside_it(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", PIXELS[:, :, :, 0])
    np.save(tmp_path / "labels.npy", np.array(["b", "a", "b", "a", "b", "a"]))
    with pytest.raises(DataError, match=r"add --labels FILE, an \.npy of as many"):
        ingest(tmp_path / "images.npy")
    ingest(tmp_path / "images.npy", tmp_path / "labels.npy")
    assert names(tmp_path / "target") == ["a/1.png", "a/3.png", "a/5.png", "b/0.png", "b/2.png", "b/4.png"]
    np.testing.assert_array_equal(pixels(tmp_path / "target/a/1.png"), PIXELS[1, :, :, 0])


def test_a_training_and_a_test_set_become_folders(tmp_path: Path) -> None:
    save(tmp_path / "mnist.npz", x_train=PIXELS, y_train=LABELS, x_test=PIXELS[:2], y_test=LABELS[:2])
    ingest(tmp_path / "mnist.npz")
    assert names(tmp_path / "target")[:3] == ["test/0/0.png", "test/1/1.png", "train/0/0.png"]
    assert len(names(tmp_path / "target")) == 8


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (PIXELS.astype(np.float32) / 255, PIXELS),
        (PIXELS.astype(np.float64), PIXELS),
        (PIXELS.astype(np.int64), PIXELS),
        (PIXELS[..., :1], PIXELS[..., 0]),
        (PIXELS > 99, 255 * (PIXELS > 99)),
    ],
)
def test_numbers_of_any_kind_become_pixels(tmp_path: Path, images: NDArray[Any], expected: NDArray[Any]) -> None:
    save(tmp_path / "a.npz", images=images, labels=np.eye(3)[LABELS])
    ingest(tmp_path / "a.npz")
    for number, label in enumerate(LABELS):
        np.testing.assert_array_equal(pixels(tmp_path / f"target/{label}/{number}.png"), expected[number])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": PIXELS}, "holds 'images': name the arrays images and labels"),
        ({"images": PIXELS, "labels": LABELS[:5]}, "there are 6 images and 5 labels"),
        ({"images": PIXELS[0], "labels": LABELS[:4] * 0.5}, "the labels must be whole numbers"),
        ({"images": PIXELS[:, :, 0, 0], "labels": LABELS}, r"the images have the shape \(6, 4\); it must be"),
        ({"images": PIXELS[..., :2], "labels": LABELS}, "with 1, 3 or 4 channels"),
        ({"images": PIXELS * 256.0, "labels": LABELS}, "image 0 has values from .*: bring them to 0 to 255"),
        ({"images": PIXELS * np.nan, "labels": LABELS}, "image 0 has values from nan"),
        ({"images": PIXELS - 300.0, "labels": LABELS}, "image 0 has values from -"),
        ({"images": PIXELS * 1j, "labels": LABELS}, "must be numbers from 0 to 255"),
        ({"images": PIXELS, "labels": np.array(list("abc/ab"))}, "the class '/' cannot be a folder's name"),
        ({"images": PIXELS, "labels": np.array(["..", *"abcde"])}, "the class '..' cannot be a folder's name"),
        ({"images": PIXELS, "labels": np.array(["n" * 256, *"abcde"])}, "the class 'n+' cannot be a folder's name"),
        ({"images": PIXELS, "labels": LABELS, "classes": np.array(["a", "b"])}, "must be from 0 to 1"),
        ({"images": PIXELS, "labels": np.ones((6, 2))}, "must have one 1, and else 0"),
        ({"images": np.asfortranarray(PIXELS), "labels": LABELS}, "Fortran's order: save np.ascontiguousarray"),
        ({"images": np.array([object()] * 6), "labels": LABELS}, "cannot be read as an array: it holds Python objects"),
    ],
)
def test_arrays_that_are_no_labeled_images_are_errors(
    tmp_path: Path, arrays: dict[str, NDArray[Any]], message: str
) -> None:
    save(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        ingest(tmp_path / "a.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_files_that_are_no_arrays_are_errors(tmp_path: Path) -> None:
    write(tmp_path / "a.npz", b"PK no zip")
    write(tmp_path / "a.npy", b"no array")
    np.save(tmp_path / "labels.npy", LABELS)
    for name in ("a.npz", "a.npy"):
        with pytest.raises(DataError, match=f"{name} cannot be read as an array: "):
            ingest(tmp_path / name, tmp_path / "labels.npy")
    np.save(tmp_path / "a.npy", PIXELS)
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-1])
    with pytest.raises(DataError, match="ends before its last image"):
        ingest(tmp_path / "a.npy", tmp_path / "labels.npy")
    with pytest.raises(DataError, match=r"missing.npy cannot be read: No such file"):
        ingest(tmp_path / "a.npy", tmp_path / "missing.npy")


def header(shape: tuple[int, ...], kind: str = "|u1") -> bytes:
    """What stands before the values of an array."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": kind, "fortran_order": False, "shape": shape})
    return content.getvalue()


class TestBombs:
    @pytest.mark.parametrize("side", [1 << 20, 1 << 32, 1 << 40])
    def test_an_image_that_would_fill_the_memory(self, tmp_path: Path, side: int) -> None:
        (tmp_path / "a.npy").write_bytes(header((1, side, side, 4)))
        np.save(tmp_path / "labels.npy", np.zeros(1, int))
        with pytest.raises(DataError, match=rf"an image has {side * side:,} pixels, and data.most_pixels allows 1,000"):
            ingest(tmp_path / "a.npy", tmp_path / "labels.npy")

    @pytest.mark.parametrize("shape", [(1 << 50,), (1 << 40, 1 << 40), (-6,), (7,)])
    def test_labels_that_are_promised_only(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        np.save(tmp_path / "a.npy", PIXELS)
        (tmp_path / "labels.npy").write_bytes(header(shape) + bytes(6))
        with pytest.raises(DataError, match=r"labels.npy cannot be read as an array: it does not hold the values of"):
            ingest(tmp_path / "a.npy", tmp_path / "labels.npy")

    def test_too_many_images(self, tmp_path: Path) -> None:
        save(tmp_path / "a.npz", images=np.zeros((1001, 1, 1), np.uint8), labels=np.zeros(1001, np.int8))
        with pytest.raises(DataError, match=r"1,001 images, and ingestion.max_files allows 1,000: raise it"):
            ingest(tmp_path / "a.npz")

    @pytest.mark.slow
    def test_too_much_out_of_too_little(self, tmp_path: Path) -> None:
        # A PNG of noise has as many bytes as the noise, which an .npz holds once for all equal images.
        noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
        images = np.broadcast_to(noise, (24_000, *noise.shape))
        np.savez_compressed(tmp_path / "a.npz", images=images, labels=np.zeros(24_000, np.int8))
        limits = Limits(files=10**6, bytes=0, ratio=1, pixels=10**6)
        with pytest.raises(DataError, match=r"stopped after .* unpacks to more than 1 times its size"):
            ingest_arrays(tmp_path / "a.npz", None, tmp_path / "target", limits, Unwatched())


@given(images=any_array(np.uint8, st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.just(3))))
def test_every_pixel_survives(tmp_path_factory: pytest.TempPathFactory, images: NDArray[np.uint8]) -> None:
    folder = tmp_path_factory.mktemp("arrays")
    save(folder / "a.npz", images=images, labels=np.zeros(len(images), int))
    for member, expected in zip(ArrayFile(folder / "a.npz", LIMITS).members(), images, strict=True):
        with Picture.open(member.open()) as picture:
            np.testing.assert_array_equal(np.asarray(picture), expected)


def written(sets: Path, image: Image, processes: int = 1) -> tuple[ArraySet, ...]:
    return write_arrays(sets, sets.with_name("arrays"), image, Unwatched(), processes)


def test_sets_become_arrays_that_become_the_same_images(tmp_path: Path) -> None:
    sets = write_sets(tmp_path, training=3, validation=2)
    write(sets / "training/cat/broken.png", encoded(0, (99, 99))[:9_000])
    image = Image(height=9, width=12)
    training, *_ = written(sets, image)
    assert (training.images, training.left_out[0].path) == (6, "cat/broken.png")
    assert sorted(path.name for path in training.file.parent.iterdir()) == [
        "evaluation.npz",
        "training.npz",
        "validation.npz",
    ]
    found = np.load(training.file)
    assert {key: (found[key].dtype.kind, found[key].shape) for key in ("images", "labels")} == {
        "images": ("u", (6, 9, 12, 3)),
        "labels": ("i", (6,)),
    }
    assert found["classes"].tolist() == ["cat", "dog"]
    assert found["names"][4] == b"dog/1.png"
    ingest(training.file)
    for number, name in enumerate(np.char.decode(found["names"], "utf-8")):
        copy = tmp_path / "arrays/target" / name.split("/")[0] / f"{number}.png"
        with Picture.open(sets / "training" / name) as original:
            expected = np.asarray(original.resize((12, 9), Picture.Resampling.BILINEAR))
        np.testing.assert_array_equal(pixels(copy), expected)


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_brought_to_the_input_size_as_the_settings_say(tmp_path: Path, resize: Any, channels: Any) -> None:
    sets = write_sets(tmp_path, training=1, validation=1)
    for path in sets.rglob("*.png"):
        Picture.new("RGB", (20, 10), (200, 200, 200)).save(path)
    training, *_ = written(sets, Image(height=8, width=8, channels=channels, resize=resize))
    found = np.load(training.file)["images"]
    assert found.shape == (2, 8, 8, channels)
    assert (found[0, 0, 0] == (0 if resize == "pad" else 200)).all()
    assert (found[0, 4, 4] == 200).all()


def test_a_label_means_the_same_class_in_each_set(tmp_path: Path) -> None:
    sets = write_sets(tmp_path, training=2, validation=2)
    write(sets / "training/ant/ü.png", encoded(9))
    shutil.rmtree(sets / "validation/cat")
    training, validation, _ = (np.load(each.file) for each in written(sets, Image(height=8, width=8)))
    assert training["classes"].tolist() == validation["classes"].tolist() == ["ant", "cat", "dog"]
    assert training["labels"].tolist() == [0, 1, 1, 2, 2]
    assert validation["labels"].tolist() == [2, 2]
    assert np.char.decode(training["names"], "utf-8").tolist()[0] == "ant/ü.png"
    shutil.rmtree(sets / "training/dog")
    with pytest.raises(DataError, match=r"validation has a class 'dog', and .*training has not: add images of it"):
        written(sets, Image(height=8, width=8))


def test_arrays_replace_arrays_only(tmp_path: Path) -> None:
    sets = write_sets(tmp_path, training=2, validation=1)
    image = Image(height=8, width=8)
    written(sets, image)
    before = files(tmp_path / "arrays")
    written(sets, image)
    after = files(tmp_path / "arrays")
    assert {name: np.load(tmp_path / "arrays" / name)["images"].shape for name in after}
    assert list(before) == list(after)
    write(tmp_path / "arrays/thesis.txt", b"work")
    with pytest.raises(DataError, match="holds something else than arrays of sets: move it away"):
        written(sets, image)
