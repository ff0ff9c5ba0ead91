"""Which images a check takes for the same: those of which all pixels are, however small they are compared at first."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from container.dataset.check import TABLE, check_images
from container.modeling.settings import Data
from tests.container.dataset.unwatched import Unwatched


def write_noise(path: Path, seed: int, other_pixel: bool = False) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (200, 200, 3), np.uint8)
    if other_pixel:
        pixels[100, 100] ^= 1
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def found(project: Path) -> tuple[int, list[tuple[str, str]]]:
    """Check a project; return how many images were decoded, and what was found alike, with the paths."""
    outcome = check_images(Data(directory="images"), project, Unwatched())
    with (outcome.folder / TABLE).open(encoding="utf-8", newline="") as file:
        rows = [(row["finding"], row["path"]) for row in csv.DictReader(file)]
    return outcome.decoded, [row for row in rows if row[0] in ("same_image", "near_image")]


def test_one_pixel_makes_an_image_another_one_though_nearly_the_same(tmp_path: Path) -> None:
    write_noise(tmp_path / "images/a/one.png", 0)
    write_noise(tmp_path / "images/a/other.png", 0, other_pixel=True)
    write_noise(tmp_path / "images/a/third.bmp", 0)
    write_noise(tmp_path / "images/b/far.png", 1)
    expected = [("same_image", "a/one.png"), ("same_image", "a/third.bmp")]
    expected += [("near_image", "a/one.png"), ("near_image", "a/other.png")]
    assert found(tmp_path) == (4, expected)
    assert found(tmp_path) == (0, expected)


def test_an_image_that_becomes_the_same_as_one_that_is_known_is_found(tmp_path: Path) -> None:
    write_noise(tmp_path / "images/a/one.png", 0)
    write_noise(tmp_path / "images/b/other.png", 1)
    assert found(tmp_path) == (2, [])
    write_noise(tmp_path / "images/a/two.bmp", 0)
    assert found(tmp_path) == (
        1,
        [("same_image", "a/one.png"), ("same_image", "a/two.bmp")],
    )
