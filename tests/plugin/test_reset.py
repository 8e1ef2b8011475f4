"""reset= in a run: when it happens, in which order, and what a failing one means for the tests behind it."""

from __future__ import annotations

import json
import re

import pytest
from fakes.engine import LastingEngine
from fakes.programs import IMAGE, program

from plugin.conftest import Project, errors_of
from plugin.test_fresh import ASK

# What happens is written down by all who take part in it.
NOTES = """
def note(word):
    with open("notes", "a") as file:
        file.write(f"{word}\\n")
"""
WEB = """
web = service(IMAGE, command=program("serve 8000 hello"), port=8000, ready=http("/"), timeout=20, reset={reset})
"""
CLEAN = 'def clean(web): note(f"reset {web.name} {web.port}" if DETAILS else f"reset {web.name}")\nDETAILS = False\n'
DB = """
db = service(
    postgres(image=IMAGE, command=program("serve 5432"), ready=http("/"), snapshot=None, in_memory=None, password="x"),
    timeout=20,
    reset={reset},
)
"""


@pytest.fixture
def web(project: Project) -> Project:
    """A service that is reset by a function, which takes a note."""
    project.conftest(NOTES, CLEAN, WEB.format(reset="clean"))
    return project


def notes(project: Project) -> list[str]:
    path = project.path / "notes"
    return path.read_text().splitlines() if path.exists() else []


def test_it_comes_behind_each_test_that_used_it_and_behind_its_fixtures(web: Project) -> None:
    web.tests(
        "from conftest import note",
        """
        @pytest.fixture
        def client(web):
            yield
            note("client closed")

        def test_direct(web): note("direct")
        def test_not(): note("not")
        def test_through_a_fixture(client): note("through")
        def test_at_run_time(request):
            request.getfixturevalue("web")
            note("at run time")
        def test_not_either(request): note("not either")
        """,
    )

    web.run().assert_outcomes(passed=5)

    reset = "reset web"
    assert notes(web) == [
        "direct", reset, "not", "through", "client closed", reset, "at run time", reset, "not either",
    ]  # fmt: skip


def test_a_value_that_a_wider_fixture_holds_counts_as_used(web: Project) -> None:
    web.tests(
        "from conftest import note",
        """
        @pytest.fixture(scope="module")
        def client(web): return web
        def test_a(client): note("a")
        def test_b(client): note("b")
        def test_c(): note("c")
        """,
    )

    web.run().assert_outcomes(passed=3)

    assert notes(web) == ["a", "reset web", "b", "reset web", "c"]


def test_whoever_needs_it_uses_it_and_is_reset_first(project: Project) -> None:
    project.conftest(
        NOTES,
        "def clean(service): note(f'reset {service.name}')",
        """
        back = service(IMAGE, command=program("serve 8000 x"), port=8000, ready=http("/"), reset=clean)
        middle = service(IMAGE, command=forever(), needs=["back"])
        front = service(IMAGE, command=forever(), needs=["middle"], reset=clean)
        """,
    )
    project.tests("def test_front(front): pass", "def test_middle(middle): pass")

    project.run().assert_outcomes(passed=2)

    assert notes(project) == ["reset front", "reset back", "reset back"]


def test_tests_that_fail_or_do_not_come_to_run_leave_a_clean_state_too(web: Project) -> None:
    web.tests(
        "from conftest import note",
        """
        @pytest.fixture
        def broken(web): raise RuntimeError("no")
        def test_fails(web): assert False
        def test_set_up_fails(broken): pass
        @pytest.mark.skip
        def test_skipped(web): pass
        def test_skips_itself(web): pytest.skip("later")
        """,
    )

    web.run().assert_outcomes(failed=1, errors=1, skipped=2)

    assert notes(web) == ["reset web"] * 3


@pytest.mark.parametrize("option", ["-x", "--maxfail=2"])
def test_runs_that_end_early_reset_what_they_have_run(web: Project, option: str) -> None:
    web.tests("""
        @pytest.mark.parametrize("number", range(4))
        def test_it(web, number): assert False
    """)

    web.run(option)

    assert notes(web) == ["reset web"] * (1 if option == "-x" else 2)
    web.journal.assert_nothing_is_left()


@pytest.mark.parametrize(
    "reset",
    [
        "command('sh', '-c', 'echo reset web >> {path}')",
        "{{'command': ['sh', '-c', 'echo reset web >> {path}']}}",
        "lambda handle: note(f'reset {{handle.name}}')",
    ],
)
def test_ways_to_write_it(project: Project, reset: str) -> None:
    project.conftest(NOTES, WEB.format(reset=reset.format(path=project.path / "notes")))
    project.tests("def test_a(web): pass", "def test_b(web): pass")

    project.run().assert_outcomes(passed=2)

    assert notes(project) == ["reset web"] * 2


def test_toml_declares_the_same(project: Project) -> None:
    project.write(
        "isolate.toml",
        f"""
        [services.web]
        image = "{IMAGE}"
        command = {json.dumps(program("serve 8000 hello"))}
        port = 8000
        ready = {{ http = "/" }}
        reset = {{ command = ["sh", "-c", "echo reset >> {project.path / "notes"}"] }}
        """,
    )
    project.tests("def test_a(web): pass", "def test_b(): pass")

    project.run().assert_outcomes(passed=2)
    assert notes(project) == ["reset"]


@pytest.mark.parametrize("reset", ["http('/status/200')", "http('/status/201', status=201, method='PUT')"])
def test_a_call_that_is_answered_as_it_should_be_is_a_reset(project: Project, reset: str) -> None:
    project.conftest(WEB.format(reset=reset))
    project.tests("def test_a(web): pass", "def test_b(web): pass")

    project.run().assert_outcomes(passed=2)


def test_true_is_the_preset_s_own_way(project: Project) -> None:
    project.conftest(DB.format(reset=True))
    project.tests(
        ASK,
        """
        @pytest.mark.parametrize("number", range(10))
        def test_it(db, number):
            assert psql(db, "read") == []
            psql(db, f"add row{number}")
            assert psql(db, "read") == [f"row{number}"]

        def test_nothing_is_left_of_it_but_what_the_next_one_needs(db):
            own = [name for name in psql(db, "list") if not name.startswith("isolate_away_")]
            assert set(own) <= {"postgres", "isolate_desk", "isolate_pristine", "isolate_spare"}
        """,
    )

    result = project.run()
    result.assert_outcomes(passed=11)
    result.stdout.re_match_lines([r"isolate: db was reset 11 times, in \d+ ms each"])
    project.journal.assert_nothing_is_left()


def test_copies_of_a_service_that_is_reset_stay(project: Project) -> None:
    project.conftest(DB.format(reset=True), "orders = fresh(db, init='schema.sql', scope='module')")
    project.write("schema.sql", "first\n")
    project.tests(
        ASK,
        """
        def test_a(orders, db):
            psql(orders, "add second"), psql(db, "add other")
        def test_b(orders, db):
            assert psql(orders, "read") == ["first", "second"]
            assert psql(db, "read") == []
            psql(db, "add other")
        def test_who_uses_a_copy_only_resets_nothing(orders): pass
        """,
    )

    result = project.run()
    result.assert_outcomes(passed=3)
    assert "db was reset 2 times" in result.stdout.str()


# -- a reset that fails ---------------------------------------------------------------------------------------------


def test_a_failing_command_fails_the_test_that_caused_it_by_name(project: Project) -> None:
    script = f"if [ -e {project.path}/dirty ]; then rm {project.path}/dirty; echo oh no $PASSWORD >&2; exit 7; fi"
    command = f"command('sh', '-c', {script!r})"
    project.conftest(WEB.format(reset=f"{command}, password='very secret', env={{'PASSWORD': '{{self.password}}'}}"))
    project.tests(
        """
        from pathlib import Path
        seen = []
        def test_before(web): seen.append(web.container_id)
        def test_cause(web): Path("dirty").touch()
        def test_behind(web): assert web.container_id not in seen
        """
    )

    result = project.run()

    result.assert_outcomes(passed=3, errors=1)
    text = result.stdout.str()
    assert "ERROR at teardown of test_cause" in text
    found = re.search(r"service 'web' \(.*\) could not be reset after test_it\.py::test_cause\n(?:  .*\n)+", text)
    assert found, text
    assert "  tried  sh -c if [ -e" in found[0]
    assert "  found  exit code 7; oh no ***\n" in found[0]
    assert re.search(
        r"  do     it is declared at .*conftest\.py:\d+\n +tests that come later are given a new", found[0]
    )
    assert "very secret" not in text
    project.journal.assert_nothing_is_left()


def test_a_failing_call_tells_the_status(project: Project) -> None:
    project.conftest(WEB.format(reset="http('/status/500')"))
    project.tests("def test_it(web): pass")

    result = project.run()

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.re_match_lines(
        [r"  tried  POST /status/500", r"  found  status 500 x from 127\.0\.0\.1:\d+; status 500"], consecutive=True
    )


def test_a_call_to_nobody_tells_so(project: Project) -> None:
    project.conftest(WEB.format(reset="http('/')"))
    project.tests("def test_it(web): web.kill()", "def test_next(web): assert web.exec(*program('say up')).stdout")

    result = project.run()

    result.assert_outcomes(passed=2, errors=1)
    result.stdout.re_match_lines([r"  tried  POST /", r"  found  no answer from 127\.0\.0\.1:\d+: .+"])


def test_a_command_that_does_not_end_is_told_with_what_it_said(project: Project) -> None:
    reset = "command('sh', '-c', 'echo begun; exec sleep 60')"
    project.conftest(WEB.format(reset=reset).replace("timeout=20", "timeout=1"))
    project.tests("def test_it(web): pass")

    result = project.run()

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.re_match_lines([r"  found  it has not ended within 1 s; begun"])


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("raise RuntimeError('no such table')", r"RuntimeError: no such table"),
        ("pytest.fail('rows are left')", r"rows are left"),
        ("assert web.name == 'other'", r"AssertionError"),
    ],
)
def test_a_failing_function_is_told_with_the_user_s_own_lines(project: Project, body: str, found: str) -> None:
    project.conftest(
        f"def clean(web):\n    if web.container_id not in GOOD: {body}\nGOOD = []\n", WEB.format(reset="clean")
    )
    project.tests(
        """
        from conftest import GOOD
        seen = []
        def test_cause(web): seen.append(web.container_id)
        def test_behind(web):
            assert web.container_id not in seen
            GOOD.append(web.container_id)
        """
    )

    result = project.run()

    result.assert_outcomes(passed=2, errors=1)
    text = result.stdout.str()
    assert "ERROR at teardown of test_cause" in text
    assert re.search(found, text)
    assert "conftest.py" in text
    assert "pytest_isolate/" not in text


def test_what_needs_a_service_that_was_given_up_is_started_anew_too(project: Project) -> None:
    project.conftest(
        """
        def clean(service):
            if service.container_id not in GOOD: raise RuntimeError("once")
        GOOD = []
        back = service(IMAGE, command=program("serve 8000 x"), port=8000, ready=http("/"), reset=clean)
        front = service(IMAGE, command=forever(), needs=["back"])
        other = service(IMAGE, command=forever())
        """,
    )
    project.tests(
        """
        from conftest import GOOD
        seen = []
        @pytest.fixture(scope="session")
        def client(front): return front.container_id
        def test_cause(client, back, other):
            seen.extend([client, back.container_id, other.container_id])
        def test_behind(client, front, back, other):
            GOOD.append(back.container_id)
            assert client == front.container_id
            assert not {client, back.container_id} & set(seen)
            assert other.container_id in seen
        """
    )

    project.run().assert_outcomes(passed=2, errors=1)
    project.journal.assert_nothing_is_left()


def test_a_reset_that_fails_behind_a_failing_tear_down_is_told_with_it(project: Project) -> None:
    project.conftest(WEB.format(reset="http('/status/500')"))
    project.tests(
        """
        @pytest.fixture
        def client(web):
            yield
            raise RuntimeError("cannot close")
        def test_it(client): pass
        """
    )

    result = project.run()

    result.assert_outcomes(passed=1, errors=1)
    text = result.stdout.str()
    assert "RuntimeError: cannot close" in text
    assert "could not be reset after test_it.py::test_it" in text


BROKEN = 'broken = service(IMAGE, command=["sh", "-c", "exit 3"], port=8000, ready=http("/"), timeout=20)\n'


@pytest.mark.parametrize("scope", ["session", "module", "function"])
def test_what_a_test_was_not_given_is_not_reset(project: Project, scope: str) -> None:
    """A stack whose set-up fails is one error for each test, though a service of it runs."""
    stack = f"shop = stack(web=web, broken=broken, scope={scope!r})"
    project.conftest(NOTES, CLEAN, WEB.format(reset="clean"), BROKEN, stack)
    project.tests(
        """
        def test_first(shop): pass
        def test_again(shop): pass
        def test_at_run_time(request): request.getfixturevalue("shop")
        """
    )
    result = project.run()
    result.assert_outcomes(errors=2, failed=1)
    assert notes(project) == []


def test_what_a_test_was_given_before_another_failed_is_reset(project: Project) -> None:
    project.conftest(NOTES, CLEAN, WEB.format(reset="clean"), BROKEN)
    project.tests(
        "from conftest import note",
        """
        @pytest.fixture
        def filled(web): note("filled")
        def test_it(filled, request): request.getfixturevalue("broken")
        def test_again(filled): pass
        """,
    )
    project.run().assert_outcomes(failed=1, passed=1)
    assert notes(project) == ["filled", "reset web"] * 2


def test_what_a_reset_writes_is_captured_as_the_test_s(project: Project) -> None:
    project.conftest(
        "def clean(web):\n    print('cleaning up')\n    raise RuntimeError('no')\n", WEB.format(reset="clean")
    )
    project.tests("def test_it(web): pass")

    result = project.run()

    result.stdout.re_match_lines([r"-+ Captured stdout teardown -+", "cleaning up"], consecutive=True)


def test_a_service_that_is_given_up_in_the_middle_of_a_preset_s_way_is_replaced(project: Project) -> None:
    project.conftest(DB.format(reset=True))
    project.tests(
        ASK,
        """
        seen = []
        def test_cause(db):
            seen.append(db.container_id)
            db.kill()
        def test_behind(db):
            assert db.container_id not in seen
            assert psql(db, "read") == []
            psql(db, "add mine")
        def test_last(db): assert psql(db, "read") == []
        """,
    )

    result = project.run()

    result.assert_outcomes(passed=3, errors=1)
    assert "ERROR at teardown of test_cause" in result.stdout.str()
    assert "  tried  the preset's own way" in result.stdout.str()


# -- with whom it is shared -----------------------------------------------------------------------------------------


def test_each_worker_has_its_own(web: Project) -> None:
    web.tests(
        "from conftest import note",
        """
        @pytest.mark.parametrize("number", range(8))
        def test_it(web, number, worker_id): note(f"{worker_id} {web.container_id}")
        """,
    )

    web.run_xdist("--dist=load").assert_outcomes(passed=8)

    used = {line for line in notes(web) if line.startswith("gw")}
    assert len({line.split()[0] for line in used}) == len({line.split()[1] for line in used}) == len(used) == 2
    assert notes(web).count("reset web") == 8


def test_failing_resets_are_told_under_xdist_too(project: Project) -> None:
    project.conftest(WEB.format(reset="http('/status/500')"))
    project.tests("@pytest.mark.parametrize('n', range(4))\ndef test_it(web, n): pass")

    result = project.run_xdist()

    result.assert_outcomes(passed=4, errors=4)
    for number in range(4):
        assert f"could not be reset after test_it.py::test_it[{number}]" in result.stdout.str()
    project.journal.assert_nothing_is_left()


def test_one_for_all_workers_is_refused_at_the_start(project: Project) -> None:
    project.conftest(NOTES, CLEAN, WEB.format(reset="clean, share='run'"))
    project.tests("def test_it(web): pass")

    result = project.run_xdist()

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = "\n".join([*result.outlines, *result.errlines])
    assert "service 'web' has reset= and is shared by the run" in text
    assert "leave share='run' out" in text
    project.run().assert_outcomes(passed=1)


def test_what_a_reset_is_declared_for_is_not_kept_for_later_runs(project: Project, lasting: LastingEngine) -> None:
    project.conftest(NOTES, CLEAN, WEB.format(reset="clean"), engine="")
    project.tests("from conftest import note", "def test_it(web): note(web.container_id)")

    for _ in range(2):
        project.run_on(lasting, "--isolate-reuse").assert_outcomes(passed=1)

    assert len(set(notes(project))) == 3


def test_a_service_that_ends_with_its_test_is_not_reset(project: Project) -> None:
    project.conftest(NOTES, CLEAN, WEB.format(reset="clean, scope='function'"))
    project.tests("def test_it(web): pass")

    project.run().assert_outcomes(passed=1)
    assert notes(project) == []


def test_an_override_can_bring_a_reset(project: Project) -> None:
    project.conftest(NOTES, CLEAN, WEB.format(reset=None))
    project.tests(
        """
        from conftest import clean
        def test_plain(web): pass
        @override(web={"reset": clean})
        def test_with(web): pass
        """
    )

    project.run().assert_outcomes(passed=2)
    assert notes(project) == ["reset web"]


@pytest.mark.parametrize(
    ("reset", "text"),
    [
        ("True", "web.reset: reset=True is a preset's own way, and this service declares no way to copy its data"),
        ("3", "web.reset: 3 cannot reset a service"),
        ("http('/x', method='PSOT')", "web.reset.http.method: 'PSOT' is not a method of HTTP, did you mean 'POST'?"),
    ],
)
def test_wrong_ones_end_the_run_before_anything_starts(project: Project, reset: str, text: str) -> None:
    project.conftest(WEB.format(reset=reset))
    project.tests("def test_it(web): pass")

    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert any(text in line for line in errors_of(result)), result.stderr.str()
