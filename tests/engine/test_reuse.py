"""What is kept for the next run: used again exactly as long as nothing of it has changed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from .conftest import Project

WEB = 'web = service(IMAGE, port=8000, command=program("serve 8000 hello"), env={"COLOUR": "%s"}, files=%s)\n'
USES = "def test_it(web):\n    print('container', web.container_id)\n    print('password', web.password)\n"
KEEP = ("--isolate-reuse", "-s")


@pytest.fixture
def kept(project: Project) -> Iterator[Project]:
    """A project that keeps things in a cache of its own; nothing is kept beyond the test."""
    project.env["XDG_CACHE_HOME"] = str(project.path / "cache")
    declare(project)
    project.tests(USES)
    yield project
    project.run("--isolate-reuse", "--isolate-reuse-idle=1ms")
    gc(project)


def declare(project: Project, colour: str = "green", files: str = "{}", **more: str) -> None:
    project.conftest(WEB % (colour, files) + "".join(more.values()))


def gc(project: Project, *args: str) -> str:
    code = "from pytest_isolate.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "gc", *args],
        env={**os.environ, **project.env},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def container(project: Project, *args: str) -> str:
    """The container that a run hands to its test."""
    result = project.run(*KEEP, *args)
    result.assert_outcomes(passed=1)
    return next(line.split()[-1] for line in result.outlines if "container " in line)


def test_the_next_run_uses_what_is_kept(kept: Project) -> None:
    first = container(kept)
    result = kept.run(*KEEP)

    assert first in result.stdout.str()
    result.stdout.fnmatch_lines(["isolate: 0 services started, 1 reused from an earlier run; *"])


def test_without_the_option_nothing_is_kept_or_used(kept: Project) -> None:
    first = container(kept)
    result = kept.run("-s")

    assert first not in result.stdout.str()
    result.stdout.fnmatch_lines(["isolate: 1 service started, *"])


def test_the_option_may_stand_in_the_configuration(kept: Project) -> None:
    (kept.path / "pytest.ini").write_text("[pytest]\nisolate_reuse = true\n")
    first = kept.run("-s")

    assert next(line for line in first.outlines if "container " in line) in kept.run("-s").outlines


def test_another_setting_gives_another_instance_in_place_of_the_first(kept: Project) -> None:
    """Both on one network would answer to its name."""
    green = container(kept)
    declare(kept, colour="red")
    red = container(kept)

    assert red != green
    assert len(kept.containers_of_kept()) == 1


def test_a_service_with_a_named_volume_is_not_kept(kept: Project) -> None:
    kept.conftest("web = service(IMAGE, command=forever(), volumes={'data': '/data'})\n")
    result = kept.run(*KEEP)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["*service 'web' cannot be kept for later runs, because it has named volumes"])
    declare(kept)


def test_another_content_of_a_copied_file_gives_another_instance(kept: Project) -> None:
    file = kept.path / "motd"
    declare(kept, files='{"/motd": __import__("pathlib").Path("motd")}')
    file.write_text("one")
    first = container(kept)
    file.touch()
    assert container(kept) == first
    file.write_text("two")

    assert container(kept) != first


def test_a_kept_container_that_has_died_is_replaced(kept: Project) -> None:
    first = container(kept)
    subprocess.run(["docker", "kill", first], check=True, capture_output=True)

    second = container(kept)

    assert second != first
    assert len(kept.containers_of_kept()) == 1


def test_what_has_been_idle_for_too_long_goes_at_the_next_run(kept: Project) -> None:
    first = container(kept, "--isolate-reuse-idle=1ms")

    assert container(kept) != first
    assert len(kept.containers_of_kept()) == 1


def test_idle_time_may_stand_in_the_configuration(kept: Project) -> None:
    (kept.path / "pytest.ini").write_text("[pytest]\nisolate_reuse_idle = 1ms\n")

    assert container(kept) != container(kept)


def test_gc_says_why_something_stays_and_goes(kept: Project) -> None:
    container(kept)
    assert "stays" in gc(kept)
    assert "allowed: 3600 s" in gc(kept, "--dry-run")
    container(kept, "--isolate-reuse-idle=1ms")

    assert "would go" in gc(kept, "--dry-run")
    assert len(kept.containers_of_kept()) == 1
    assert "removed" in gc(kept)
    assert kept.containers_of_kept() == []


@pytest.mark.parametrize("share", [False, True])
def test_two_checkouts_share_only_when_they_are_told_to(kept: Project, share: bool) -> None:
    args = ("--isolate-project=ours",) if share else ()
    here = container(kept, *args)
    other = kept.path.parent / f"{kept.path.name}-clone"
    other.mkdir()
    for name in ("conftest.py", "test_it.py"):
        (other / name).write_text((kept.path / name).read_text())
    in_clone = (f"--rootdir={other}", str(other))
    there = container(kept, *args, *in_clone)

    assert (here == there) is share
    kept.run("--isolate-reuse", "--isolate-reuse-idle=1ms", *args)
    kept.run("--isolate-reuse", "--isolate-reuse-idle=1ms", *args, *in_clone)


def test_the_project_s_name_may_stand_in_the_configuration(kept: Project) -> None:
    (kept.path / "pytest.ini").write_text("[pytest]\nisolate_project = ours\n")
    named = container(kept)

    assert container(kept, "-o", "isolate_project=") != named
    kept.run("--isolate-reuse", "--isolate-reuse-idle=1ms", "-o", "isolate_project=")
    gc(kept)


def test_what_is_narrower_than_the_run_is_not_kept(kept: Project) -> None:
    kept.conftest('web = service(IMAGE, port=8000, command=program("serve 8000 x"), scope="module")\n')
    kept.run(*KEEP).assert_outcomes(passed=1)

    assert kept.containers_of_kept() == []
