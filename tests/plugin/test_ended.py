"""Services that do their work and end: what needs them waits for that, and fails with them."""

from __future__ import annotations

from plugin.conftest import Project

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
