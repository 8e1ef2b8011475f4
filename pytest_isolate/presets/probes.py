"""The probes as users write them."""

from __future__ import annotations

from pytest_isolate.model.probes import Command, Ended, Http, Log, Tcp


def tcp(port: int | None = None, *, send: bytes = b"", expect: str | None = None) -> Tcp:
    """Ready when a connection to `port` (the main one by default) stays open.

    With `expect`, when what the server says, after `send` was sent to it, matches that regular expression.
    """
    return Tcp(port=port, send=send, expect=expect)


def http(path: str = "/", *, port: int | None = None, status: int | None = None, method: str | None = None) -> Http:
    """Ready when GET `path` answers with `status`, or with any status below 400 where none is given.

    As `reset=` it is what a service is asked after each test: by POST, unless `method` says otherwise.
    """
    return Http(path=path, port=port, status=status, method=method)


def log(pattern: str, *, times: int = 1) -> Log:
    """Ready when the regular expression `pattern` was found `times` times in what the container wrote."""
    return Log(pattern=pattern, times=times)


def command(*argv: str) -> Command:
    """Ready when `argv`, run inside the container, ends with code 0. Costs the engine more than the other probes.

    As `init=` or `reset=` it is what is run there.
    """
    return Command(argv=argv)


def ended() -> Ended:
    """Ready when the container has ended with code 0. For what does its work and ends, such as a migration."""
    return Ended()
