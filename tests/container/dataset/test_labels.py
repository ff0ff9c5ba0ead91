"""Which row of labels.csv tells of which image, and what is said of a file that is wrong."""

from pathlib import Path

import pytest

from container.dataset.labels import Labels
from container.errors import DataError

IMAGES = ("cat/1.png", "cat/in/2.png", "dog/1.png", "dog/3, the last.png", "é/ü.png")


def read(directory: Path, content: str | bytes) -> Labels:
    (directory / "labels.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    labels = Labels.read(directory)
    assert labels
    return labels


def test_a_folder_without_the_file_has_no_labels(tmp_path: Path) -> None:
    assert Labels.read(tmp_path) is None


def test_rows_name_images_by_path_or_by_a_name_that_only_one_has(tmp_path: Path) -> None:
    labels = read(
        tmp_path, 'image,x\ncat/1.png,a\n./dog/1.png,b\n2.png,c\n"dog/3, the last.png",d\nü.png,e\nno.png,f\n'
    )
    matched = labels.match(IMAGES)
    assert {path: row.cells[1] for path, row in matched.by_image.items()} == {
        "cat/1.png": "a",
        "dog/1.png": "b",
        "cat/in/2.png": "c",
        "dog/3, the last.png": "d",
        "é/ü.png": "e",
    }
    assert [row.line for row in matched.unmatched] == [7]


def test_a_spreadsheets_file_is_read_as_it_is(tmp_path: Path) -> None:
    labels = read(tmp_path, b"\xef\xbb\xbfimage , weight\r\ncat/1.png,2\r\n\r\ncat/in/2.png,3\r\n")
    assert labels.columns == ("image", "weight")
    assert labels.numbers("weight", labels.rows) == [2, 3]
    assert [row.line for row in labels.rows] == [2, 4]


def test_what_is_written_is_what_is_read_again(tmp_path: Path) -> None:
    hostile = "dog/return\r1.png"
    labels = read(tmp_path, f'note,image\n"a ""quoted"", note\nof two lines","dog/3, the last.png"\n"\r","{hostile}"\n')
    rows = labels.match([*IMAGES, hostile]).by_image
    assert hostile in rows
    (tmp_path / "set").mkdir()
    labels.write(tmp_path / "set", rows.items())
    again = Labels.read(tmp_path / "set")
    assert again
    assert (again.columns, again.rows) == (labels.columns, labels.rows)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "line 1: there is no column 'image', only nothing"),
        ("picture,weight\n", "line 1: there is no column 'image', only 'picture', 'weight'"),
        ("image;weight\n", "line 1: there is no column 'image', only 'image;weight': .* separated by commas"),
        ("image,weight,weight\n", "line 1: two columns are named 'weight': rename one"),
        ("image,weight\ncat/1.png,1\ncat/2.png\n", "line 3: there are 1 cells for 2 columns"),
        ("image,weight\ncat/1.png,1,2\n", "line 2: there are 3 cells for 2 columns"),
        ('image,weight\n"cat/1.png"x,1\n', "line 2: .*; save it as CSV again"),
        (b"image,weight\ncaf\xe9.png,1\n", "is not UTF-8: save it as CSV in UTF-8"),
    ],
)
def test_a_file_that_is_no_table_is_an_error_that_says_where(tmp_path: Path, content: str | bytes, said: str) -> None:
    with pytest.raises(DataError, match=rf"labels\.csv,? {said}"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("1.png\n", r"line 2: '1\.png' is the name of 2 images \(cat/1\.png, dog/1\.png\): give the path"),
        ("cat/1.png\n2.png\ncat/in/2.png\n", r"line 4: 'cat/in/2\.png' has a row already in line 3: remove one"),
    ],
)
def test_rows_that_contradict_are_an_error_that_says_where(tmp_path: Path, rows: str, said: str) -> None:
    labels = read(tmp_path, f"image\n{rows}")
    with pytest.raises(DataError, match=rf"labels\.csv, {said}"):
        labels.match(IMAGES)
