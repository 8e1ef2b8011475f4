"""--isolate-report of a run with real containers: what they wrote, took and where they were reached is on the page."""

from __future__ import annotations

import html
import re

import pytest

from engine.conftest import Project

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("base_image")]


def test_page_of_two_workers_has_what_real_containers_wrote_and_took(project: Project) -> None:
    pytest.importorskip("xdist")
    project.conftest(
        """
        db = service(IMAGE, command=program("say db-is-up", "serve 5432 x"), port=5432, ready=http("/"))
        web = service(IMAGE, command=program("say web-is-up", "err of-{db.host}", "serve 8000 x"), port=8000,
                      ready=http("/"))
        own = service(IMAGE, command=program("say own-is-up", "serve 8000 x"), port=8000, ready=http("/"),
                      scope="function")
        """
    )
    project.tests(
        """
        import time
        import urllib.request

        def say(service, word):
            urllib.request.urlopen(f"{service.url}/say/{word}", timeout=60).read()

        @pytest.mark.parametrize("n", range(4))
        def test_shared(web, n):
            say(web, f"shared-{n}")
            time.sleep(0.5)

        def test_bad(web, own):
            say(own, "the-last-word")
            own.kill()
            assert 0, "as-planned"
        """
    )
    project.run("-n2", "--isolate-report=report.html").assert_outcomes(passed=4, failed=1)
    page = (project.path / "report.html").read_text()
    text = html.unescape(re.sub(r"<[^>]+>", " ", page))
    # What all workers use was started once, and has the lines of all their tests.
    assert len(re.findall('<details class="service"', page)) == 3
    for word in ("db-is-up", "web-is-up", "of-db", "own-is-up", *(f"shared-{n}" for n in range(4))):
        assert word in text
    windows = re.findall(r'<section class="window".*?</section>', page, re.DOTALL)
    assert any("the-last-word" in window for window in windows)
    assert all("web-is-up" not in window for window in windows)
    assert "as-planned" in text
    assert len(set(re.findall(r"127\.0\.0\.1:\d+", text))) == 3
    for name in ("db", "web"):
        memory, share = re.findall(rf"\s{name}\s+([\d.]+) [kM]B\s+(\d+) %", text)[0]
        assert float(memory) > 0
        assert int(share) >= 0
    assert "ready after" in text
