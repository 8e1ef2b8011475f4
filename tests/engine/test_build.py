"""An image that is built: again when something has changed, and only then."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from engine.conftest import Project

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("base_image")]


def test_unchanged_build_is_not_asked_for_again_and_a_changed_one_is(
    project: Project, tmp_path: Path, docker_client: Any
) -> None:
    project.env["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    # What is imported for a build warns, while the test that waits for it turns warnings into errors.
    project.write("pytest.ini", "[pytest]\nfilterwarnings = error\n")
    project.conftest("web = service(build='image', command=forever())")
    project.tests(
        """
        import sys
        from pathlib import Path

        def test_it(web):
            Path("tag").write_text(web.image)
            Path("built").write_text(str("docker" in sys.modules))
            Path("said").write_text(web.exec("cat", "/said").stdout)
        """
    )

    def told() -> tuple[str, ...]:
        project.run().assert_outcomes(passed=1)
        return tuple((project.path / name).read_text() for name in ("built", "said"))

    try:
        project.write("image/Dockerfile", "FROM debian:bookworm-slim\nCOPY said /said\n")
        project.write("image/said", "one")
        assert [told(), told()] == [("True", "one"), ("False", "one")]
        project.write("image/said", "two")
        assert [told(), told()] == [("True", "two"), ("False", "two")]
    finally:
        with suppress(Exception):
            docker_client.remove_image((project.path / "tag").read_text(), force=True)
