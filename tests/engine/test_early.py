"""Services that the last run began with start while pytest collects, and only as they are declared today."""

from __future__ import annotations

import pytest

from engine.conftest import Project
from engine.events import Events
from engine.test_fresh import DECLARE, POSTGRES

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("base_image")]

WEB = 'web = service(IMAGE, command=program("serve 8000 hello"), port=8000, ready=http("/"), memory="32m")\n'
# A module whose import takes as long as it is told.
SLOW = """
import os, time
from pathlib import Path
from urllib.request import urlopen

while os.path.exists("wait") and not os.path.exists("go"):
    time.sleep(0.01)

def get(service, path="/"):
    return urlopen(f"http://{service.address}{path}", timeout=60).read().decode()
"""
TEST = SLOW + "def test_it(web): assert get(web) == 'hello'\n"


@pytest.fixture
def remembering(project: Project) -> Project:
    """A project whose runs have pytest's cache."""
    project.without = tuple(name for name in project.without if name != "cacheprovider")
    return project


def collect_until_started(project: Project, number: int, *args: str) -> pytest.RunResult:
    """A run whose collection goes on until so many containers are there."""
    (project.path / "wait").touch()
    running = project.start(*args)
    running.wait_for_containers(number)
    (project.path / "go").touch()
    return running.result()


def first_run(project: Project, *args: str) -> None:
    assert project.run(*args).ret == 0


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "xdist"])
def test_what_the_last_run_began_with_starts_while_pytest_collects(
    remembering: Project, events: Events, workers: tuple[str, ...]
) -> None:
    remembering.conftest(WEB, "front = service(web, env={'WEB': '{web.host}'})")
    remembering.tests(TEST, "def test_front(front): assert get(front, '/fetch/web/8000') == 'hello'")
    first_run(remembering, *workers)
    collect_until_started(remembering, 2, *workers).assert_outcomes(passed=2)
    events.settle()
    assert events.created == ["front", "front", "web", "web"]


def test_so_do_alternatives_and_members_of_stacks(remembering: Project, events: Events) -> None:
    remembering.conftest(
        WEB,
        "shop = stack(web=web, db=service(web))",
        "versions = variants(web={'one': service(web, env={'V': '1'}), 'two': service(web, env={'V': '2'})})",
    )
    remembering.tests(SLOW, "def test_it(web, shop): assert get(web, '/env/V') in '12' and get(shop.db) == 'hello'")
    first_run(remembering)
    collect_until_started(remembering, 6).assert_outcomes(passed=2)
    events.settle()
    assert len(events.created) == 12


def test_a_changed_declaration_is_not_started_as_it_was(remembering: Project, events: Events) -> None:
    remembering.conftest(WEB)
    remembering.tests(SLOW, "def test_it(web): assert get(web, '/env/V') == '2'")
    assert remembering.run().ret == 1
    remembering.conftest(WEB, "web = service(web, env={'V': '2'})")
    first_run(remembering)
    events.settle()
    assert events.created == ["web", "web"]


def test_a_file_that_collecting_has_changed_is_the_new_one(remembering: Project) -> None:
    remembering.conftest(WEB, "web = service(web, files={'/note': {'path': 'note'}})")
    (remembering.path / "note").write_text("first")
    remembering.tests(SLOW, "def test_it(web): assert web.exec('cat', '/note').stdout == Path('note').read_text()")
    first_run(remembering)
    remembering.tests(
        SLOW,
        "Path('note').write_text('second')",
        "def test_it(web): assert web.exec('cat', '/note').stdout == 'second'",
    )
    collect_until_started(remembering, 1).assert_outcomes(passed=1)


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "xdist"])
def test_what_needs_a_service_of_changed_files_is_started_again_too(
    remembering: Project, events: Events, workers: tuple[str, ...]
) -> None:
    front, web = (
        "front = service(web, env={'WEB': '{web.host}'})",
        "web = service(web, files={'/note': {'path': 'note'}})",
    )
    remembering.conftest(WEB, front, web)
    (remembering.path / "note").write_text("first")
    remembering.tests(SLOW, "def test_it(front): pass")
    first_run(remembering, *workers)
    remembering.tests(SLOW, "Path('note').write_text('second')", "def test_it(front): pass")
    collect_until_started(remembering, 2, *workers).assert_outcomes(passed=1)
    events.settle()
    # What has no name is the plugin's own.
    assert [name for name in events.created if name] == ["front", "front", "front", "web", "web", "web"]


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "xdist"])
def test_what_no_test_needs_any_more_is_removed_and_not_started_again(
    remembering: Project, events: Events, workers: tuple[str, ...]
) -> None:
    remembering.conftest(WEB, "other = service(web)")
    remembering.tests(TEST, "def test_other(other): pass")
    first_run(remembering, *workers)
    remembering.tests(TEST, "def test_other(web): pass")
    collect_until_started(remembering, 2, *workers).assert_outcomes(passed=2)
    (remembering.path / "wait").unlink()
    first_run(remembering, *workers)
    events.settle()
    assert events.created == ["other", "other", "web", "web", "web"]


def test_a_run_that_needs_no_service_any_more_leaves_none(remembering: Project) -> None:
    remembering.conftest(WEB)
    remembering.tests(TEST)
    first_run(remembering)
    remembering.tests(SLOW, "def test_it(): pass")
    collect_until_started(remembering, 1).assert_outcomes(passed=1)


def test_copies_are_made_of_what_no_test_has_seen(remembering: Project) -> None:
    remembering.conftest(DECLARE, POSTGRES, "orders = fresh(db)")
    remembering.tests(
        "from conftest import psql",
        SLOW,
        """
        def test_it(db, orders):
            psql(db, "CREATE TABLE seen ()")
            assert psql(orders, "SELECT to_regclass('seen')") == ""
            assert psql(orders, "SELECT count(*) FROM pg_database WHERE datname = 'app'") == "1"
        """,
    )
    first_run(remembering)
    collect_until_started(remembering, 1).assert_outcomes(passed=1)


def test_another_selection_begins_with_its_own(remembering: Project, events: Events) -> None:
    remembering.conftest(WEB, "other = service(web)")
    remembering.tests(TEST, "def test_other(other): pass")
    for word in ("not test_other", "test_other"):
        first_run(remembering, "-k", word)
    collect_until_started(remembering, 1, "-k", "test_other").assert_outcomes(passed=1, deselected=1)
    events.settle()
    assert events.created == ["other", "other", "web"]


def test_it_can_be_switched_off(remembering: Project, events: Events) -> None:
    remembering.conftest(WEB)
    remembering.tests("import pathlib; pathlib.Path('collecting').touch()", SLOW, "def test_it(web): pass")
    first_run(remembering, "-o", "isolate_early=false")
    (remembering.path / "collecting").unlink()
    (remembering.path / "wait").touch()
    running = remembering.start("-o", "isolate_early=false")
    running.wait_for((remembering.path / "collecting").exists)
    assert len(events.of("create")) == 1
    (remembering.path / "go").touch()
    running.result().assert_outcomes(passed=1)


def test_an_early_start_that_fails_is_told_by_the_test(remembering: Project, events: Events) -> None:
    remembering.conftest("web = service(IMAGE, command=['sh', '-c', 'exit 3'], port=8000)")
    remembering.tests(SLOW, "def test_it(web): pass")
    for _ in range(2):
        result = remembering.run()
        assert result.ret == 1
        result.stdout.fnmatch_lines(["service 'web'*ended before it was ready", "*exited with code 3*"])
    events.settle()
    assert events.created == ["web", "web"]


def test_a_run_that_is_killed_while_it_collects_leaves_nothing(remembering: Project) -> None:
    remembering.conftest(WEB)
    remembering.tests(TEST)
    first_run(remembering)
    (remembering.path / "wait").touch()
    running = remembering.start()
    running.wait_for_containers(1)
    running.process.kill()
    running.result()


def test_ctrl_c_while_it_collects_leaves_nothing(remembering: Project) -> None:
    remembering.conftest(WEB)
    remembering.tests(TEST)
    first_run(remembering)
    (remembering.path / "wait").touch()
    running = remembering.start()
    running.wait_for_containers(1)
    running.interrupt()
    assert running.result().ret == pytest.ExitCode.INTERRUPTED
