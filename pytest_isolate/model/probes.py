"""Readiness questions as values: what each is called, what it takes, and what is wrong with it.

Asking is done in running.readiness.probing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import ClassVar

from msgspec import Struct
from msgspec.structs import replace


class Ready(Struct, frozen=True):
    """The service answers."""


class NotYet(Struct, frozen=True):
    """The service does not answer yet; `reason` is what was seen."""

    reason: str


class Dead(Struct, frozen=True):
    """The service will never answer; `reason` is what was seen."""

    reason: str


Answer = Ready | NotYet | Dead


Wrong = tuple[str, str, str]
"""Why a value cannot be used, what would be right, and its key."""


class Probe(Struct, frozen=True):
    """A question to a service that starts. To add one, see docs/extending.md."""

    word: ClassVar[str]
    """Its name: in Python that of the function which makes it, in TOML a key."""
    example: ClassVar[str]
    keys: ClassVar[tuple[str, ...]] = ()
    """The keys of its table in TOML; none where what it has is no table."""
    main: ClassVar[str] = ""
    """The field that a value stands for which is no such table; none where that is `true`."""
    required: ClassVar[str] = ""
    """Words for the main one, where it cannot be left out."""
    needs_port: ClassVar[bool] = False
    """It is asked over the network, so also of a service that runs already."""
    is_inside: ClassVar[bool] = False
    """A program in the container answers it, which may reach a server that the network does not."""
    is_expensive: ClassVar[bool] = False
    """Costs the engine tens of milliseconds, so that it must not be asked without pause."""

    @property
    def port(self) -> int | None:
        """The port that is asked; None for the main one."""
        return None

    def find_wrong(self) -> Iterator[Wrong]:
        """The values that cannot be used. Python's callers may have given any."""
        yield from ()

    def with_texts_encoded(self) -> Probe:
        """The same, as TOML has to write it, which knows no bytes."""
        return self

    def __str__(self) -> str:
        """A short text for messages, such as `http /healthz`."""
        return self.word


class Tcp(Probe, frozen=True, kw_only=True):
    """Connect, send `send`, and match what comes back with the regular expression `expect`.

    Without `expect`, a server that answers nothing counts as ready, one that hangs up does not: an engine's proxy
    accepts connections before the service listens, and then closes them.
    """

    word = "tcp"
    example = "tcp()"
    keys = ("port", "send", "expect")
    main = "port"
    needs_port = True

    port: int | None = None
    send: bytes = b""
    expect: str | None = None

    def find_wrong(self) -> Iterator[Wrong]:
        yield from _wrong_port(self.port)
        if not isinstance(self.send, bytes):
            yield f"{self.send!r} is not a byte string", "bytes", "send"
        if self.expect is not None:
            yield from _wrong_pattern(self.expect, "expect")
            yield from _wrong_byte_pattern(self.expect, "expect")

    def with_texts_encoded(self) -> Probe:
        return replace(self, send=self.send.encode()) if isinstance(self.send, str) else self

    def __str__(self) -> str:
        return f"tcp port {self.port}" if self.port else "tcp"


class Http(Probe, frozen=True, kw_only=True):
    """Ask for `path`, by GET where no method is given; ready when the status is `status`, or below 400 without one."""

    word = "http"
    example = "http('/path')"
    keys = ("path", "port", "status", "method")
    main = "path"
    needs_port = True

    path: str = "/"
    port: int | None = None
    status: int | None = None
    method: str | None = None

    def find_wrong(self) -> Iterator[Wrong]:
        yield from _wrong_port(self.port)
        if not isinstance(self.path, str) or not re.fullmatch("/[!-~]*", self.path):
            valid = "a text that begins with '/', other characters than ASCII's and spaces written as %20 and so on"
            yield f"{self.path!r} is not a path of a URL", valid, "path"
        if self.status is not None and not (isinstance(self.status, int) and 100 <= self.status <= 599):
            yield f"{self.status!r} is not an HTTP status", "a whole number from 100 to 599", "status"
        if self.method is not None and self.method not in _METHODS:
            from pytest_isolate.errors import suggest  # where declarations are imported, nothing may be wrong

            hint = suggest(self.method, _METHODS)
            yield f"{self.method!r} is not a method of HTTP{hint}", ", ".join(_METHODS), "method"

    def __str__(self) -> str:
        return f"http {self.path}" + (f" on port {self.port}" if self.port else "")


class Log(Probe, frozen=True, kw_only=True):
    """The regular expression `pattern` has been found `times` times in the log since the last start."""

    word = "log"
    example = "log('pattern')"
    keys = ("pattern", "times")
    main = "pattern"
    required = "a regular expression"
    is_expensive = True

    pattern: str
    times: int = 1

    def find_wrong(self) -> Iterator[Wrong]:
        yield from _wrong_pattern(self.pattern, "pattern")
        if isinstance(self.times, bool) or not isinstance(self.times, int) or self.times < 1:
            yield f"{self.times!r} is not a number of times", "a whole number from 1", "times"

    def __str__(self) -> str:
        return f"log line matching {self.pattern!r}"


class Command(Probe, frozen=True, kw_only=True):
    """`argv`, run inside the container, ends with code 0."""

    word = "command"
    example = "command('word', ...)"
    main = "argv"
    is_inside = True
    is_expensive = True

    argv: tuple[str, ...]

    def find_wrong(self) -> Iterator[Wrong]:
        if not self.argv:
            yield "the command is empty", "a list of words", ""

    def __str__(self) -> str:
        return f"command {' '.join(self.argv)}"


class Ended(Probe, frozen=True, kw_only=True):
    """The container has done its work: it has ended, with code 0."""

    word = "ended"
    example = "ended()"

    def __str__(self) -> str:
        return "its end with code 0"


class OwnWait(Probe, frozen=True, kw_only=True):
    """The wait that a module of testcontainers brings along, with what it does on its way; `name` is its class."""

    name: str

    def __str__(self) -> str:
        return f"the own wait of {self.name}"


class Ports(Probe, frozen=True, kw_only=True):
    """Of these ports one accepts connections, and the others do so too or have had some time for it; none is asked.

    It follows what is asked inside of the container, where the temporary server of an image that initialises answers.
    """

    ports: tuple[int, ...]

    def __str__(self) -> str:
        return f"tcp port {', '.join(map(str, self.ports))}"


PROBES: Mapping[str, type[Probe]] = {probe.word: probe for probe in (Http, Tcp, Log, Command, Ended)}
"""Those that users can write."""


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


_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def _wrong_port(port: object) -> Iterator[Wrong]:
    from pytest_isolate.model.endpoint import find_wrong_port  # read when a probe is checked, not when one is declared

    wrong = None if port is None else find_wrong_port(port)
    if wrong:
        yield (*wrong, "port")


def _wrong_pattern(pattern: object, key: str) -> Iterator[Wrong]:
    if not isinstance(pattern, str):
        yield f"{pattern!r} is not a regular expression", "a text", key
        return
    try:
        re.compile(pattern)
    except re.error as error:
        yield f"{pattern!r} is not a regular expression: {error}", "Python's syntax of them", key


def _wrong_byte_pattern(pattern: str, key: str) -> Iterator[Wrong]:
    """Check it as bytes: answers are matched before anything is known about their encoding."""
    try:
        re.compile(pattern.encode("latin-1"))
    except (UnicodeEncodeError, re.error):
        valid = r"one for bytes: ASCII, and other characters as the bytes that are sent, such as '\xc3\xa9'"
        yield f"{pattern!r} cannot be matched against bytes", valid, key
