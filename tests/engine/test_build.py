"""An image that is built: again when something has changed, and only then."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from engine.conftest import Project

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("base_image")]


def gc(project: Project) -> str:
    command = [sys.executable, "-c", "from pytest_isolate.cli.main import main; main()", "gc"]
    env = {**os.environ, **project.env}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=True, timeout=60).stdout


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
        first = docker_client.inspect_image((project.path / "tag").read_text())["Id"]
        project.write("image/said", "two")
        assert [told(), told()] == [("True", "two"), ("False", "two")]
        # What the change has left without a name is removed; what has the name stays.
        (line,) = [line for line in gc(project).splitlines() if first in line]
        assert line.startswith("removed")
        assert "replaced by a later build of " in line
        assert docker_client.images(name=(project.path / "tag").read_text())
        assert first not in docker_client.images(quiet=True, all=True)
    finally:
        with suppress(Exception):
            docker_client.remove_image((project.path / "tag").read_text(), force=True)
