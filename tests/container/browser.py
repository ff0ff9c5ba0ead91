"""A browser without a window, for what only a browser can tell of a page."""

import base64
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import pytest
from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.support.wait import WebDriverWait

PATIENCE_SECONDS = 60
# A chart without a single mark is not drawn.
UNDRAWN = """
return [...document.querySelectorAll(".plot")].filter((plot) => {
  const marks = plot.querySelectorAll(".scatterlayer path, .barlayer path, .heatmaplayer image");
  return plot.getBoundingClientRect().height < 100 || marks.length === 0;
}).map((plot) => plot.closest("figure").id);
"""


@dataclass(frozen=True)
class Browser:
    """Chromium, with one page."""

    driver: Chrome

    def open(self, page: Path) -> None:
        """Open a page, and wait until its charts are drawn."""
        self.driver.get(page.as_uri())
        self.wait_for(lambda: self.run("return document.documentElement.dataset.charts") == "drawn")

    def open_anew(self, page: Path) -> None:
        """Open a page as a reader with a large screen and light colors does; forget what an earlier one left behind."""
        self.resize(1280, 1000)
        self.prefer("light")
        self.complaints()
        self.requests()
        self.open(page)

    def undrawn(self) -> list[str]:
        """Return the ids of charts in which nothing is drawn."""
        return list(self.run(UNDRAWN))

    def run(self, script: str, *arguments: object) -> Any:
        """Run JavaScript in the page; return what it returns."""
        return self.driver.execute_script(script, *arguments)

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until the condition is true.

        Raises:
            TimeoutException: it does not become so.
        """
        WebDriverWait(self.driver, PATIENCE_SECONDS, poll_frequency=0.05).until(lambda _: condition())

    def hover(self, x: float, y: float) -> None:
        """Move the mouse to a point of the page, in CSS pixels from the corner of what is seen of it."""
        self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x, "y": y})

    def prefer(self, scheme: Literal["light", "dark"]) -> None:
        """Set the system's colors."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def resize(self, width: int, height: int) -> None:
        """Set the size of what is seen of the page, in CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def screenshot(self, height: int | None = None) -> Image.Image:
        """Return a picture of the page from its top on; of all of it without a height."""
        size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        return Image.open(BytesIO(base64.b64decode(shot["data"]))).convert("RGB")

    def complaints(self) -> list[str]:
        """Return what the console has said since it was asked last."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Return what the page has asked for since it was asked last, but what it has in itself."""
        entries = self.driver.get_log("performance")
        events = [json.loads(entry["message"])["message"] for entry in entries]
        urls = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [url for url in urls if not url.startswith(("data:", "blob:"))]


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a browser; the test is skipped where there is none."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (program and driver):
        pytest.skip("no chromium and chromedriver: install them (Debian: apt install chromium chromium-driver)")
    options = ChromeOptions()
    options.binary_location = program
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--force-color-profile=srgb"):
        options.add_argument(argument)
    if os.getuid() == 0:
        # Chromium refuses to run as root in its sandbox, and containers have no other user.
        options.add_argument("--no-sandbox")
    chrome = Chrome(options=options, service=ChromeService(executable_path=driver))
    try:
        yield Browser(chrome)
    finally:
        chrome.quit()
