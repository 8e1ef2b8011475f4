"""The first start of a service is saved and used from then on; each test fails when its option is ignored."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.engine import LastingEngine

from plugin.conftest import Project

DB = """
db = postgres(image=IMAGE, command=program("once /srv/postgresql/data/made", "say up", "serve 5432"), ready=http("/"))
db = service(db)
"""
TESTS = """
def test_it(db):
    print("cold" if "made" in db.logs() else "thawed")
    print("password", db.password)
"""


@pytest.fixture
def db(project: Project) -> Project:
    """A project with one service that makes something of itself at its first start."""
    project.conftest(DB, engine="")
    project.tests(TESTS)
    return project


def saved(project: Project, lasting: LastingEngine, *args: str) -> bool:
    """Whether a run's service was started from what an earlier one has saved."""
    result = project.run_on(lasting, "-s", *args)
    result.assert_outcomes(passed=1)
    return "thawed" in result.stdout.str()


def password(result: pytest.RunResult) -> str:
    return next(line.split()[-1] for line in result.outlines if line.startswith("password"))


def test_second_run_starts_from_what_the_first_has_saved(db: Project, lasting: LastingEngine) -> None:
    assert [saved(db, lasting) for _ in range(3)] == [False, True, True]
    assert len([tag for tag in lasting.images if "snapshot" in tag]) == 1
    assert lasting.containers == {}


def test_its_password_is_the_one_that_was_saved(db: Project, lasting: LastingEngine) -> None:
    one, other = (password(db.run_on(lasting, "-s")) for _ in range(2))
    without = password(db.run_on(lasting, "-s", "--isolate-no-cache"))
    assert one == other != without


@pytest.mark.parametrize("where", ["option", "ini"])
def test_nothing_is_saved_or_used_without_the_cache(db: Project, lasting: LastingEngine, where: str) -> None:
    if where == "ini":
        db.write("pytest.ini", "[pytest]\nisolate_cache = false\n")
    args = ["--isolate-no-cache"] if where == "option" else []
    assert [saved(db, lasting, *args) for _ in range(2)] == [False, False]
    assert not any("snapshot" in tag for tag in lasting.images)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ready=", "env={'A': '1'}, ready="),
        ("say up", "say ready"),
        ("ready=", "files={'/seed': 'text'}, ready="),
    ],
)
def test_what_has_changed_is_started_anew(db: Project, lasting: LastingEngine, old: str, new: str) -> None:
    saved(db, lasting)
    db.conftest(DB.replace(old, new), engine="")
    assert [saved(db, lasting) for _ in range(2)] == [False, True]


def test_user_whose_secret_is_another_does_not_use_it(
    db: Project, lasting: LastingEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    saved(db, lasting)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert not saved(db, lasting)


def test_services_that_are_alike_share_one(project: Project, lasting: LastingEngine) -> None:
    project.conftest(DB, "other = service(db)", engine="")
    project.tests("def test_it(db, other): assert db.password == other.password")
    project.run_on(lasting).assert_outcomes(passed=1)
    assert len([tag for tag in lasting.images if "snapshot" in tag]) == 1


def test_instances_of_single_tests_use_what_the_first_has_saved(project: Project, lasting: LastingEngine) -> None:
    project.conftest(DB, "db = service(db, scope='function')", engine="")
    project.tests("import pytest\n@pytest.mark.parametrize('n', range(3))\ndef test_it(db, n): print(db.logs())")
    result = project.run_on(lasting, "-s")
    result.assert_outcomes(passed=3)
    assert result.stdout.str().count("made") == 1


def test_service_that_needs_another_is_never_saved(project: Project, lasting: LastingEngine) -> None:
    project.conftest(DB, "other = service(IMAGE, command=forever())\ndb = service(db, needs=['other'])", engine="")
    project.tests(TESTS)
    assert [saved(project, lasting) for _ in range(2)] == [False, False]


def test_kept_service_of_a_run_without_the_cache_is_not_mistaken(db: Project, lasting: LastingEngine) -> None:
    """With and without the cache its password differs."""
    for args in ([], ["--isolate-no-cache"], []):
        result = db.run_on(lasting, "-s", "--isolate-reuse", *args)
        result.assert_outcomes(passed=1)


def test_option_is_described_in_the_help(project: Project) -> None:
    text = project.run("--help", isolate=False).stdout.str()
    assert "--isolate-no-cache" in text
    assert "isolate_cache (bool)" in text
