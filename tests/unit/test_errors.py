"""The text of every error: what happened, what was tried, what was found, what to do."""

from __future__ import annotations

import inspect

import pytest

from pytest_isolate import errors
from pytest_isolate.errors import (
    AddressSpaceFull,
    BuildFailed,
    CleanupError,
    DeclarationError,
    EngineError,
    EngineUnreachable,
    ExecError,
    FaultError,
    FreshError,
    ImageNotFound,
    IsolateError,
    NotReadyError,
    ObjectNotFound,
    PathError,
    PlanError,
    PortTaken,
    Problem,
    ResetError,
    StartError,
    SubnetTaken,
    UsedServiceError,
    build_message,
    suggest,
)

PROBLEM = Problem(
    place="/project/conftest.py:7",
    subject="db.memory",
    reason="'lots' is not a size",
    valid="a number of bytes, or a text such as '256m'",
)
CIRCLE = Problem(
    place="/project/conftest.py:9",
    subject="auth",
    reason="the services need each other in a circle: auth -> db -> auth",
    hint="take one of these references out",
)

ERRORS = {
    "folder without room": (
        PathError("/cache", OSError(28, "No space left on device"), do="name another one: XDG_CACHE_HOME"),
        """\
/cache cannot be used
  found  No space left on device
  do     name another one: XDG_CACHE_HOME""",
    ),
    "one wrong declaration": (
        DeclarationError([PROBLEM]),
        """\
pytest-isolate found a wrong declaration; no test was run
/project/conftest.py:7: db.memory: 'lots' is not a size
  valid  a number of bytes, or a text such as '256m'""",
    ),
    "several wrong declarations": (
        DeclarationError([PROBLEM, CIRCLE]),
        """\
pytest-isolate found 2 wrong declarations; no test was run
/project/conftest.py:7: db.memory: 'lots' is not a size
  valid  a number of bytes, or a text such as '256m'
/project/conftest.py:9: auth: the services need each other in a circle: auth -> db -> auth
  do     take one of these references out""",
    ),
    "a plan": (
        PlanError("two services want port 25", found=["mail", "relay"], do="give one of them another port"),
        """\
two services want port 25
  found  mail
         relay
  do     give one of them another port""",
    ),
    "an engine": (
        EngineError("network 'hr' was not made", tried="create it", found=["refused"], do="see its log"),
        """\
network 'hr' was not made
  tried  create it
  found  refused
  do     see its log""",
    ),
    "no engine": (
        EngineUnreachable(
            "no container engine answers",
            tried=["unix:///var/run/docker.sock (usual socket): no such file", "tcp://x:1 (DOCKER_HOST): refused"],
            do="start one",
        ),
        """\
no container engine answers
  tried  unix:///var/run/docker.sock (usual socket): no such file
         tcp://x:1 (DOCKER_HOST): refused
  do     start one""",
    ),
    "no image": (
        ImageNotFound("image 'x:1' was not found", found="pull access denied"),
        """\
image 'x:1' was not found
  found  pull access denied""",
    ),
    "a build": (
        BuildFailed("the build of '/auth' failed", tried="Step 2/3 : RUN make", found="make: *** no rule\nerror 2"),
        """\
the build of '/auth' failed
  tried  Step 2/3 : RUN make
  found  make: *** no rule
         error 2""",
    ),
    "an object": (ObjectNotFound("container 'x' is gone"), "container 'x' is gone"),
    "a port": (PortTaken("port 1 is taken", found=["in use"]), "port 1 is taken\n  found  in use"),
    "a subnet": (SubnetTaken("10.0.0.0/28 is taken"), "10.0.0.0/28 is taken"),
    "address space": (AddressSpaceFull("no free subnet", do="name another"), "no free subnet\n  do     name another"),
    "a start": (
        StartError(
            "'db' (postgres:16)",
            "ended before it was ready",
            tried="start its container",
            found=["container exited with code 1; last log lines:", "  FATAL: wrong ownership"],
            do="fix the volume",
        ),
        """\
service 'db' (postgres:16) ended before it was ready
  tried  start its container
  found  container exited with code 1; last log lines:
           FATAL: wrong ownership
  do     fix the volume""",
    ),
    "readiness": (
        NotReadyError("'db' (postgres:16)", "was not ready after 30.0 s", tried="tcp, 61 times", found="silence"),
        """\
service 'db' (postgres:16) was not ready after 30.0 s
  tried  tcp, 61 times
  found  silence""",
    ),
    "a command": (
        ExecError("db", ["psql", "-c", "select 1"], 2, "psql: error\nno connection\n"),
        """\
a command in service 'db' ended with code 2
  tried  psql -c select 1
  found  psql: error
         no connection""",
    ),
    "a silent command": (
        ExecError("db", ["false"], 1, ""),
        "a command in service 'db' ended with code 1\n  tried  false\n  found  no output",
    ),
    "an init": (
        FreshError("the init of 'orders' has failed", tried="schema.sql", found="line 3: no such table", do="see it"),
        """\
the init of 'orders' has failed
  tried  schema.sql
  found  line 3: no such table
  do     see it""",
    ),
    "fault": (
        FaultError(
            "db", "cannot be paused, because it does not run", found="exited with code 1", do="start() it first"
        ),
        """\
service 'db' cannot be paused, because it does not run
  found  exited with code 1
  do     start() it first""",
    ),
    "used": (
        UsedServiceError("db", "it cannot be stopped", "--isolate-use"),
        """\
service 'db' runs already, so it cannot be stopped
  found  it was given by --isolate-use; what is not started here is never changed
  do     leave this test out with @pytest.mark.skipif, or run it without --isolate-use""",
    ),
    "reset": (
        ResetError("'db' (postgres:16)", "test_it.py::test_a", tried="POST /reset", found="status 500", do="see it"),
        """\
service 'db' (postgres:16) could not be reset after test_it.py::test_a
  tried  POST /reset
  found  status 500
  do     see it""",
    ),
    "clean-up": (
        CleanupError(["container 'x': refused", "network 'y': refused"], do=["docker rm x", "docker network rm y"]),
        """\
2 container objects could not be removed
  found  container 'x': refused
         network 'y': refused
  do     docker rm x
         docker network rm y""",
    ),
}
CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, IsolateError)]


@pytest.mark.parametrize(("error", "text"), ERRORS.values(), ids=ERRORS)
def test_an_error_says_all_of_it(error: IsolateError, text: str) -> None:
    assert str(error) == text


@pytest.mark.parametrize("cls", [c for c in CLASSES if c is not IsolateError], ids=lambda c: c.__name__)
def test_every_error_is_among_them(cls: type[IsolateError]) -> None:
    assert any(type(error) is cls for error, _ in ERRORS.values())


def test_one_base_catches_them_all() -> None:
    assert all(isinstance(error, IsolateError) for error, _ in ERRORS.values())


def test_the_facts_of_an_error_stay_readable_by_code() -> None:
    engine, start = EngineError("w", tried="t", found=["f"], do="d"), StartError("db", "x")
    failed, cleanup = ExecError("db", ["x"], 3, "out"), CleanupError(["a"], do="d")

    assert (engine.what, engine.tried, list(engine.found), engine.do) == ("w", "t", ["f"], "d")
    assert (start.service, failed.exit_code, failed.output, cleanup.failures) == ("db", 3, "out", ("a",))
    assert DeclarationError([PROBLEM]).problems == (PROBLEM,)


def test_parts_without_content_are_left_out() -> None:
    assert build_message("it broke", tried="", found=[], do=()) == "it broke"


def test_a_text_of_several_lines_stays_together() -> None:
    assert build_message("it broke", found=["a\nb", "c"]) == "it broke\n  found  a\n         b\n         c"


def test_no_line_ends_in_blanks() -> None:
    assert build_message("it broke", found="a  \n\nb") == "it broke\n  found  a\n\n         b"


def test_a_problem_may_have_both_valid_values_and_a_hint() -> None:
    assert str(Problem(place="f:1", subject="a.b", reason="wrong", valid="x, y", hint="think")) == (
        "f:1: a.b: wrong\n  valid  x, y\n  do     think"
    )


@pytest.mark.parametrize(
    ("word", "text"),
    [("memry", ", did you mean 'memory'?"), ("xyz", ""), ("", ""), (5, ""), (["memory"], ", did you mean 'memory'?")],
)
def test_the_nearest_word_is_suggested(word: object, text: str) -> None:
    assert suggest(word, ["memory", "cpus"]) == text


def test_nothing_is_suggested_where_nothing_is_valid() -> None:
    assert suggest("memory", []) == ""
