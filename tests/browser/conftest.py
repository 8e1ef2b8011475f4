"""A browser without a window, and the pages that it opens."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from browser.runs import big, small
from pytest_isolate.running.report.assemble import assemble
from pytest_isolate.running.report.page import render

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_QUESTIONS = Path(__file__).parent / "questions"
WIDE, NARROW = 1400, 390


class Browser:
    """What tests do with a page."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path, *, width: int = WIDE, dark: bool = False, media: str = "", fragment: str = "") -> None:
        """Load a page from disk, anew."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme], "media": media})
        self.driver.get("about:blank")
        self.driver.get(page.as_uri() + fragment)

    def ask(self, script: str, *args: object) -> Any:
        """What a piece of JavaScript returns."""
        return self.driver.execute_script(script, *args)

    def question(self, name: str) -> Any:
        """What one of the longer pieces of JavaScript beside this file returns."""
        return self.ask((_QUESTIONS / f"{name}.js").read_text())

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def find_all(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)  # type: ignore[no-any-return]

    def search(self, text: str) -> str:
        """What is said when one searches for a text."""
        field = self.find("#query")
        field.clear()
        field.send_keys(text)
        self.ask("document.querySelector('#search').requestSubmit()")
        return str(self.find("#count").text)

    def errors(self) -> list[str]:
        """What the browser complains about."""
        return [str(entry["message"]) for entry in self.driver.get_log("browser")]

    def picture(self, path: Path) -> None:
        """The whole page as an image."""
        width, height = self.ask("return [innerWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": min(height, 12_000), "scale": 1}
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        path.write_bytes(base64.b64decode(shot["data"]))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium; without one these tests are skipped, or fail where one is required."""
    program = next(filter(None, map(shutil.which, _BROWSERS)), None)
    driver_program = shutil.which("chromedriver")
    try:
        from selenium import webdriver
    except ImportError:
        webdriver = None
    if not (program and driver_program and webdriver):
        text = "needs chromium, chromium-driver and selenium: tox run -e browser"
        if os.environ.get("ISOLATE_REQUIRE_BROWSER") == "1":
            pytest.fail(text, pytrace=False)
        pytest.skip(text)
    options = webdriver.ChromeOptions()
    options.binary_location = program
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(word)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_program))
    # A page that asked for anything but itself would fail to.
    driver.execute_cdp_cmd("Network.enable", {})
    conditions = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)
    yield Browser(driver)
    driver.quit()


def _write(make: Callable[[], Any], path: Path) -> Path:
    facts, records = make()
    path.write_text(render(assemble(facts, records)), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def small_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run of five tests."""
    return _write(small, tmp_path_factory.mktemp("pages") / "small.html")


@pytest.fixture(scope="session")
def big_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run of 2,000 tests in four workers."""
    return _write(big, tmp_path_factory.mktemp("pages") / "big.html")


@pytest.fixture(params=["small", "big"])
def page(request: pytest.FixtureRequest) -> Path:
    """Each of the two."""
    found: Path = request.getfixturevalue(f"{request.param}_page")
    return found
