"""The page of a tuning job in a real browser."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from container.report.tuning_page import write_tuning_page
from manager.trials import TuningJob
from tests.container.browser import Browser, browser
from tests.container.made_up import HOSTILE_NAMES
from tests.container.tuned import SETTINGS, made_up_tuning

pytestmark = pytest.mark.slow

# Where the best trial crosses the last axis of the parallel coordinates.
LAST_PLACE = """
document.querySelector("#parallel-coordinates").scrollIntoView();
const marks = document.querySelectorAll("#parallel-coordinates .scatterlayer .point");
const box = marks[marks.length - 1].getBoundingClientRect();
return [box.x + box.width / 2, box.y + box.height / 2];
"""
TEXTS = """
return [...document.querySelector(arguments[0]).querySelectorAll(arguments[1])].map((text) => text.textContent);
"""
COLORS = """
return [...document.querySelectorAll("#parallel-coordinates .scatterlayer path.js-line")].map(
  (line) => getComputedStyle(line).stroke
);
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


def opened(chromium: Browser, folder: Path, tuning: TuningJob) -> Path:
    page = write_tuning_page(folder / "tuning.html", tuning, "python project_manager.py --launch_training")
    chromium.open_anew(page)
    return page


def test_300_trials_of_hostile_values_are_drawn_without_a_complaint_or_a_request(
    chromium: Browser, tmp_path: Path
) -> None:
    networks = {"model.name": lambda random: str(random.choice(HOSTILE_NAMES[:10]))}
    page = opened(chromium, tmp_path, made_up_tuning(300, dict(list(SETTINGS.items())[:9]) | networks))
    assert chromium.undrawn() == []
    assert len(chromium.driver.find_elements(By.CSS_SELECTOR, ".plot")) == 13
    # What plotly read as HTML would be gone from the texts.
    ticks = chromium.run(TEXTS, "#parallel-coordinates", ".annotation-text")
    assert "<b>bold</b>" in ticks
    assert not chromium.driver.find_elements(By.CSS_SELECTOR, "main script:not([type='application/json']), main b")
    assert chromium.complaints() == []
    assert chromium.requests() == [page.as_uri()]
    assert page.stat().st_size < 8e6


def test_a_trial_tells_its_values(chromium: Browser, tmp_path: Path) -> None:
    opened(chromium, tmp_path, made_up_tuning(40, dict(list(SETTINGS.items())[:4])))
    chromium.hover(*chromium.run(LAST_PLACE))
    chromium.wait_for(lambda: chromium.run(TEXTS, "#parallel-coordinates", ".hovertext .line"))
    texts = chromium.run(TEXTS, "#parallel-coordinates", ".hovertext .line")
    assert ", rank 1 of " in texts[0]
    assert texts[2].startswith("training.learning_rate: 0.00")


def test_the_best_trials_are_chosen_by_the_keyboard(chromium: Browser, tmp_path: Path) -> None:
    opened(chromium, tmp_path, made_up_tuning(40))
    every = chromium.run(COLORS)
    chosen = chromium.driver.find_element(By.CSS_SELECTOR, "#parallel-coordinates input[value=all]")
    chosen.send_keys(Keys.ARROW_RIGHT)
    chromium.wait_for(lambda: chromium.run(COLORS) != every)
    assert len(set(chromium.run(COLORS))) < len(set(every))


def test_trials_follow_the_systems_colors(chromium: Browser, tmp_path: Path) -> None:
    opened(chromium, tmp_path, made_up_tuning(12))
    light = chromium.run(COLORS)
    chromium.prefer("dark")
    chromium.wait_for(lambda: not set(chromium.run(COLORS)) & set(light))
    assert np.asarray(chromium.screenshot()).mean() < 45


@pytest.mark.parametrize("trials", [1, 60])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_the_screen(chromium: Browser, tmp_path: Path, width: int, trials: int) -> None:
    opened(chromium, tmp_path, made_up_tuning(trials, failures=0))
    chromium.resize(width, 900)
    chromium.wait_for(lambda: chromium.run("return innerWidth") == width)
    seen, whole = chromium.run("return [document.documentElement.clientWidth, document.documentElement.scrollWidth]")
    assert whole == seen
    assert chromium.undrawn() == []
