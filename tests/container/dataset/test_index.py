"""Which files of a folder are images, of which class, and what is said about the others."""

import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from container.dataset.index import ImageFolder, index_images
from container.errors import DataError

PNG = b"\x89PNG\r\n\x1a\n"


def tree(root: Path, *names: str, content: bytes = PNG) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def names_by_class(folder: ImageFolder) -> dict[str, list[str]]:
    return {
        name: [
            sample.path.relative_to(folder.directory / name).as_posix()
            for sample in folder.samples
            if sample.label == label
        ]
        for label, name in enumerate(folder.classes)
    }


def bad_files(folder: ImageFolder) -> dict[str, str]:
    return {file.path: file.reason for file in folder.left_out.bad_files}


def test_classes_and_samples_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    tree(tmp_path, "b/2.png", "b/10.png", "Z/1.png", "é/1.png", "a/1.png")
    folder = index_images(tmp_path)
    assert folder.classes == ("Z", "a", "b", "é")
    assert names_by_class(folder) == {"Z": ["1.png"], "a": ["1.png"], "b": ["10.png", "2.png"], "é": ["1.png"]}


@given(st.permutations(["a/1.png", "a/2.png", "a/in/3.png", "b/1.png", "b/x.txt", "b/zz.gif"]))
def test_the_order_in_which_files_were_made_makes_no_difference(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    folder = index_images(tree(tmp_path_factory.mktemp("tree"), *names, content=b"GIF89a"))
    assert names_by_class(folder) == {"a": ["1.png", "2.png", "in/3.png"], "b": ["1.png", "zz.gif"]}


def test_given_classes_decide_the_labels(tmp_path: Path) -> None:
    tree(tmp_path, "cat/1.png", "dog/1.png")
    folder = index_images(tmp_path, classes=("dog", "mouse", "cat"))
    assert folder.classes == ("dog", "mouse", "cat")
    assert [(sample.path.parent.name, sample.label) for sample in folder.samples] == [("dog", 0), ("cat", 2)]


def test_a_folder_that_is_no_given_class_is_an_error(tmp_path: Path) -> None:
    tree(tmp_path, "cat/1.png", "dgo/1.png")
    with pytest.raises(DataError, match=r"'dgo', but the classes are 'cat', 'dog'"):
        index_images(tmp_path, classes=("cat", "dog"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
@pytest.mark.parametrize("extension", ["png", "JPG", "jpeg", "gif", "Bmp", "webp"])
def test_any_image_may_have_any_image_extension(tmp_path: Path, kind: str, extension: str) -> None:
    encoded = io.BytesIO()
    Image.new("RGB", (3, 2)).save(encoded, kind)
    folder = index_images(tree(tmp_path, f"a/image.{extension}", content=encoded.getvalue()))
    assert len(folder.samples) == 1
    assert folder.left_out.bad_files == ()


def test_what_is_no_image_is_counted_or_named(tmp_path: Path) -> None:
    tree(tmp_path, "a/good.png", "top.png", "a/.hidden.png", ".git/1.png", "a/notes.txt", "a/png", "a/Thumbs.db")
    tree(tmp_path, "a/empty.png", content=b"")
    tree(tmp_path, "a/sub/page.jpg", content=b"<!DOCTYPE html>")
    tree(tmp_path, "a/scan.png", content=b"II*\0 a TIFF")
    tree(tmp_path, "a/sound.webp", content=b"RIFF\0\0\0\0WAVEfmt ")
    (tmp_path / "a/gone.png").symlink_to("nowhere.png")
    (tmp_path / "a/self.png").symlink_to("self.png")
    os.mkfifo(tmp_path / "a/pipe.png")
    folder = index_images(tmp_path)
    assert names_by_class(folder) == {"a": ["good.png"]}
    assert (folder.left_out.hidden, folder.left_out.other_files) == (2, 4)
    reasons = bad_files(folder)
    assert sorted(reasons) == [
        f"a/{name}"
        for name in ("empty.png", "gone.png", "pipe.png", "scan.png", "self.png", "sound.webp", "sub/page.jpg")
    ]
    assert "empty" in reasons["a/empty.png"]
    assert "first bytes" in reasons["a/sub/page.jpg"]
    assert "no regular file" in reasons["a/pipe.png"]


def test_unless_files_are_looked_into_their_names_and_sizes_decide(tmp_path: Path) -> None:
    (tmp_path / "dark").mkdir()
    for name, content in (("0.png", b"no image"), ("1.JPG", b""), ("notes.txt", b"text")):
        (tmp_path / "dark" / name).write_bytes(content)
    folder = index_images(tmp_path, looks_inside=False)
    assert [sample.path.name for sample in folder.samples] == ["0.png"]
    assert [(bad.path, bad.reason) for bad in folder.left_out.bad_files] == [("dark/1.JPG", "it is empty")]


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    tree(tmp_path, "elsewhere/1.png", "elsewhere/in/2.png")
    tree(tmp_path, "images/a/own.png")
    (tmp_path / "images/a/linked.png").symlink_to("../../elsewhere/1.png")
    (tmp_path / "images/b").symlink_to("../elsewhere")
    assert names_by_class(index_images(tmp_path / "images")) == {
        "a": ["linked.png", "own.png"],
        "b": ["1.png", "in/2.png"],
    }


def test_links_that_loop_come_to_an_end(tmp_path: Path) -> None:
    tree(tmp_path, "images/a/1.png", "images/a/deep/2.png")
    for name, target in (("again", "images"), ("up", "..")):
        (tmp_path / "images" / name).symlink_to(tmp_path / target)
    (tmp_path / "images/a/deep/loop").symlink_to("..")
    (tmp_path / "images/a/top").symlink_to("..")
    (tmp_path / "images/a/alias").symlink_to("deep")
    folder = index_images(tmp_path / "images")
    assert names_by_class(folder) == {"a": ["1.png", "deep/2.png"]}
    assert folder.left_out.repeated_folders == 5


@pytest.mark.parametrize("name", ["with space", "quote'\"", "line\nbreak", "🐈", "[bold]", "-rf", "n" * 251])
def test_any_name_will_do(tmp_path: Path, name: str) -> None:
    folder = index_images(tree(tmp_path, f"{name}/{name}.png"))
    assert names_by_class(folder) == {name: [f"{name}.png"]}


def test_a_file_name_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    tree(tmp_path, "a/1.png", os.fsdecode(b"a/caf\xe9.png"))
    folder = index_images(tmp_path)
    assert names_by_class(folder) == {"a": ["1.png"]}
    assert "not UTF-8" in bad_files(folder)[os.fsdecode(b"a/caf\xe9.png")]


def test_a_class_name_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"caf\\xe9' is not UTF-8: rename it"):
        index_images(tree(tmp_path, os.fsdecode(b"caf\xe9/1.png")))


@pytest.mark.parametrize(
    ("names", "directory", "said"),
    [
        (["a/1.png"], "none", "none does not exist"),
        (["a/1.png"], "a/1.png", "1.png is a file"),
        (["a/1.png"], "a", "has no class folders"),
        (["a/1.txt", "b/.png"], ".", "no class folder in .* holds an image"),
    ],
)
def test_a_folder_without_labeled_images_is_an_error(
    tmp_path: Path, names: list[str], directory: str, said: str
) -> None:
    tree(tmp_path, *names)
    with pytest.raises(DataError, match=said):
        index_images(tmp_path / directory)
