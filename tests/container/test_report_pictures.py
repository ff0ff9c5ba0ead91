"""The mistakes in a report: which are shown, and what becomes of images that cannot or must not be."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from container.modeling.insight_settings import Report
from container.modeling.settings import ContainerSettings
from container.report import facts
from tests.container.made_up import write_results
from tests.container.pages import made


def save_pictures(folder: Path, results: Path, side: int = 200) -> dict[str, Path]:
    """Save a picture for each prediction; return the folders of the sets."""
    random = np.random.default_rng(0)
    for row in facts.Predictions.read(results / facts.PREDICTIONS_FILE).rows:
        file = folder / row.set / row.path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(file)
    return {name: folder / name for name in ("validation", "evaluation")}


def test_without_images_the_mistakes_are_listed(tmp_path: Path) -> None:
    write_results(tmp_path, ("a", "b"), images=40)
    page = made(tmp_path)
    assert not page.pictures
    assert "The images were not at hand" in page.text
    assert re.search(r"^[ab]/\d{5}\.png$", page.text, re.MULTILINE)


@pytest.mark.slow
def test_private_images_are_not_shown(tmp_path: Path) -> None:
    write_results(tmp_path / "job", ("a", "b"), settings=ContainerSettings(report=Report(images=False)))
    page = made(tmp_path / "job", save_pictures(tmp_path, tmp_path / "job"))
    assert not page.pictures
    assert "turned off by the setting report.images" in page.text


@pytest.mark.slow
@pytest.mark.parametrize("pictures", [0, 3, 1000])
def test_the_most_confident_mistakes_of_both_sets_are_shown(tmp_path: Path, pictures: int) -> None:
    settings = ContainerSettings(report=Report(pictures=pictures))
    metrics = write_results(tmp_path / "job", ("a", "b"), images=60, accuracy=0.5, settings=settings)
    page = made(tmp_path / "job", save_pictures(tmp_path, tmp_path / "job"))
    mistakes = sum(
        judged.images - sum(row[position] for position, row in enumerate(judged.confusion_matrix))
        for judged in (metrics, metrics.validation)
    )
    assert len(page.pictures) == min(pictures, mistakes)


def test_the_mistake_that_the_model_is_most_sure_of_comes_first(tmp_path: Path) -> None:
    write_results(tmp_path, ("a", "b"), images=60, accuracy=0.5)
    texts = made(tmp_path).texts
    shown = texts[texts.index("Evaluation set") : texts.index("Validation set")]
    shares = [float(text.split()[0]) for text in shown if text.endswith("%")]
    assert len(shares) > 2
    assert shares == sorted(shares, reverse=True)


def test_a_picture_that_cannot_be_read_leaves_its_name(tmp_path: Path) -> None:
    labels = np.array([0, 1])
    write_results(tmp_path / "job", ("a", "b"), labels=labels, predicted=1 - labels)
    folders = save_pictures(tmp_path, tmp_path / "job")
    (folders["evaluation"] / "a" / "00000.png").write_bytes(b"\x89PNG no more")
    (folders["validation"] / "b" / "00001.png").unlink()
    page = made(tmp_path / "job", folders)
    assert len(page.pictures) == 2
    assert page.texts.count("no picture") == 2
    assert "a/00000.png" in page.text


def test_no_path_leads_out_of_the_folder(tmp_path: Path) -> None:
    labels = np.array([0, 1])
    write_results(tmp_path / "job", ("a", "b"), labels=labels, predicted=1 - labels)
    folders = save_pictures(tmp_path, tmp_path / "job")
    file = tmp_path / "job" / facts.PREDICTIONS_FILE
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("a/00000.png", "../validation/a/00000.png"), encoding="utf-8")
    assert len(made(tmp_path / "job", folders).pictures) == 2


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "CMYK", "I;16", "F"])
def test_images_of_any_kind_become_pictures(tmp_path: Path, mode: str) -> None:
    write_results(tmp_path / "job", ("a", "b"), labels=np.array([0]), predicted=np.array([1]))
    image = Image.new("L", (40, 20), 200).convert(mode if mode not in ("I;16", "F") else "I")
    if mode == "F":
        image = image.convert("F")
    for name in ("validation", "evaluation"):
        (tmp_path / name / "a").mkdir(parents=True)
        image.save(tmp_path / name / "a" / "00000.png", "TIFF")
    page = made(tmp_path / "job", {name: tmp_path / name for name in ("validation", "evaluation")})
    assert len(page.pictures) == 2
