"""--isolate-keep: what stays, what the end of the run says about it, and how it goes."""

from __future__ import annotations

import json
import re
from contextlib import nullcontext

import pytest
from click.testing import CliRunner
from fakes.engine import LastingEngine

from plugin.conftest import WEB, Project, errors_of
from plugin.test_fresh import ASK, DB
from pytest_isolate.cli import main as command
from pytest_isolate.model.identity import LABEL_KEPT, LABEL_SERVICE
from pytest_isolate.running.clock import SystemClock
from pytest_isolate.running.instances.retained import MAX_RETAINED
from pytest_isolate.running.ownership.retention import KEPT_S

OWN = WEB.replace("web =", "own =").replace('ready=http("/")', 'ready=http("/"), scope="function"')
HOUR_S = 3600.0


def kept(engine: LastingEngine) -> list[str]:
    """The services of which there is a container, sorted."""
    return sorted(c.request.labels[LABEL_SERVICE] for c in engine.containers.values())


def marks(engine: LastingEngine) -> list[dict[str, object]]:
    labels = [volume.labels for volume in engine.volumes.values() if LABEL_KEPT in volume.labels]
    return [json.loads(own[LABEL_KEPT]) for own in labels]


def told(result: pytest.RunResult) -> str:
    """What the summary says of what was kept."""
    lines = result.outlines
    first = next((n for n, line in enumerate(lines) if line.startswith("isolate: kept ")), len(lines))
    return "\n".join(lines[first:])


def run_id(result: pytest.RunResult) -> str:
    return re.search(r"pytest-isolate remove (\w+)", result.stdout.str())[1]


@pytest.fixture
def failing(project: Project) -> Project:
    """One test that fails, with a service that needs another, beside tests that pass with others."""
    project.conftest(
        WEB,
        """
        app = service(web, needs=["web"], volumes={"files": "/data"})
        other = service(web)
        """,
        OWN,
        engine="",
    )
    project.tests("def test_bad(app, own): assert False\ndef test_good(other, own): pass")
    return project


# -- what stays -------------------------------------------------------------------------------------------------------


def test_without_it_nothing_stays(failing: Project, lasting: LastingEngine) -> None:
    result = failing.run_on(lasting)

    result.assert_outcomes(failed=1, passed=1)
    assert (lasting.containers, lasting.networks, lasting.volumes) == ({}, {}, {})
    assert "kept" not in result.stdout.str()


@pytest.mark.parametrize("where", ["option", "ini"])
def test_what_a_failed_test_has_used_stays_with_what_that_needs(
    failing: Project, lasting: LastingEngine, where: str
) -> None:
    if where == "ini":
        failing.write("pytest.ini", "[pytest]\nisolate_keep = failed\n")

    failing.run_on(lasting, *(["--isolate-keep=failed"] if where == "option" else [])).assert_outcomes(
        failed=1, passed=1
    )

    assert kept(lasting) == ["app", "own", "web"]
    assert all(container.is_running for container in lasting.containers.values())
    assert len(lasting.networks) == 2
    assert sum("files" in name for name in lasting.volumes) == 1


def test_where_all_tests_pass_nothing_stays(failing: Project, lasting: LastingEngine) -> None:
    result = failing.run_on(lasting, "--isolate-keep=failed", "-k", "good")

    result.assert_outcomes(passed=1, deselected=1)
    assert (lasting.containers, lasting.networks, lasting.volumes) == ({}, {}, {})
    assert told(result) == ""


def test_always_leaves_all_that_is_there_at_the_end(failing: Project, lasting: LastingEngine) -> None:
    result = failing.run_on(lasting, "--isolate-keep=always", "-k", "good")

    result.assert_outcomes(passed=1, deselected=1)
    assert kept(lasting) == ["other"]
    assert "isolate: kept other:" in result.outlines
    assert f"pytest-isolate remove {run_id(result)}" in told(result)


def test_always_leaves_what_a_failed_test_had_for_itself_too(failing: Project, lasting: LastingEngine) -> None:
    failing.run_on(lasting, "--isolate-keep=always")

    assert kept(lasting) == ["app", "other", "own", "web"]


@pytest.mark.parametrize("phase", ["set-up", "call", "tear-down"])
def test_whichever_part_of_a_test_fails(project: Project, lasting: LastingEngine, phase: str) -> None:
    project.conftest(OWN, engine="")
    project.tests(
        f"""
        @pytest.fixture
        def around(own):
            assert {phase != "set-up"}
            yield
            assert {phase != "tear-down"}

        def test_bad(around):
            assert {phase != "call"}

        def test_good(own):
            pass
        """
    )

    result = project.run_on(lasting, "--isolate-keep=failed")

    assert kept(lasting) == ["own"]
    assert "isolate: kept own of test_it.py::test_bad:" in result.outlines


def test_what_a_test_asks_for_while_it_runs_stays_too(project: Project, lasting: LastingEngine) -> None:
    project.conftest(WEB, engine="")
    project.tests(
        """
        def test_first(web): pass
        def test_bad(request):
            request.getfixturevalue("web")
            assert False
        """
    )

    project.run_on(lasting, "--isolate-keep=failed").assert_outcomes(failed=1, passed=1)

    assert kept(lasting) == ["web"]


def test_expected_failures_are_none(project: Project, lasting: LastingEngine) -> None:
    project.conftest(WEB, engine="")
    project.tests("@pytest.mark.xfail\ndef test_it(web): assert False")

    project.run_on(lasting, "--isolate-keep=failed").assert_outcomes(xfailed=1)

    assert kept(lasting) == []


def test_a_start_that_has_failed_stays_to_be_looked_at(project: Project, lasting: LastingEngine) -> None:
    project.conftest(
        "broken = service(IMAGE, command=program('exit 3'), ready=log('never'), timeout=9)\n", WEB, engine=""
    )
    project.tests("def test_broken(broken): pass\ndef test_web(web): pass")

    result = project.run_on(lasting, "--isolate-keep=failed")

    result.assert_outcomes(errors=1, passed=1)
    assert kept(lasting) == ["broken"]
    (container,) = lasting.containers.values()
    assert "isolate: kept broken of test_it.py::test_broken:" in result.outlines
    assert f"  docker logs {container.request.name}" in result.outlines
    assert f"  docker exec -it {container.request.name} sh" not in result.outlines


def test_what_a_stopped_service_has_in_memory_stays(project: Project, lasting: LastingEngine) -> None:
    project.conftest(WEB.replace("port=8000", 'port=8000, in_memory="/data"'), engine="")
    project.tests("def test_bad(web):\n    web.stop()\n    assert False")

    project.run_on(lasting, "--isolate-keep=failed").assert_outcomes(failed=1)

    assert len(lasting.containers) == 2


def test_one_that_was_reset_and_given_up_is_not_told_of(project: Project, lasting: LastingEngine) -> None:
    project.conftest(WEB.replace("port=8000", "port=8000, reset=command('false')"), engine="")
    project.tests("def test_bad(web): assert False\ndef test_good(web): pass")

    result = project.run_on(lasting, "--isolate-keep=failed")

    result.assert_outcomes(failed=1, passed=1, errors=2)
    assert kept(lasting) == []
    assert told(result) == ""


@pytest.mark.parametrize("option", ["-x", "--maxfail=1", "-pno:randomly"])
def test_behind_the_last_test_nothing_is_reset_if_it_has_failed(
    project: Project, lasting: LastingEngine, option: str
) -> None:
    project.conftest(
        """
        def forget(handle):
            with open("resets", "a") as file:
                file.write("again ")
        """,
        WEB.replace("port=8000", "port=8000, reset=forget"),
        engine="",
    )
    more = "" if option.startswith("-p") else "def test_never(web): pass"
    project.tests("def test_good(web): pass\ndef test_bad(web): assert False", more)

    project.run_on(lasting, "--isolate-keep=failed", option).assert_outcomes(passed=1, failed=1)

    assert (project.path / "resets").read_text() == "again "
    assert kept(lasting) == ["web"]


# -- how much ---------------------------------------------------------------------------------------------------------


def test_only_so_many_tests_keep_what_they_had_for_themselves(project: Project, lasting: LastingEngine) -> None:
    project.conftest(WEB, OWN, engine="")
    project.tests(f"@pytest.mark.parametrize('n', range({MAX_RETAINED + 2}))\ndef test_bad(own, web, n): assert False")

    result = project.run_on(lasting, "--isolate-keep=failed")

    assert kept(lasting) == ["own"] * MAX_RETAINED + ["web"]
    assert "isolate: of 2 more, not all that they had for themselves was kept" in result.stdout.str()
    assert f"isolate: kept web of test_it.py::test_bad[0] and {MAX_RETAINED + 1} more:" in result.outlines


def test_what_is_kept_takes_no_room_that_other_tests_need(project: Project, lasting: LastingEngine) -> None:
    project.conftest(WEB, OWN, engine="")
    project.tests("@pytest.mark.parametrize('n', range(4))\ndef test_bad(own, web, n): assert False")

    result = project.run_on(lasting, "--isolate-keep=failed", "--isolate-max-containers=3")

    result.assert_outcomes(failed=4)
    assert kept(lasting) == ["own", "web"]
    assert "isolate: of 3 more" in result.stdout.str()


def test_later_runs_do_not_count_it(failing: Project, lasting: LastingEngine) -> None:
    failing.run_on(lasting, "--isolate-keep=failed")

    result = failing.run_on(lasting, "-k", "good", "--isolate-max-containers=2")

    result.assert_outcomes(passed=1, deselected=1)
    assert kept(lasting) == ["app", "own", "web"]


# -- what is said -----------------------------------------------------------------------------------------------------


def test_the_summary_says_how_to_get_in_and_how_to_remove_it(failing: Project, lasting: LastingEngine) -> None:
    result = failing.run_on(lasting, "--isolate-keep=failed")

    app = next(c for c in lasting.containers.values() if c.request.labels[LABEL_SERVICE] == "app")
    lines = told(result).splitlines()
    at = lines.index("isolate: kept app of test_it.py::test_bad:")
    assert lines[at + 1 : at + 3] == [
        f'  "http://127.0.0.1:{app.published[8000]}"',
        f"  docker exec -it {app.request.name} sh",
    ]
    assert f"isolate: kept for 24 h; to remove it: pytest-isolate remove {run_id(result)}" in lines


def test_no_random_password_is_printed(project: Project, lasting: LastingEngine) -> None:
    project.conftest(DB.replace('password="x"', 'password=None, user="me"').replace("password=None, ", ""), engine="")
    project.tests("def test_bad(db):\n    open('secret', 'w').write(db.password)\n    assert False")

    result = project.run_on(lasting, "--isolate-keep=failed")

    secret = (project.path / "secret").read_text()
    assert secret not in result.stdout.str()
    name = next(iter(lasting.containers.values())).request.name
    asked = f"$(docker exec {name} printenv POSTGRES_PASSWORD)"
    assert f'"postgresql://me:{asked}@127.0.0.1:' in told(result)
    assert f'  docker exec -it -e PGPASSWORD="{asked}" {name} psql -h 127.0.0.1 -p 5432 -U me -d postgres' in told(
        result
    )


@pytest.mark.parametrize("where", ["option", "ini"])
def test_another_word_is_refused(failing: Project, where: str) -> None:
    if where == "ini":
        failing.write("pytest.ini", "[pytest]\nisolate_keep = fail\n")
    result = failing.run(*(["--isolate-keep=fail"] if where == "option" else []))

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: --isolate-keep=fail: 'fail' does not say when" in errors_of(result)
    assert "  valid  never, failed, always" in result.stderr.str()


def test_workers_report_what_failed_and_their_clean_up_leaves_it(project: Project) -> None:
    # Each process has a fake engine of its own, so the controller does not find what its workers name; the real one
    # shows the summary.
    project.conftest(OWN)
    project.tests("def test_bad(own): assert False\ndef test_good(own): pass")

    project.run_xdist("--isolate-keep=failed").assert_outcomes(failed=1, passed=1)

    assert len(project.journal.left["containers"]) == 1


# -- how it goes ------------------------------------------------------------------------------------------------------


class Later:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        real = SystemClock.time
        monkeypatch.setattr(SystemClock, "time", lambda clock: real(clock) + self.seconds)


def test_later_runs_leave_it_and_remove_it_when_its_time_is_over(
    failing: Project, lasting: LastingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = Later(monkeypatch)
    failing.run_on(lasting, "--isolate-keep=failed")
    (mark,) = marks(lasting)
    assert KEPT_S - 60 < float(str(mark["until"])) - SystemClock().time() <= KEPT_S
    later.seconds = KEPT_S - HOUR_S
    failing.run_on(lasting, "-k", "good")
    assert kept(lasting) == ["app", "own", "web"]

    later.seconds = KEPT_S + 1
    failing.run_on(lasting, "-k", "good")

    assert (lasting.containers, lasting.networks, lasting.volumes) == ({}, {}, {})


@pytest.fixture
def cli(lasting: LastingEngine, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setattr("pytest_isolate.cli.engine.connect_for_command", lambda _: nullcontext(lasting))
    return CliRunner()


def test_the_command_removes_all_of_one_run_and_nothing_of_another(
    failing: Project, lasting: LastingEngine, cli: CliRunner
) -> None:
    first, second = (run_id(failing.run_on(lasting, "--isolate-keep=failed")) for _ in range(2))
    dry = cli.invoke(command.main, ["remove", first, "--dry-run"])
    assert dry.exit_code == 0
    assert dry.output.count("would go") == 7
    assert len(lasting.containers) == 6

    done = cli.invoke(command.main, ["remove", first])

    assert done.exit_code == 0
    assert done.output.count("removed") == 7
    assert kept(lasting) == ["app", "own", "web"]
    assert cli.invoke(command.main, ["remove", second, "--json"]).exit_code == 0
    assert (lasting.containers, lasting.networks, lasting.volumes) == ({}, {}, {})


def test_the_command_says_that_a_run_has_left_nothing(cli: CliRunner) -> None:
    result = cli.invoke(command.main, ["remove", "abcd1234"])

    assert (result.exit_code, result.output) == (1, "run abcd1234 has left nothing on the engine\n")


def test_gc_says_how_long_it_stays_and_leaves_it(failing: Project, lasting: LastingEngine, cli: CliRunner) -> None:
    run = run_id(failing.run_on(lasting, "--isolate-keep=failed"))

    facts = json.loads(cli.invoke(command.main, ["gc", "--json"]).output)

    assert {fact["fate"] for fact in facts} == {"stays"}
    reasons = {fact["reason"] for fact in facts}
    assert reasons == {f"kept for a look inside, for 24.0 h more (pytest-isolate remove {run})"}


# -- fresh data -------------------------------------------------------------------------------------------------------

COPIES = """
    @pytest.mark.parametrize("n", range(3))
    def test_it(orders, n):
        psql(orders, f"add row{n}")
        with open("names", "a") as file:
            file.write(f"{orders.database} ")
        assert n != 1
"""


def databases(project: Project, lasting: LastingEngine) -> dict[str, list[str]]:
    """The lines of those databases that tests were given, by name, as far as they are there."""
    names = (project.path / "names").read_text().split()
    (container,) = lasting.containers.values()
    found = {}
    for name in names:
        asked = lasting.open_session(container.container_id, ["psql", "-c", "read"], {"PGDATABASE": name})
        output = b""
        while (piece := asked.receive(10)) is not None:
            output += piece[1]
        if asked.exit_code() == 0:
            found[name] = output.decode().split()
        asked.close()
    return found


@pytest.mark.parametrize("scope", ["function", "module"])
def test_the_copy_of_a_failed_test_stays_with_its_rows(project: Project, lasting: LastingEngine, scope: str) -> None:
    project.conftest(DB, f'orders = fresh(db, init="schema.sql", scope={scope!r})', engine="")
    project.write("schema.sql", "first\n")
    project.tests(ASK, COPIES, "def test_good(db): pass")

    result = project.run_on(lasting, "--isolate-keep=failed")

    result.assert_outcomes(failed=1, passed=3)
    there = databases(project, lasting)
    rows = ["first", "row1"] if scope == "function" else ["first", "row0", "row1", "row2"]
    failed = (project.path / "names").read_text().split()[1]
    assert there[failed] == rows
    assert "isolate: kept orders on db of test_it.py::test_it[1]:" in result.outlines
    assert f"-d {failed}" in told(result)
    assert f'/{failed}"' in told(result)


def test_with_reuse_the_copy_stays_on_what_later_runs_use(project: Project, lasting: LastingEngine) -> None:
    project.conftest(DB, 'orders = fresh(db, init="schema.sql")', engine="")
    project.write("schema.sql", "first\n")
    project.tests(ASK, COPIES)

    first = project.run_on(lasting, "--isolate-reuse", "--isolate-keep=failed")
    failed = (project.path / "names").read_text().split()[1]
    second = project.run_on(lasting, "--isolate-reuse", "-k", "it[0]")

    second.assert_outcomes(passed=1, deselected=2)
    assert "1 reused from an earlier run" in second.stdout.str()
    assert databases(project, lasting) == {failed: ["first", "row1"]}
    assert marks(lasting) == []
    assert "isolate: what --isolate-reuse keeps is used by later runs" in told(first)
    assert "isolate: to remove it before: pytest-isolate remove kept-" in told(first)


def test_a_whole_instance_of_a_failed_test_stays(project: Project, lasting: LastingEngine) -> None:
    project.conftest(WEB, "mine = fresh(web)", engine="")
    project.tests("@pytest.mark.parametrize('n', range(3))\ndef test_it(mine, n): assert n != 1")

    result = project.run_on(lasting, "--isolate-keep=failed")

    result.assert_outcomes(failed=1, passed=2)
    assert kept(lasting) == ["mine"]
    assert "isolate: kept mine of test_it.py::test_it[1]:" in result.outlines
