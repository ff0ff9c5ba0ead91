"""The report in a real browser: it is drawn, answers to the mouse and the keyboard, and asks nobody for anything."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from container.report.facts import PREDICTIONS_FILE, Predictions
from container.report.page import write_report
from tests.container.browser import Browser, browser
from tests.container.jobs import lay_out, run
from tests.container.made_up import HOSTILE_NAMES, write_results

pytestmark = pytest.mark.slow

MANY = (*HOSTILE_NAMES, *(f"class {number:03}" for number in range(133 - len(HOSTILE_NAMES))))
TEXTS = """
return [...document.querySelector(arguments[0]).querySelectorAll(arguments[1])].map((text) => text.textContent);
"""
MATRIX_BOX = """
document.querySelector("#confusion-matrix").scrollIntoView();
const box = document.querySelector("#confusion-matrix .heatmaplayer image").getBoundingClientRect();
return [box.x, box.y, box.width, box.height];
"""
FILLS = """
return [getComputedStyle(document.body).backgroundColor,
        getComputedStyle(document.querySelector("#reliability .legendtext")).fill];
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


def opened(chromium: Browser, folder: Path, *classes: str, images: int, epochs: int = 6) -> Path:
    """Open the report of a made-up run."""
    write_results(folder, classes, images=images, epochs=epochs)
    page = write_report(folder, {})
    chromium.open_anew(page)
    return page


def hover_texts(chromium: Browser, row: int, column: int, classes: int) -> list[str]:
    """Return what hovering over a cell of the confusion matrix shows."""
    x, y, width, height = chromium.run(MATRIX_BOX)
    chromium.hover(x + (column + 0.5) * width / classes, y + (row + 0.5) * height / classes)
    chromium.wait_for(lambda: chromium.run(TEXTS, "#confusion-matrix", ".hovertext .line"))
    return chromium.run(TEXTS, "#confusion-matrix", ".hovertext .line")


def test_133_hostile_classes_are_drawn_without_a_complaint_or_a_request(chromium: Browser, tmp_path: Path) -> None:
    page = opened(chromium, tmp_path, *MANY, images=2000)
    assert chromium.undrawn() == []
    assert len(chromium.driver.find_elements(By.CSS_SELECTOR, ".plot")) == 10
    # A dialog that a name had opened would let this fail.
    assert chromium.driver.title.startswith("made-up-2026")
    assert not chromium.driver.find_elements(By.CSS_SELECTOR, "main script:not([type='application/json']), main b")
    assert chromium.complaints() == []
    assert chromium.requests() == [page.as_uri()]
    assert page.stat().st_size < 8e6


def test_the_matrix_tells_the_images_of_a_cell(chromium: Browser, tmp_path: Path) -> None:
    opened(chromium, tmp_path, *MANY, images=2000)
    texts = hover_texts(chromium, 0, 0, len(MANY))
    assert "the true class is <script>alert(1)</script>" in texts
    assert "the predicted class is <script>alert(1)</script>" in texts
    assert any(re.match(r"<script>alert\(1\)<_script>/\d{5}\.png", text) for text in texts)


def test_the_report_of_a_real_job_shows_its_mistakes(chromium: Browser, tmp_path: Path) -> None:
    opt_ml = lay_out(tmp_path)
    code, log = run(opt_ml)
    assert code == 0, log
    page = write_report(opt_ml.model_dir, {name: opt_ml.channel_dir(name) for name in ("validation", "evaluation")})
    chromium.open_anew(page)
    assert chromium.undrawn() == []
    shown = "return [...document.querySelectorAll('.mistakes img')].map((picture) => picture.naturalWidth)"
    mistakes = [
        row for row in Predictions.read(opt_ml.model_dir / PREDICTIONS_FILE).rows if row.label != row.prediction
    ]
    # As wide as the pictures of these jobs are.
    assert chromium.run(shown) == [12] * len(mistakes)
    assert chromium.complaints() == []
    assert chromium.requests() == [page.as_uri()]


def test_two_classes_show_counts_then_shares_and_mark_the_threshold(chromium: Browser, tmp_path: Path) -> None:
    opened(chromium, tmp_path, "healthy", "ill", images=200, epochs=1)
    assert chromium.undrawn() == []
    texts = hover_texts(chromium, 0, 1, 2)
    assert texts[:2] == ["true: healthy", "predicted: ill"]
    assert any(re.fullmatch(r"\d{5}\.png", text) for text in texts)
    counts = chromium.run(TEXTS, "#confusion-matrix", ".heatmap-label")
    chromium.driver.find_element(By.CSS_SELECTOR, "#confusion-matrix input[value=shares]").click()
    chromium.wait_for(lambda: chromium.run(TEXTS, "#confusion-matrix", ".heatmap-label") != counts)
    assert all(text.endswith("%") for text in chromium.run(TEXTS, "#confusion-matrix", ".heatmap-label"))
    assert any(text.startswith("threshold") for text in chromium.run(TEXTS, "#roc", ".legendtext"))
    assert chromium.complaints() == []


def test_a_class_is_chosen_by_the_keyboard_in_all_charts_at_once(chromium: Browser, tmp_path: Path) -> None:
    opened(chromium, tmp_path, "cat", "dog", "frog", images=100)
    before = chromium.run("return document.querySelector('#precision-recall .scatterlayer path.js-line').outerHTML")
    chosen = chromium.driver.find_element(By.CSS_SELECTOR, "#roc select")
    chosen.send_keys(Keys.ARROW_DOWN)
    assert chromium.run("return document.querySelector('#precision-recall select').selectedOptions[0].text") == "cat"
    after = chromium.run("return document.querySelector('#precision-recall .scatterlayer path.js-line').outerHTML")
    assert after != before


def test_page_and_charts_follow_the_systems_colors_and_the_readers_choice(chromium: Browser, tmp_path: Path) -> None:
    opened(chromium, tmp_path, "cat", "dog", "frog", images=100)
    light, light_picture = chromium.run(FILLS), chromium.screenshot()
    chromium.prefer("dark")
    chromium.wait_for(lambda: not set(chromium.run(FILLS)) & set(light))
    dark_picture = chromium.screenshot()
    assert np.asarray(light_picture).mean() > 230
    assert np.asarray(dark_picture).mean() < 45
    chromium.driver.find_element(By.CSS_SELECTOR, ".theme input[value=light]").click()
    chromium.wait_for(lambda: chromium.run(FILLS) == light)


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_the_screen(chromium: Browser, tmp_path: Path, width: int) -> None:
    opened(chromium, tmp_path, *MANY[:40], images=400)
    chromium.resize(width, 900)
    chromium.wait_for(lambda: chromium.run("return innerWidth") == width)
    seen, whole = chromium.run("return [document.documentElement.clientWidth, document.documentElement.scrollWidth]")
    assert whole == seen


def test_it_prints_in_light_colors_and_goes_back(chromium: Browser, tmp_path: Path) -> None:
    opened(chromium, tmp_path, "cat", "dog", "frog", images=100)
    light = chromium.run(FILLS)
    chromium.prefer("dark")
    chromium.wait_for(lambda: not set(chromium.run(FILLS)) & set(light))
    dark = chromium.run(FILLS)
    chromium.run("dispatchEvent(new Event('beforeprint'))")
    assert chromium.run(FILLS)[1] == "rgb(26, 31, 38)"
    chromium.run("dispatchEvent(new Event('afterprint'))")
    chromium.wait_for(lambda: chromium.run(FILLS) == dark)
