"""nox runs tests without services and with them; `nox -s services -- -k login` hands pytest what comes behind `--`."""

import nox


@nox.session
def tests(session: nox.Session) -> None:
    """Tests that need no service; the others are skipped, with one line that says how to run them."""
    session.install("-r", "requirements-test.txt")
    session.run("pytest", *session.posargs)


@nox.session
def services(session: nox.Session) -> None:
    """All tests, each service in a container of its own."""
    session.install("-r", "requirements-test.txt")
    session.run("pytest", "--isolate", *(session.posargs or ["-n", "auto"]))
