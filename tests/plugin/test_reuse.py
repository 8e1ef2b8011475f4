"""--isolate-reuse and what belongs to it: each test fails when its option is ignored."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fakes.engine import LastingEngine

from plugin.conftest import WEB, Project, errors_of
from pytest_isolate.cli import main as command
from pytest_isolate.running.clock import SystemClock


class Later:
    """Moves the clock of this process on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        real = SystemClock.time
        monkeypatch.setattr(SystemClock, "time", lambda clock: real(clock) + self.seconds)

    def __call__(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    return Later(monkeypatch)


@pytest.fixture
def web(project: Project) -> Project:
    """A project with one service."""
    project.conftest(WEB, engine="")
    project.tests("def test_web(web): assert web.port")
    return project


def write_ini(project: Project, *lines: str) -> None:
    project.write("pytest.ini", "\n".join(["[pytest]", *lines]))


def there(lasting: LastingEngine) -> int:
    return len(lasting.containers)


# -- --isolate-reuse --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["option", "ini"])
def test_second_run_starts_nothing(web: Project, lasting: LastingEngine, where: str) -> None:
    if where == "ini":
        write_ini(web, "isolate_reuse = true")
    args = ["--isolate-reuse"] if where == "option" else []
    first = web.run_on(lasting, *args)
    second = web.run_on(lasting, *args)
    for result in (first, second):
        result.assert_outcomes(passed=1)
    assert web.journal.services == ["web"]
    assert there(lasting) == 1
    assert "isolate: 1 service started" in first.stdout.str()
    assert "isolate: 0 services started, 1 reused from an earlier run" in second.stdout.str()


def test_without_it_nothing_is_kept(web: Project, lasting: LastingEngine) -> None:
    for _ in range(2):
        web.run_on(lasting).assert_outcomes(passed=1)
    assert web.journal.services == ["web", "web"]
    assert (lasting.containers, lasting.networks, lasting.volumes) == ({}, {}, {})


def test_narrower_scopes_are_not_kept(web: Project, lasting: LastingEngine) -> None:
    web.conftest(WEB, "a = service(web, scope='module')\nb = service(web, scope='function')\ndel web", engine="")
    web.tests("def test_it(a, b): pass")
    web.run_on(lasting, "--isolate-reuse").assert_outcomes(passed=1)
    assert (lasting.containers, lasting.networks, lasting.volumes) == ({}, {}, {})


def test_volume_of_two_services_is_refused(web: Project, lasting: LastingEngine) -> None:
    web.conftest(WEB, "a = service(web, volumes={'d': '/d'})\nb = service(a)\ndel web", engine="")
    web.tests("def test_it(a, b): pass")
    result = web.run_on(lasting, "--isolate-reuse")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    told = "\n".join(errors_of(result))
    assert "services 'a' and 'b' cannot be kept for later runs, because both use the volume 'd'" in told
    assert there(lasting) == 0


def test_run_without_it_leaves_what_is_kept(web: Project, lasting: LastingEngine) -> None:
    web.run_on(lasting, "--isolate-reuse")
    web.run_on(lasting)
    web.run_on(lasting, "--isolate-reuse")
    assert web.journal.services == ["web", "web"]
    assert there(lasting) == 1


def test_ini_can_be_turned_off_by_no_option_but_changed_for_a_run(web: Project, lasting: LastingEngine) -> None:
    write_ini(web, "isolate_reuse = true")
    web.run_on(lasting, "-o", "isolate_reuse=false")
    assert there(lasting) == 0


def test_what_has_changed_is_started_anew(web: Project, lasting: LastingEngine) -> None:
    web.run_on(lasting, "--isolate-reuse")
    web.conftest(WEB, "web = service(web, env={'A': '1'})", engine="")
    web.run_on(lasting, "--isolate-reuse").assert_outcomes(passed=1)
    assert web.journal.services == ["web", "web"]


def test_failed_start_is_tried_again_in_the_next_run(web: Project, lasting: LastingEngine) -> None:
    web.conftest("web = service(IMAGE, command=program('exit 3'))", engine="")
    for _ in range(2):
        web.run_on(lasting, "--isolate-reuse").assert_outcomes(errors=1)
    assert web.journal.services == ["web", "web"]
    assert there(lasting) == 0


def test_kept_instance_that_has_died_is_replaced(web: Project, lasting: LastingEngine) -> None:
    web.run_on(lasting, "--isolate-reuse")
    (died,) = lasting.containers
    lasting.kill_container(died)
    web.run_on(lasting, "--isolate-reuse").assert_outcomes(passed=1)
    assert there(lasting) == 1
    assert died not in lasting.containers


# -- --isolate-reuse-idle ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["option", "ini", "default"])
def test_kept_services_go_when_they_were_idle_for_so_long(
    web: Project, lasting: LastingEngine, later: Later, where: str
) -> None:
    if where == "ini":
        write_ini(web, "isolate_reuse_idle = 10m")
    args = ["--isolate-reuse-idle=10m"] if where == "option" else []
    allowed = 3600 if where == "default" else 600
    web.run_on(lasting, "--isolate-reuse", *args)
    later(allowed - 60)
    web.run_on(lasting)
    assert there(lasting) == 1
    later(61)
    web.run_on(lasting)
    assert there(lasting) == 0


def test_each_use_starts_the_idle_time_again(web: Project, lasting: LastingEngine, later: Later) -> None:
    for _ in range(4):
        web.run_on(lasting, "--isolate-reuse", "--isolate-reuse-idle=10m")
        later(400)
    assert web.journal.services == ["web"]


def test_old_versions_go_although_the_project_is_run_all_day(
    web: Project, lasting: LastingEngine, later: Later
) -> None:
    for version in range(4):
        web.conftest(WEB, f"web = service(web, env={{'A': '{version}'}})", engine="")
        web.run_on(lasting, "--isolate-reuse", "--isolate-reuse-idle=10m")
        later(400)
    assert there(lasting) == 1


@pytest.mark.parametrize("value", ["soon", "-1s", "5 parsecs"])
def test_idle_time_that_is_none_is_refused(web: Project, value: str) -> None:
    result = web.run("--isolate-reuse", f"--isolate-reuse-idle={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"--isolate-reuse-idle={value}" in "\n".join(errors_of(result))


# -- --isolate-project ------------------------------------------------------------------------------------------------


@pytest.fixture
def clones(project: Project) -> Project:
    """Two checkouts of one project, `a` and `b`."""
    for folder in "ab":
        project.conftest(WEB, engine="", name=f"{folder}/conftest.py")
        project.tests("def test_web(web): assert web.port", name=f"{folder}/test_it.py")
        project.write(f"{folder}/pytest.ini", "[pytest]\n")
    (project.path / "conftest.py").unlink()
    return project


def test_two_clones_do_not_share(clones: Project, lasting: LastingEngine) -> None:
    for folder in "ab":
        clones.run_on(lasting, "--isolate-reuse", f"--rootdir={folder}", folder).assert_outcomes(passed=1)
    assert clones.journal.services == ["web", "web"]


@pytest.mark.parametrize("where", ["option", "ini"])
def test_two_clones_share_where_they_are_told_to(clones: Project, lasting: LastingEngine, where: str) -> None:
    for folder in "ab":
        if where == "ini":
            clones.write(f"{folder}/pytest.ini", "[pytest]\nisolate_project = shared\n")
        args = ["--isolate-project=shared"] if where == "option" else []
        clones.run_on(lasting, "--isolate-reuse", *args, f"--rootdir={folder}", folder).assert_outcomes(passed=1)
    assert clones.journal.services == ["web"]


def test_projects_of_other_names_do_not_share(web: Project, lasting: LastingEngine) -> None:
    for name in "ab":
        web.run_on(lasting, "--isolate-reuse", f"--isolate-project={name}")
    assert web.journal.services == ["web", "web"]


# -- gc ---------------------------------------------------------------------------------------------------------------


def gc(monkeypatch: pytest.MonkeyPatch, lasting: LastingEngine, now: float, *args: str) -> Any:
    monkeypatch.setattr("pytest_isolate.cli.engine.connect_for_command", lambda _: nullcontext(lasting))
    monkeypatch.setattr("time.time", lambda: now)
    result = CliRunner().invoke(command.main, ["gc", *args])
    monkeypatch.undo()
    return result


def test_gc_tells_of_each_kept_object_why_it_stays_or_goes(
    web: Project, lasting: LastingEngine, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    web.run_on(lasting, "--isolate-reuse", "--isolate-reuse-idle=10m")
    now = SystemClock().time()
    cases = [(0, True, "stays"), (601, True, "would go"), (601, False, "removed")]
    for passed, is_dry, fate in cases:
        with monkeypatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(cache))
            args = ["--json", *(["--dry-run"] if is_dry else [])]
            result = gc(patch, lasting, now + passed, *args)
        assert result.exit_code == 0
        facts = json.loads(result.output)
        assert {(fact["kind"], fact["fate"]) for fact in facts} == {("container", fate), ("network", fate)}
        assert all(fact["reason"].startswith("kept") for fact in facts)
    assert there(lasting) == 0


def test_gc_says_when_there_is_nothing(lasting: LastingEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    result = gc(monkeypatch, lasting, 0)
    assert (result.exit_code, result.output) == (0, "nothing of ours is on the engine\n")


# -- help -------------------------------------------------------------------------------------------------------------


def test_options_are_described_in_the_help(project: Project) -> None:
    text = project.run("--help", isolate=False).stdout.str()
    for option in ("--isolate-reuse ", "--isolate-reuse-idle=TIME", "--isolate-project=NAME"):
        assert option in text
    for ini in ("isolate_reuse (bool)", "isolate_reuse_idle (string)", "isolate_project (string)"):
        assert ini in text


# -- variants ---------------------------------------------------------------------------------------------------------

VARIED = """
db = service(IMAGE, command=forever(), volumes={"data": "/srv/data"})
auth = service(IMAGE, command=forever(), needs=["db"])
versions = variants(db={"old": {"env": {"N": "old"}}, "new": {"env": {"N": "new"}}})
"""


def test_alternatives_are_kept_side_by_side(project: Project, lasting: LastingEngine) -> None:
    project.conftest(VARIED, engine="")
    project.tests("def test_it(auth, db, versions): assert db.env['N'] == versions['db']")
    project.run_on(lasting, "--isolate-reuse").assert_outcomes(passed=2)
    assert there(lasting) == 4
    second = project.run_on(lasting, "--isolate-reuse")
    second.assert_outcomes(passed=2)
    assert "isolate: 0 services started, 4 reused from earlier runs" in second.stdout.str()
    one = project.run_on(lasting, "--isolate-reuse", "--isolate-variant=db=new")
    assert "isolate: 0 services started, 2 reused from earlier runs" in one.stdout.str()
    assert there(lasting) == 4


def test_changed_alternative_takes_the_place_of_its_older_version_only(
    project: Project, lasting: LastingEngine
) -> None:
    project.conftest(VARIED, engine="")
    project.tests("def test_it(db): pass")
    project.run_on(lasting, "--isolate-reuse").assert_outcomes(passed=2)
    project.conftest(VARIED.replace('"N": "new"', '"N": "newer"'), engine="")
    result = project.run_on(lasting, "--isolate-reuse")
    assert "isolate: 1 service started" in result.stdout.str()
    assert "1 reused from an earlier run" in result.stdout.str()
    assert there(lasting) == 2


def test_changed_service_is_kept_beside_the_unchanged_one(project: Project, lasting: LastingEngine) -> None:
    project.conftest(VARIED.partition("versions")[0], engine="")
    project.tests(
        "def test_a(db): pass\n\n@override(db={'env': {'N': 'lab'}})\ndef test_b(db): assert db.env['N'] == 'lab'"
    )
    for _ in range(2):
        project.run_on(lasting, "--isolate-reuse").assert_outcomes(passed=2)
    assert project.journal.services == ["db", "db"]


def test_what_shares_a_volume_and_is_asked_for_late_is_not_kept(project: Project) -> None:
    project.conftest(
        "one = service(IMAGE, command=forever(), volumes={'d': '/d'})\n"
        "two = service(IMAGE, command=forever(), volumes={'d': '/d'})"
    )
    project.tests(
        "@pytest.mark.parametrize('name', ['two', 'one'])\ndef test_it(name, request): request.getfixturevalue(name)"
    )
    result = project.run("--isolate-reuse")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["service 'one' * it cannot be kept for later runs, because 'two' uses the volume 'd' as well"]
    )
