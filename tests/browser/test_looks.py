"""The page in a real browser: nothing overlaps or is cut, in both sizes, wide and narrow, light and dark, on paper."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from browser.conftest import NARROW, WIDE, Browser


@pytest.fixture
def keep_picture(browser: Browser, request: pytest.FixtureRequest) -> Any:
    """With ISOLATE_PICTURES=folder, what the test has looked at can be looked at."""
    yield
    folder = os.environ.get("ISOLATE_PICTURES")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        browser.picture(Path(folder) / f"{request.node.name}.png")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, 768, NARROW])
@pytest.mark.usefixtures("keep_picture")
def test_nothing_of_5_tests_is_cut_or_faint(browser: Browser, small_page: Path, width: int, dark: bool) -> None:
    browser.open(small_page, width=width, dark=dark)
    browser.ask("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert_all_can_be_read(browser, width)


@pytest.mark.parametrize(("width", "dark"), [(WIDE, True), (NARROW, False)])
@pytest.mark.usefixtures("keep_picture")
def test_nothing_of_2000_tests_is_cut_or_faint(browser: Browser, big_page: Path, width: int, dark: bool) -> None:
    browser.open(big_page, width=width, dark=dark)
    assert_all_can_be_read(browser, width)


def assert_all_can_be_read(browser: Browser, width: int) -> None:
    assert browser.ask("return document.documentElement.scrollWidth") <= width
    assert browser.question("cut") == []
    count, overlapping = browser.question("overlapping")
    assert count > 50
    assert overlapping == []
    assert browser.question("faint") == []
    assert browser.errors() == []


def test_dark_is_dark_and_light_is_light(browser: Browser, small_page: Path) -> None:
    colours = []
    for dark in (False, True):
        browser.open(small_page, dark=dark)
        colours.append(browser.ask("return getComputedStyle(document.body).backgroundColor"))
    assert colours == ["rgb(255, 255, 255)", "rgb(20, 23, 27)"]


def test_paper_has_all_of_what_failed_tests_need(browser: Browser, small_page: Path) -> None:
    browser.open(small_page, dark=True, media="print")
    browser.ask("dispatchEvent(new Event('beforeprint'))")
    assert browser.ask("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not browser.find("nav").is_displayed()
    assert not browser.find("search").is_displayed()
    assert all(window.is_displayed() for window in browser.find_all(".window"))
    assert not any(lines.is_displayed() for lines in browser.find_all(".log > pre"))
    assert browser.ask("return [...document.querySelectorAll('.log')].every(l => l.scrollHeight <= l.clientHeight + 1)")
    pdf = browser.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
    assert len(pdf["data"]) > 10_000


def test_every_bar_can_be_seen(browser: Browser, page: Path) -> None:
    browser.open(page, width=NARROW)
    thinnest = browser.ask(
        "return Math.min(...[...document.querySelectorAll('.bars rect')].map(r => r.getBoundingClientRect().width"
        " + (r.classList.contains('wide') ? 0 : parseFloat(getComputedStyle(r).strokeWidth))))"
    )
    assert thinnest >= 0.75


def test_picture_of_the_timeline_shows_each_test_where_it_ran(browser: Browser, small_page: Path) -> None:
    browser.open(small_page)
    bars = browser.ask(
        "const lane = document.querySelector('svg[aria-label^=\"Tests, tests\"]'), box = lane.getBoundingClientRect();"
        "return [...lane.querySelectorAll('rect')].map(r => { const b = r.getBoundingClientRect();"
        " return [(b.left - box.left) / box.width, b.width / box.width] })"
    )
    expected = [(0.6, 3.1), (3.1, 3.9), (3.9, 5.0), (5.0, 9.5), (9.5, 15.2)]
    for (left, width), (began, ended) in zip(bars, expected, strict=True):
        assert left == pytest.approx(began / 16, abs=0.003)
        assert width == pytest.approx((ended - began) / 16, abs=0.003)
