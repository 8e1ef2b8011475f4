"""What goes wrong while services start: the service's name, what was tried and found, what to do; nothing is left."""

from __future__ import annotations

import re

import pytest

from plugin.conftest import Project
from pytest_isolate.running.instances import lifecycle

CHAIN = """
def chained(*needs):
    return service(IMAGE, command=program("serve 8000"), port=8000, needs=needs)

a, b, c, d = chained(), chained("a"), chained("b"), chained("c")
other = chained()
"""
TEST = "def test_it(web): raise AssertionError('never here')\ndef test_other(): pass"


def fails(project: Project, declared: str, *expected: str) -> str:
    """The text of the error that a test of a service gets, with these lines in it; other tests pass."""
    project.conftest(declared)
    project.tests(TEST)
    result = project.run()
    result.assert_outcomes(errors=1, passed=1)
    text = result.stdout.str()
    for line in expected:
        assert re.search(line, text), f"{line!r} is not in\n{text}"
    for word in ("Traceback", "pytest_isolate/", "exception was the direct cause", "another exception occurred"):
        assert word not in text
    project.journal.assert_nothing_is_left()
    return text


def test_container_that_exits_ends_the_wait_at_once_with_its_code_and_last_lines(project: Project) -> None:
    text = fails(
        project,
        "web = service(IMAGE, command=program('say one', 'err two', 'exit 3'), port=8000, timeout=60)",
        r"service 'web' \(debian:bookworm-slim\) ended before it was ready",
        r"  tried  start its container, and wait \d\.\d s for tcp port 8000 at 127\.0\.0\.1:\d+",
        r"  found  container exited with code 3; last log lines:",
        r"           one\n +two",
        r"  do     run it by hand: docker run --rm -it --cap-drop ALL .*--memory 2g --pids-limit 1024 debian",
        r"         it is declared at .*conftest.py:\d+",
    )
    assert float(re.findall(r"in ([\d.]+)s", text)[-1]) < 50


def test_container_that_exits_without_a_word_says_that(project: Project) -> None:
    fails(project, "web = service(IMAGE, command=program('exit 1'), port=8000)", r"\(it wrote nothing\)")


def test_container_without_ports_that_exits_is_noticed(project: Project) -> None:
    fails(project, "web = service(IMAGE, command=program('exit 4'))", r"container exited with code 4")


def test_container_that_dies_while_it_is_asked_is_noticed(project: Project) -> None:
    text = fails(
        project,
        "web = service(IMAGE, command=program('sleep 0.3', 'exit 5'), ready=log('never'), timeout=60)",
        r"container exited with code 5",
    )
    assert "was not ready" not in text


@pytest.mark.parametrize(
    ("step", "found"),
    [("eat", "137, out of memory;"), ("exit 137", "137, out of memory or killed;")],
    ids=["noticed by the engine", "not noticed"],
)
def test_container_out_of_memory_is_told_to_have_more(project: Project, step: str, found: str) -> None:
    fails(
        project,
        f"web = service(IMAGE, command=program({step!r}), memory='8m')",
        f"container exited with code {found}",
        r"  do     give it more memory: memory=\.\.\.",
    )


@pytest.mark.parametrize(
    ("changes", "tried"),
    [
        ("ready=http('/')", r"http / at 127\.0\.0\.1:\d+, \d+ times; last answer: connection (closed without|reset)"),
        ("ready=http('/', port=8001)", r"http / on port 8001 at 127\.0\.0\.1:\d+, \d+ times; last answer: status 503"),
        ("ready=tcp()", r"tcp at 127\.0\.0\.1:\d+, \d+ times; last answer: connection closed at once"),
        ("ready=tcp(expect='220')", r"tcp at .* last answer: connection closed without an answer"),
        ("ready=log('never')", r"log line matching 'never', \d+ times; last answer: found 0 of 1 times"),
        ("ready=log('up', times=2)", r"log line matching 'up', \d+ times; last answer: found 1 of 2 times"),
        ("ready=command('false')", r"command false, \d+ times; last answer: exit code 1"),
        ("ready=command('nothing')", r"command nothing, \d+ times; last answer: exit code 126"),
        ("", r"tcp port 8000 at .* last answer: connection closed at once"),
    ],
)
def test_service_that_never_gets_ready_is_told_what_was_asked_and_answered(
    project: Project, changes: str, tried: str
) -> None:
    changes = changes.replace("'/', port=8001", "'/status/503', port=8001")
    tried = tried.replace("http / on", "http /status/503 on")
    fails(
        project,
        "web = service(IMAGE, command=program('say up', 'serve 8001'), ports=[8000, 8001],"
        f" timeout='600ms', {changes})",
        r"service 'web' \(debian:bookworm-slim\) was not ready after 0\.[6-9]\d* s",
        rf"  tried  {tried}",
        r"  found  its container runs; last log lines:\n +up",
        r"  do     see whether ready= asks the right thing, give it longer: timeout=",
    )


@pytest.mark.parametrize(
    "ready",
    [
        "http('/')",
        "http('/status/418', status=418)",
        "tcp()",
        "tcp(25, expect='^220')",
        "log('up$')",
        "command('true')",
        "[log('up'), http('/')]",
    ],
)
def test_probe_that_is_answered_lets_the_test_begin(project: Project, ready: str) -> None:
    steps = "'sleep 0.2', 'serve 8000', 'greet 25 220 hello', 'say up'"
    project.conftest(f"web = service(IMAGE, command=program({steps}), ports=[8000, 25], ready={ready})")
    project.tests("def test_it(web): pass")
    project.run().assert_outcomes(passed=1)


def test_health_check_of_the_image_is_asked_where_no_probe_is_declared(project: Project) -> None:
    """Trap 8: and sooner than every 30 seconds, which is how an engine asks it by itself."""
    project.write("image/Dockerfile", 'FROM debian:bookworm-slim\nHEALTHCHECK CMD ["cat", "/ready"]')
    project.conftest("web = service(build='image', command=program('sleep 0.5', 'write /ready yes', 'sleep 60'))")
    project.tests("def test_it(web): assert web.exec(*program('read /ready')).stdout == 'yes\\n'")
    result = project.run()
    result.assert_outcomes(passed=1)
    assert [args[1] for args in project.journal.calls("run_command")].count(["cat", "/ready"]) > 1
    assert result.duration < 20


def test_image_that_is_not_found_says_what_was_tried(project: Project) -> None:
    fails(
        project,
        "web = service('registry.invalid/nothing:1')",
        r"service 'web' \(registry.invalid/nothing:1\) could not be started: image registry.invalid/nothing:1 could",
        r"  tried  docker pull registry.invalid/nothing:1",
        r"  found  manifest unknown",
        r"  do     check name and tag, or build it",
    )


def test_image_is_pulled_once_for_all_that_need_it(project: Project) -> None:
    project.conftest("a = service(PULLABLE, command=forever())\nb = service(a)\nc = stack(x=a, y=b)")
    project.tests("def test_it(a, b, c): pass")
    project.run().assert_outcomes(passed=1)
    assert project.journal.calls("pull_image") == [["registry.invalid/pullable:1"]]


def test_image_that_is_there_is_not_pulled(project: Project) -> None:
    project.conftest("web = service(IMAGE, command=forever())")
    project.tests("def test_it(web): pass")
    project.run().assert_outcomes(passed=1)
    assert project.journal.calls("pull_image") == []


def test_build_that_fails_names_the_step(project: Project) -> None:
    project.write("image/Dockerfile", "FROM debian:bookworm-slim\nRUN true\nRUN false\n")
    fails(
        project,
        "web = service(build='image')",
        r"service 'web' \(built image\) could not be started: the image of .*Dockerfile could not be built",
        r"  tried  Step 3/3 : RUN false",
        r"  found  The command '/bin/sh -c false' returned a non-zero code: 1",
        r"  do     try it by hand: DOCKER_BUILDKIT=0 docker build -t pytest-isolate/image:\S+ \S+/image",
    )


def test_build_and_image_together_give_the_image_that_tag(project: Project) -> None:
    project.write("image/Dockerfile", 'FROM debian:bookworm-slim\nCMD ["echo", "x"]')
    project.conftest(
        "web = service(image='shop/web:dev', command=forever(),"
        " build={'context': 'image', 'args': {'A': 1}, 'target': 'final', 'network': 'host'})"
    )
    project.tests("def test_it(web): assert web.image == 'shop/web:dev'")
    project.run().assert_outcomes(passed=1)
    (request,) = [args[0] for args in project.journal.calls("build_image")]
    assert (request["tag"], request["args"]) == ("shop/web:dev", {"A": "1"})
    assert (request["target"], request["network"]) == ("final", "host")


def test_dependent_of_what_failed_says_which_and_why(project: Project) -> None:
    fails(
        project,
        "db = service(IMAGE, command=program('err no space', 'exit 1'))\n"
        "web = service(IMAGE, command=forever(), needs=['db'])",
        r"service 'web' .* was not started because it needs 'db'",
        r"  found  service 'db' .* ended before it was ready",
        r"no space",
    )
    assert project.journal.services == ["db"]


def test_failed_start_is_told_to_every_test_that_asks_and_tried_once(project: Project) -> None:
    project.conftest("web = service(IMAGE, command=program('exit 1'))")
    project.tests("def test_a(web): pass\ndef test_b(web): pass\ndef test_c(web): pass")
    result = project.run()
    result.assert_outcomes(errors=3)
    assert result.stdout.str().count("ended before it was ready") >= 3
    assert project.journal.services == ["web"]


def test_stack_and_worker_are_part_of_the_name(project: Project) -> None:
    project.conftest("web = service(IMAGE, command=program('exit 1'))\nhr = stack(web=web)")
    project.tests("def test_it(hr): pass")
    assert "service 'web' (debian:bookworm-slim, stack hr) ended" in project.run().stdout.str()
    assert re.search(r"\(debian:bookworm-slim, stack hr, worker gw\d\) ended", project.run_xdist().stdout.str())


def test_native_port_in_use_names_the_process(project: Project) -> None:
    project.conftest("web = service(IMAGE, command=forever(), port=18099)\nhr = stack(web=web, ports='native')")
    project.tests(
        """
        @pytest.fixture(scope="session", autouse=True)
        def nothing(): pass
        def test_it(hr): raise AssertionError("never here")
        """
    )
    import os
    import socket

    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("0.0.0.0", 18099))
        other.listen()
        result = project.run()
    result.assert_outcomes(errors=1)
    text = result.stdout.str()
    assert "service 'web' (debian:bookworm-slim, stack hr) cannot have its native port 18099" in text
    assert re.search(rf"found  Address already in use; process {os.getpid()} \(\S+\) listens on 0\.0\.0\.0:18099", text)
    assert "ports='held'" in text
    project.journal.assert_nothing_is_left()


# -- the engine -----------------------------------------------------------------------------------------------------


def test_port_that_somebody_took_meanwhile_is_replaced_by_another(project: Project) -> None:
    """Traps 4 and 5: the first two starts find their port taken."""
    project.conftest(
        """
        from pytest_isolate.errors import PortTaken
        starts = []

        def on_call(engine, name):
            if name == "start_container":
                starts.append(name)
                if len(starts) <= 2:
                    raise PortTaken("a container could not be started", found=["address already in use"])

        def pytest_isolate_engine(config):
            return open_fake(on_call)

        web = service(IMAGE, command=program("serve 8000"), port=8000)
        """,
        engine="",
    )
    project.tests("def test_it(web): pass")
    project.run().assert_outcomes(passed=1)
    ports = [request["ports"][0]["host_port"] for request in project.journal.requests]
    assert len(set(ports)) == 3
    project.journal.assert_nothing_is_left()


def test_port_that_is_always_taken_is_given_up(project: Project) -> None:
    project.conftest(
        """
        from pytest_isolate.errors import PortTaken

        def on_call(engine, name):
            if name == "start_container":
                raise PortTaken("a container could not be started", found=["address already in use"])

        def pytest_isolate_engine(config):
            return open_fake(on_call)

        web = service(IMAGE, command=program("serve 8000"), port=8000)
        """,
        engine="",
    )
    project.tests("def test_it(web): pass")
    result = project.run()
    result.assert_outcomes(errors=1)
    assert "service 'web' (debian:bookworm-slim) could not be started" in result.stdout.str()
    assert 2 <= len(project.journal.requests) <= 20
    project.journal.assert_nothing_is_left()


AWAY = """
def on_call(engine, name):
    if name == {call!r}:
        engine.go_away()

def pytest_isolate_engine(config):
    config.fake = open_fake(on_call)
    return config.fake

web = service(IMAGE, command=forever())
"""


@pytest.mark.parametrize("call", ["find_image", "create_network", "create_container", "start_container"])
def test_engine_that_goes_away_for_good_is_told_with_the_service_and_what_is_left(project: Project, call: str) -> None:
    project.conftest(AWAY.format(call=call), engine="")
    shorten_the_clean_up(project)
    project.tests("def test_it(web): pass\ndef test_other(): pass")
    result = project.run()
    result.assert_outcomes(errors=1, passed=1)
    text = result.stdout.str()
    assert "service 'web' (debian:bookworm-slim) could not be started: the engine does not answer" in text
    assert "container objects could not be removed" in text
    assert "docker rm -fv $(docker ps -aq --filter label=pytest-isolate.run=" in text
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_engine_that_is_away_only_at_the_end_makes_a_green_run_fail(project: Project) -> None:
    project.conftest(AWAY.format(call="nothing"), engine="")
    shorten_the_clean_up(project)
    project.tests("def test_it(web, request): request.config.fake.go_away()")
    result = project.run()
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "could not be removed" in result.stdout.str()


def test_engine_that_comes_back_in_time_is_left_clean(project: Project) -> None:
    project.conftest(AWAY.format(call="nothing"), engine="")
    project.tests(
        """
        import threading

        def test_it(web, request):
            engine = request.config.fake
            engine.go_away()
            threading.Timer(0.5, engine.come_back).start()
        """
    )
    result = project.run()
    result.assert_outcomes(passed=1)
    assert result.ret == 0
    project.journal.assert_nothing_is_left()


def shorten_the_clean_up(project: Project) -> None:
    """Do not wait for an engine that will not come back."""
    project.write(
        "short.py",
        """
        import pytest_isolate.plugin.run.shutdown as shutdown
        import pytest

        @pytest.hookimpl(tryfirst=True)
        def pytest_configure(config):
            config.add_cleanup(lambda before=shutdown._CLEANUP_S: setattr(shutdown, "_CLEANUP_S", before))
            shutdown._CLEANUP_S = 0.3
        """,
    )
    text = (project.path / "conftest.py").read_text()
    (project.path / "conftest.py").write_text(text + "\nfrom short import pytest_configure\n")


def test_no_engine_at_all_ends_the_run_with_every_address_and_its_answer(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.conftest("web = service(IMAGE)", engine="")
    project.tests("def test_it(web): pass\ndef test_other(): pass")
    address = f"unix://{project.path}/none.sock"
    monkeypatch.setenv("DOCKER_HOST", address)
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stderr.str()
    assert "no container engine answers" in text
    assert f"  tried  {address} (DOCKER_HOST): no such socket" in text
    assert "  do     start one" in text
    assert "Traceback" not in text


def test_no_engine_is_needed_where_no_selected_test_needs_a_service(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.conftest("web = service(IMAGE)", engine="")
    project.tests("def test_it(web): pass\ndef test_other(): pass")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{project.path}/none.sock")
    project.run("-k", "other").assert_outcomes(passed=1, deselected=1)


def test_only_a_few_services_start_at_once(project: Project) -> None:
    """Trap 24: more at once are slower, not faster."""
    project.conftest(
        """
        import threading
        import time

        lock = threading.Lock()
        current, most = 0, 0

        def on_call(engine, name):
            global current, most
            if name not in ("create_container", "start_container"):
                return
            with lock:
                current += name == "create_container"
                most = max(most, current)
            time.sleep(0.05)
            with lock:
                current -= name == "start_container"

        def pytest_isolate_engine(config):
            return open_fake(on_call)

        for n in range(12):
            globals()[f"web{n}"] = service(IMAGE, command=forever())
        """,
        engine="",
    )
    names = ", ".join(f"web{n}" for n in range(12))
    project.tests(
        f"""
        import conftest

        def test_it({names}):
            assert 2 <= conftest.most <= 4
        """
    )
    project.run().assert_outcomes(passed=1)


def test_lock_files_stay_and_are_used_by_the_next_run(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap 33: whoever waits for a lock file that is removed would share the lock with whoever makes it anew."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(project.path / "cache"))
    project.write("image/Dockerfile", 'FROM debian:bookworm-slim\nCMD ["echo", "x"]')
    project.conftest("web = service(build='image', command=forever())")
    project.tests("def test_it(web): pass")
    seen = []
    for _ in range(2):
        project.run().assert_outcomes(passed=1)
        seen.append({path.name: path.stat().st_ino for path in project.path.glob("cache/pytest-isolate/locks/*")})
    assert seen[0] == seen[1] != {}


# -- secrets --------------------------------------------------------------------------------------------------------

SECRET = """
db = service(postgres(), image=IMAGE, command={command}, ready=log("go"), timeout=1)
"""


def test_random_password_is_the_same_wherever_it_is_asked_in_one_run_and_new_in_the_next(project: Project) -> None:
    project.conftest(
        SECRET.format(command='program("say go", "sleep 60")'),
        "web = service(IMAGE, command=forever(), env={'URL': '{db.url}', 'PW': '{db.password}'})",
    )
    project.tests(
        """
        def test_it(db, web):
            assert len(db.password) >= 20
            assert db.env["POSTGRES_PASSWORD"] == web.env["PW"] == db.password
            assert db.password in db.url and db.password in web.env["URL"]
            assert repr(db).count(db.password) == 0
        """
    )
    for _ in range(2):
        project.run("--isolate-no-cache").assert_outcomes(passed=1)
    passwords = {r["env"]["POSTGRES_PASSWORD"] for r in project.journal.requests if "POSTGRES_PASSWORD" in r["env"]}
    assert len(passwords) == 2


@pytest.mark.parametrize("end", ["exit 1", "sleep 60"])
def test_random_password_never_appears_in_errors(project: Project, end: str) -> None:
    command = f'program("getenv POSTGRES_PASSWORD", "say url is in the log", "{end}")'
    text = fails(project, SECRET.format(command=command).replace("db =", "web ="), r"\*\*\*", "url is in the log")
    (request,) = project.journal.requests
    assert request["env"]["POSTGRES_PASSWORD"] not in text


def test_random_password_of_a_neighbour_never_appears_in_errors_either(project: Project) -> None:
    project.conftest(
        SECRET.format(command='program("say go", "sleep 60")'),
        """
        web = service(IMAGE, command=program("getenv URL", "exit 1"), env={"URL": "{db.url}"}, ready=log("never"))
        far = service(IMAGE, command=program("getenv URL", "exit 1"), env={"URL": "{near.env.URL}"}, ready=log("never"))
        near = service(IMAGE, command=forever(), env={"URL": "{db.url}"})
        """,
    )
    project.tests("def test_web(web): pass\ndef test_far(far): pass")
    result = project.run()
    result.assert_outcomes(errors=2)
    assert result.stdout.str().count("postgresql://postgres:***@db:5432/postgres") >= 2
    (password,) = {r["env"]["POSTGRES_PASSWORD"] for r in project.journal.requests if "POSTGRES_PASSWORD" in r["env"]}
    assert password not in result.stdout.str()


def test_stacks_have_passwords_of_their_own(project: Project) -> None:
    project.conftest(SECRET.format(command='program("say go", "sleep 60")'), "hr = stack(db=db)\nsales = stack(db=db)")
    project.tests("def test_it(db, hr, sales): assert len({db.password, hr.db.password, sales.db.password}) == 3")
    project.run().assert_outcomes(passed=1)


# -- what reaches the engine: each key has a test that fails when it is ignored ----------------------------------------


@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ("", "memory_bytes", 2048 * 1024**2),
        ("memory='64m'", "memory_bytes", 64 * 1024**2),
        ("memory='unlimited'", "memory_bytes", None),
        ("", "pids", 1024),
        ("pids=20", "pids", 20),
        ("pids='unlimited'", "pids", None),
        ("", "cpus", None),
        ("cpus=0.25", "cpus", 0.25),
        ("", "shm_bytes", None),
        ("shm_size='32m'", "shm_bytes", 32 * 1024**2),
        ("", "no_new_privileges", True),
        ("new_privileges=True", "no_new_privileges", False),
        ("", "cap_drop", ["ALL"]),
        ("entrypoint=program('sleep 50')", "entrypoint", "entrypoint"),
        ("env={'A': 1, 'B': True}", "env", {"A": "1", "B": "true"}),
        ("", "aliases", ["web"]),
    ],
)
def test_key_reaches_the_engine(project: Project, changes: str, field: str, expected: object) -> None:
    command = "" if "entrypoint" in changes else "command=forever(), "
    project.conftest(f"web = service(IMAGE, {command}{changes})")
    project.tests("def test_it(web): pass")
    project.run().assert_outcomes(passed=1)
    (request,) = project.journal.requests
    if field == "entrypoint":
        assert request[field][-1] == "sleep 50"
    else:
        assert request[field] == expected


@pytest.mark.parametrize(
    ("changes", "has", "has_not"),
    [
        ("", "NET_BIND_SERVICE", "NET_RAW"),
        ("cap_add=['cap_net_raw']", "NET_RAW", "MKNOD"),
        ("cap_add=['ALL']", "ALL", ""),
    ],
)
def test_capabilities_reach_the_engine(project: Project, changes: str, has: str, has_not: str) -> None:
    project.conftest(f"web = service(IMAGE, command=forever(), {changes})")
    project.tests("def test_it(web): pass")
    project.run()
    (request,) = project.journal.requests
    assert has in request["cap_add"]
    assert has_not not in request["cap_add"]


def test_every_object_carries_the_run_and_its_owner(project: Project) -> None:
    project.conftest("web = service(IMAGE, command=forever(), volumes={'data': '/data'})\nhr = stack(web=web)")
    project.tests("def test_it(hr): pass")
    project.run().assert_outcomes(passed=1)
    (request,) = project.journal.requests
    labels = [
        request["labels"],
        project.journal.calls("create_network")[0][2],
        project.journal.calls("create_volume")[0][1],
    ]
    assert len({found["pytest-isolate.run"] for found in labels}) == 1
    assert all('"pid"' in found["pytest-isolate.owner"] for found in labels)
    assert request["labels"]["pytest-isolate.stack"] == "hr"
    assert request["labels"]["pytest-isolate.service"] == "web"
    assert len(request["labels"]["pytest-isolate.fingerprint"]) == 32
    names = [request["name"], project.journal.calls("create_network")[0][0], *request["volumes"]]
    assert all(f"-{labels[0]['pytest-isolate.run']}-" in name for name in names)


def test_named_volume_is_the_stacks_own_and_shared_within_it(project: Project) -> None:
    project.conftest(
        """
        writer = service(IMAGE, command=program("write /data/file kept", "say done", "sleep 60"), ready=log("done"),
                         volumes={"data": "/data"})
        reader = service(IMAGE, command=forever(), volumes={"data": "/srv"}, needs=["writer"])
        hr = stack(writer=writer, reader=reader)
        sales = stack(reader=service(reader, needs=[]))
        """
    )
    project.tests(
        """
        def test_it(hr, sales):
            assert hr.reader.exec("cat", "/srv/file").stdout == "kept\\n"
            assert sales.reader.exec("cat", "/srv/file").exit_code != 0
        """
    )
    project.run().assert_outcomes(passed=1)
    project.journal.assert_nothing_is_left()


def test_files_are_there_when_the_service_starts_with_placeholders_filled_in(project: Project) -> None:
    project.conftest(
        """
        db = service(IMAGE, command=program("serve 5432"), port=5432)
        web = service(IMAGE, command=program("read /etc/app.conf", "sleep 60"), ready=log("url"),
                      files={"/etc/app.conf": "url = {db.url}, not {{db.url}}\\n"})
        """
    )
    project.tests("def test_it(web): assert web.logs() == 'url = tcp://db:5432, not {db.url}\\n'")
    project.run().assert_outcomes(passed=1)


@pytest.mark.parametrize("names", ["other, d", "d, other"])
def test_more_services_than_threads_start_and_what_is_waited_for_needs_no_free_one(
    project: Project, monkeypatch: pytest.MonkeyPatch, names: str
) -> None:
    monkeypatch.setattr(lifecycle, "_MOST_STARTING", 1)
    project.conftest(CHAIN)
    project.tests(f"def test_it({names}): assert other.port and d.port\ndef test_b(b): assert b.port")
    project.run().assert_outcomes(passed=2)
    project.journal.assert_nothing_is_left()


def test_what_waits_for_a_thread_ends_with_the_run(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "_MOST_STARTING", 1)
    project.conftest("first = service(IMAGE, command=program('sleep 60'), ready=log('never'), timeout=60)", CHAIN)
    project.tests("def test_it(): raise AssertionError\ndef test_rest(first, d): pass")
    project.run("-x").assert_outcomes(failed=1)
    project.journal.assert_nothing_is_left()
