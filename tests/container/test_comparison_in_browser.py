"""The page of several training jobs in a real browser."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from container.report.comparison_page import ComparedJob, write_comparison
from tests.container.browser import Browser, browser
from tests.container.made_up import HOSTILE_NAMES, write_results

pytestmark = pytest.mark.slow

MARKS = "return document.querySelectorAll('#class-scores .scatterlayer .point').length"
LEGEND = """
return [...document.querySelectorAll("#val-loss .legendtext")].map((text) => text.textContent);
"""
PAINTS = """
return [getComputedStyle(document.body).backgroundColor,
        getComputedStyle(document.querySelector("#loss .scatterlayer path.js-line")).stroke,
        getComputedStyle(document.querySelector(".swatch line")).stroke];
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


def opened(chromium: Browser, folder: Path, *names: str, classes: tuple[str, ...] = ("cat", "dog", "frog")) -> Path:
    """Open a page of jobs, each with results but the last one."""
    jobs = []
    for position, name in enumerate(names):
        directory = folder / str(position)
        write_results(directory, classes, images=200, accuracy=0.5 + 0.05 * position, epochs=4 + position)
        told = (("status", "Completed"), ("about USD", "0.50"))
        jobs.append(ComparedJob(name, told, {"model.name": name}, directory))
    jobs[-1] = ComparedJob(names[-1], (("status", "Failed"),), {}, None, "It failed.")
    page = write_comparison(folder / "comparison.html", jobs)
    chromium.open_anew(page)
    return page


def test_hostile_jobs_are_drawn_without_a_complaint_or_a_request(chromium: Browser, tmp_path: Path) -> None:
    page = opened(chromium, tmp_path, *HOSTILE_NAMES[:8], classes=HOSTILE_NAMES)
    assert chromium.undrawn() == []
    assert len(chromium.driver.find_elements(By.CSS_SELECTOR, ".plot")) == 5
    assert chromium.run(LEGEND) == [name.replace("\u2028", "\\u2028") for name in HOSTILE_NAMES[:7]]
    assert chromium.driver.title == "8 training jobs: comparison"
    assert not chromium.driver.find_elements(By.CSS_SELECTOR, "main script:not([type='application/json']), main b")
    assert chromium.complaints() == []
    assert chromium.requests() == [page.as_uri()]


def test_the_set_is_chosen_by_the_keyboard(chromium: Browser, tmp_path: Path) -> None:
    opened(chromium, tmp_path, "one", "two", "three")
    place = "return document.querySelector('#class-scores .scatterlayer .point').getAttribute('transform')"
    before = chromium.run(place)
    chosen = chromium.driver.find_element(By.CSS_SELECTOR, "#class-scores input[value=evaluation]")
    chosen.send_keys(Keys.ARROW_RIGHT)
    chromium.wait_for(lambda: chromium.run(place) != before)
    # A mark for each class and job.
    assert chromium.run(MARKS) == 6


def test_lines_and_swatches_follow_the_systems_colors(chromium: Browser, tmp_path: Path) -> None:
    opened(chromium, tmp_path, "one", "two")
    light = chromium.run(PAINTS)
    assert light[1] == light[2]
    chromium.prefer("dark")
    chromium.wait_for(lambda: not set(chromium.run(PAINTS)) & set(light))
    assert np.asarray(chromium.screenshot()).mean() < 45


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_the_screen(chromium: Browser, tmp_path: Path, width: int) -> None:
    opened(chromium, tmp_path, *(f"made-up-network-2026-01-02-03-04-{second:02}" for second in range(8)))
    chromium.resize(width, 900)
    chromium.wait_for(lambda: chromium.run("return innerWidth") == width)
    seen, whole = chromium.run("return [document.documentElement.clientWidth, document.documentElement.scrollWidth]")
    assert whole == seen
