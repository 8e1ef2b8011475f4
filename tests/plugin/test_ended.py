"""Services that do their work and end: what needs them waits for that, and fails with them."""

from __future__ import annotations

import pytest
from fakes.engine import LastingEngine
from fakes.images import FakeImage, image_id
from fakes.programs import IMAGE, program

from plugin.conftest import Project
from plugin.test_compose import command

JOB = """
job = service(IMAGE, command=program({steps}), ready=ended(), volumes={{"made": "/made"}})
READ = program("read /made/it", "serve 8000")
web = service(IMAGE, command=READ, port=8000, needs=["job"], volumes={{"made": "/made:ro"}})
"""


def test_what_needs_it_starts_when_it_has_ended(project: Project) -> None:
    project.conftest(JOB.format(steps='"sleep 0.3", "write /made/it yes"'))
    project.tests(
        """
        def test_it(web, job):
            assert "yes" in web.logs()
            assert job.logs() == ""
        def test_again(job): assert "ended" not in repr(job)
        """
    )

    project.run().assert_outcomes(passed=2)
    assert sorted(project.journal.services) == ["job", "web"]


def test_one_that_fails_is_told_with_its_code_and_its_log(project: Project) -> None:
    project.conftest(JOB.format(steps='"say no such table", "exit 3"'))
    project.tests("def test_it(web): pass")

    result = project.run()

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "*service 'job' (*) ended before it was ready*",
            "*for its end with code 0*",
            "*exited with code 3*",
            "*no such table*",
        ]
    )
    assert project.journal.services == ["job"]


def test_one_that_does_not_end_is_told(project: Project) -> None:
    project.conftest("job = service(IMAGE, command=forever(), ready=ended(), timeout=0.3)\n")
    project.tests("def test_it(job): pass")

    result = project.run()

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*was not ready after 0.3 s*", "*its end with code 0, * times; *: it still runs*"])


def test_one_that_is_kept_is_not_run_again(project: Project, lasting: object) -> None:
    project.conftest('job = service(IMAGE, command=program("say done"), ready=ended())\n', engine="")
    project.tests("def test_it(job): assert job.logs() == 'done\\n'")

    for _ in range(2):
        project.run_on(lasting, "--isolate-reuse").assert_outcomes(passed=1)  # type: ignore[arg-type]

    assert project.journal.services == ["job"]


# -- services that end although nothing asks for it ------------------------------------------------------------------


def compose_file(project: Project, **services: str) -> None:
    """Write and declare a Compose file; each service is what it runs, and further keys in a line of their own."""
    lines = ["services:"]
    for name, text in services.items():
        steps, _, more = text.partition(";")
        words = command(*steps.split(", "))
        lines += [
            f"  {name}:",
            f"    image: {IMAGE}",
            f"    command: {words}",
            *(f"    {key}" for key in [more] if key),
        ]
    project.write("compose.yaml", "\n".join(lines))
    project.conftest('shop = compose("compose.yaml")')


@pytest.mark.parametrize("more", ["", "restart: always"])
def test_the_end_with_code_0_of_a_service_without_ports_is_ready(project: Project, more: str) -> None:
    compose_file(project, init=f"say done;{more}", web="serve 8000;expose: ['8000']")
    project.tests("def test_it(shop): assert shop.init.logs() == 'done\\n'\ndef test_again(shop): pass")

    project.run().assert_outcomes(passed=2)


def test_it_is_in_python_too_and_for_an_image_with_a_check(project: Project, lasting: LastingEngine) -> None:
    health = tuple(program("exit 1"))
    lasting.images["checked:1"] = FakeImage(image_id=image_id("checked:1"), health_command=health)
    project.conftest(
        'job = service("checked:1", command=program("say done"))\nother = service(IMAGE, command=program("say done"))',
        engine="",
    )
    project.tests("def test_it(job, other): assert job.logs() == other.logs() == 'done\\n'")

    for _ in range(2):
        project.run_on(lasting, "--isolate-reuse").assert_outcomes(passed=1)

    assert sorted(project.journal.services) == ["job", "other"]


def test_the_end_of_a_service_with_a_port_is_no_success(project: Project) -> None:
    compose_file(project, web="say done;expose: ['8000']")
    project.tests("def test_it(shop): pass")

    result = project.run()

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*service 'web' (*) ended before it was ready*", "*exited with code 0*"])


def test_a_later_failure_is_an_error_of_the_tests_that_have_the_stack(project: Project) -> None:
    compose_file(project, init="say begins, sleep 1, err no such table, exit 3", web="serve 8000;expose: ['8000']")
    project.tests(
        """
        from waiting import wait_for
        def test_before(shop): pass
        def test_meanwhile(shop, pytestconfig):
            # Its last line comes before its end, and on a busy machine this process hears of that a while later.
            session = pytestconfig.pluginmanager.get_plugin("isolate-session")
            wait_for(lambda: session._process.wired.lifecycle.failed())
        def test_behind(shop): pass
        def test_without(): pass
        """
    )

    result = project.run()

    result.assert_outcomes(passed=3, errors=2)
    result.stdout.re_match_lines(
        [
            r"_+ ERROR at teardown of test_meanwhile _+",
            r"service 'init' \(debian:bookworm-slim, stack shop\) has failed after it was taken for ready",
            r"  found  container exited with code 3, \d+\.\d s after its start; last log lines:",
            r"           begins",
            r"           no such table",
            r"  do     run it by hand: docker run .*",
            r"         it is declared at .*compose\.yaml:\d+",
            r"_+ ERROR at setup of test_behind _+",
        ],
    )


@pytest.mark.parametrize("block", ["stopped()", "killed()"])
def test_an_end_that_a_test_asks_for_is_no_failure(project: Project, block: str) -> None:
    project.conftest('job = service(IMAGE, command=program("stubborn", "sleep 600"))')
    project.tests(
        f"""
        def test_it(job):
            job.kill()
        def test_behind(job): job.start()
        def test_in_a_block(job):
            with job.{block.replace("stopped()", "stopped(timeout_s=0)")}: pass
        def test_at_the_end(job): pass
        """
    )

    project.run().assert_outcomes(passed=4)


def test_a_service_with_a_port_tells_by_itself(project: Project) -> None:
    project.conftest('web = service(IMAGE, command=program("mute 80", "sleep 1", "exit 3"), port=80)')
    project.tests(
        """
        from waiting import wait_for
        from pytest_isolate.errors import EngineError
        def has_ended(service):
            try: service.exec("true")
            except EngineError: return True
        def test_it(web): wait_for(lambda: has_ended(web))
        """
    )

    project.run().assert_outcomes(passed=1)


# -- restart policies -----------------------------------------------------------------------------------------------


def project_that_needs_a_second_start(project: Project, restart: str) -> None:
    steps = 'program("say up", "sleep 0.1", "read /data/mark", "serve 80")'
    project.conftest(
        f"""
        marker = service(IMAGE, command=program("sleep 1", "write /data/mark yes", "sleep 600"),
                         volumes={{"data": "/data"}})
        web = service(IMAGE, command={steps}, port=80, volumes={{"data": "/data"}},
                      container={{"restart": {restart!r}}})
        shop = stack(marker=marker, web=web)
        """
    )
    project.tests("def test_it(shop): assert shop.web.logs().endswith('up\\nyes\\n')")


@pytest.mark.parametrize("restart", ["always", "unless-stopped", "on-failure", "on-failure:9"])
def test_a_service_that_has_such_a_policy_is_started_again_until_it_is_ready(project: Project, restart: str) -> None:
    project_that_needs_a_second_start(project, restart)

    project.run().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("restart", "tried"), [("no", ""), ("on-failure:1", "start it again, 1 time: *'on-failure:1'")]
)
def test_a_policy_has_its_limit(project: Project, restart: str, tried: str) -> None:
    project_that_needs_a_second_start(project, restart)

    result = project.run()

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*service 'web' (*) ended before it was ready*", f"*{tried}*", "*exited with code 2*"])


def test_lines_of_a_life_that_has_ended_do_not_count(project: Project) -> None:
    steps = 'program("say up", "sleep 0.1", "read /data/mark", "say up", "sleep 600")'
    project.conftest(
        f"""
        marker = service(IMAGE, command=program("sleep 1", "write /data/mark yes", "sleep 600"),
                         volumes={{"data": "/data"}})
        web = service(IMAGE, command={steps}, volumes={{"data": "/data"}}, ready=log("^up$", times=2),
                      container={{"restart": "always"}})
        shop = stack(marker=marker, web=web)
        """
    )
    project.tests("def test_it(shop): assert shop.web.logs().endswith('up\\nyes\\nup\\n')")

    project.run().assert_outcomes(passed=1)
