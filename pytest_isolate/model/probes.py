"""Readiness questions as values. Asking is done in running.probing."""

from __future__ import annotations

from msgspec import Struct


class Ready(Struct, frozen=True):
    """The service answers."""


class NotYet(Struct, frozen=True):
    """The service does not answer yet; `reason` is what was seen."""

    reason: str


class Dead(Struct, frozen=True):
    """The service will never answer; `reason` is what was seen."""

    reason: str


Answer = Ready | NotYet | Dead


class Tcp(Struct, frozen=True, kw_only=True):
    """Connect, send `send`, and match what comes back with the regular expression `expect`.

    Without `expect`, a server that answers nothing counts as ready, one that hangs up does not: an engine's proxy
    accepts connections before the service listens, and then closes them.
    """

    port: int | None = None
    send: bytes = b""
    expect: str | None = None


class Http(Struct, frozen=True, kw_only=True):
    """Ask for `path`, by GET where no method is given; ready when the status is `status`, or below 400 without one."""

    path: str = "/"
    port: int | None = None
    status: int | None = None
    method: str | None = None


class Log(Struct, frozen=True, kw_only=True):
    """The regular expression `pattern` has been found `times` times in the log since the last start."""

    pattern: str
    times: int = 1


class Command(Struct, frozen=True, kw_only=True):
    """`argv`, run inside the container, ends with code 0."""

    argv: tuple[str, ...]


class Ended(Struct, frozen=True, kw_only=True):
    """The container has done its work: it has ended, with code 0."""


class OwnWait(Struct, frozen=True, kw_only=True):
    """The wait that a module of testcontainers brings along, with what it does on its way; `name` is its class."""

    name: str


Probe = Tcp | Http | Log | Command | Ended
Question = Probe | OwnWait


def describe_probe(probe: Question) -> str:
    """A short text for messages, such as `http /healthz`."""
    match probe:
        case Tcp(port=port):
            return f"tcp port {port}" if port else "tcp"
        case Http(path=path, port=port):
            return f"http {path}" + (f" on port {port}" if port else "")
        case Log(pattern=pattern):
            return f"log line matching {pattern!r}"
        case Command(argv=argv):
            return f"command {' '.join(argv)}"
        case Ended():
            return "its end with code 0"
        case OwnWait(name=name):
            return f"the own wait of {name}"
