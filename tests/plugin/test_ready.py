"""Services whose check inside says yes: their ports have to answer too, as far as anything listens there."""

from __future__ import annotations

from fakes.images import FakeImage, image_id
from fakes.programs import IMAGE, program

from plugin.conftest import Project
from plugin.test_compose import command


def test_a_check_that_passes_is_not_enough_where_no_port_answers(project: Project) -> None:
    project.conftest("web = service(IMAGE, command=forever(), port=80, ready=command('true'), timeout='600ms')")
    project.tests("def test_it(web): pass")

    result = project.run()

    result.assert_outcomes(errors=1)
    result.stdout.re_match_lines(
        [
            r"service 'web' \(debian:bookworm-slim\) was not ready after 0\.[6-9]\d* s",
            r"  tried  command true has succeeded",
            r"         tcp port 80 at 127\.0\.0\.1:\d+, \d+ times; last answer: port 80: connection closed at once",
            r"  found  its container runs; last log lines:",
            r"  do     have the server listen on 0\.0\.0\.0 at a declared port; where nothing is meant to listen there,"
            r" leave the port out, or name what to ask: ready=http\(\.\.\.\); if it takes longer: timeout=\.\.\.",
        ],
        consecutive=False,
    )


def test_a_test_never_comes_before_the_port(project: Project) -> None:
    serving = 'program("sleep 0.5", "serve 80 hello")'
    project.conftest(f"web = service(IMAGE, command={serving}, port=80, ready=command('true'))")
    project.tests(
        """
        from urllib.request import urlopen
        def test_it(web): assert urlopen(f"http://{web.address}").read() == b"hello"
        """
    )

    project.run().assert_outcomes(passed=1)


def test_a_port_on_which_nothing_listens_is_told_and_does_not_fail(project: Project) -> None:
    """The published admin port of a Compose file, which is switched off."""
    project.write(
        "compose.yaml",
        f"""
        services:
          web:
            image: {IMAGE}
            command: {command("serve 8000 hello")}
            ports: ["8000", "9990"]
            healthcheck: {{test: ["CMD", "true"]}}
        """,
    )
    project.conftest('shop = compose("compose.yaml")')
    project.tests("def test_it(shop): assert shop.web.port_of(9990)")

    result = project.run()

    result.assert_outcomes(passed=1)
    result.stdout.re_match_lines(
        [
            r"isolate: service 'web' \(debian:bookworm-slim, stack shop\) is ready, but nothing answers at its port "
            r"9990; leave out what is not meant to answer, then it is ready sooner \(.*compose\.yaml:\d+\)"
        ]
    )


def test_the_check_of_an_image_is_not_enough_either(project: Project, lasting: object) -> None:
    health = tuple(program("say fine"))
    lasting.images["checked:1"] = FakeImage(image_id=image_id("checked:1"), health_command=health)  # type: ignore[attr-defined]
    project.conftest(
        "web = service('checked:1', command=forever(), port=80, timeout='2s')\n"
        "quiet = service('checked:1', command=forever())",
        engine="",
    )
    project.tests("def test_it(web): pass\ndef test_other(quiet): pass")

    result = project.run_on(lasting)  # type: ignore[arg-type]

    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(["*tcp port 80 at *last answer: port 80: connection closed at once*"])
