"""The key `ready` of a declaration: probes from Python's functions or from tables, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pytest_isolate.declarations.values import InvalidValue, is_generator, known_keys, parse_argv, parse_port
from pytest_isolate.errors import suggest
from pytest_isolate.model.probes import Command, Ended, Http, Log, Probe, Tcp
from pytest_isolate.model.reset import Pristine, Reset, ResetFunction

_RESETS = (
    "true, command('word', ...), http('/path'), or a function of one argument, async or not; in TOML "
    "{command = ['word', ...]} or {http = '/path'}"
)


def parse_reset(value: object) -> Reset | None:
    """How a service is reset; None for not at all."""
    if isinstance(value, bool):
        return Pristine() if value else None
    if isinstance(value, (Mapping, Command, Ended, Http, Log, Tcp)):
        return _parse_call(value)
    if callable(value) and not is_generator(value):
        return ResetFunction(function=value)
    raise InvalidValue(f"{value!r} cannot reset a service", _RESETS)


def _parse_call(value: object) -> Reset:
    (call,) = parse_probes(value)
    if isinstance(call, (Command, Http)):
        return call
    raise InvalidValue(f"{type(call).__name__.lower()}() asks a service something and changes nothing", _RESETS)


def parse_probes(value: object) -> tuple[Probe, ...]:
    """One probe or a list of them; each is a probe or a table with one of the keys http, tcp, log, command."""
    if isinstance(value, (Tcp, Http, Log, Command, Ended)):
        return (_check_probe(value),)
    if isinstance(value, Mapping):
        return (_check_probe(_parse_probe_table(value)),)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return tuple(probe for item in value for probe in parse_probes(item))
    raise InvalidValue(f"{value!r} is not a probe", _PROBES)


_PROBES = (
    "http('/path'), tcp(), log('pattern'), command('word', ...), ended(); in TOML {http = '/path'} and so on; or a list"
)
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_PROBE_KEYS: dict[str, tuple[type[Tcp] | type[Http] | type[Log], str, tuple[str, ...]]] = {
    "tcp": (Tcp, "port", ("port", "send", "expect")),
    "http": (Http, "path", ("path", "port", "status", "method")),
    "log": (Log, "pattern", ("pattern", "times")),
}


def _parse_probe_table(table: Mapping[str, object]) -> Probe:
    if len(table) != 1:
        raise InvalidValue(f"{dict(table)!r} is not one probe", _PROBES)
    ((kind, value),) = table.items()
    if kind == "command":
        return Command(argv=parse_argv(value))
    if kind == "ended" and value is True:
        return Ended()
    if kind not in _PROBE_KEYS:
        raise InvalidValue(
            f"{kind!r} is not a kind of probe{suggest(kind, [*_PROBE_KEYS, 'command', 'ended'])}", _PROBES
        )
    cls, main, keys = _PROBE_KEYS[kind]
    values = dict(known_keys(value if isinstance(value, Mapping) else {main: value}, keys, kind))
    if isinstance(values.get("send"), str):
        values["send"] = str(values["send"]).encode()
    if kind == "log" and "pattern" not in values:
        raise InvalidValue("needs a pattern", "a regular expression", "log.pattern")
    return cls(**values)  # type: ignore[arg-type]  # the types are checked by _check_probe, for Python's callers too


def _check_probe(probe: Probe) -> Probe:
    match probe:
        case Tcp(port=port, send=send, expect=expect):
            _check_optional_port(port, "tcp")
            if not isinstance(send, bytes):
                raise InvalidValue(f"{send!r} is not a byte string", "bytes", "tcp.send")
            if expect is not None:
                _check_pattern(expect, "tcp.expect")
                _check_byte_pattern(expect, "tcp.expect")
        case Http(path=path, port=port, status=status, method=method):
            _check_optional_port(port, "http")
            if not isinstance(path, str) or not re.fullmatch("/[!-~]*", path):
                valid = "a text that begins with '/', other characters than ASCII's and spaces written as %20 and so on"
                raise InvalidValue(f"{path!r} is not a path of a URL", valid, "http.path")
            if status is not None and not (isinstance(status, int) and 100 <= status <= 599):
                raise InvalidValue(f"{status!r} is not an HTTP status", "a whole number from 100 to 599", "http.status")
            if method is not None and method not in _METHODS:
                hint = suggest(method, _METHODS)
                raise InvalidValue(f"{method!r} is not a method of HTTP{hint}", ", ".join(_METHODS), "http.method")
        case Log(pattern=pattern, times=times):
            _check_pattern(pattern, "log.pattern")
            if isinstance(times, bool) or not isinstance(times, int) or times < 1:
                raise InvalidValue(f"{times!r} is not a number of times", "a whole number from 1", "log.times")
        case Command(argv=argv):
            if not argv:
                raise InvalidValue("the command is empty", "a list of words", "command")
            return Command(argv=parse_argv(argv))
    return probe


def _check_optional_port(port: object, kind: str) -> None:
    if port is not None:
        try:
            parse_port(port)
        except InvalidValue as wrong:
            raise InvalidValue(wrong.reason, wrong.valid, f"{kind}.port") from None


def _check_pattern(pattern: object, key: str) -> None:
    if not isinstance(pattern, str):
        raise InvalidValue(f"{pattern!r} is not a regular expression", "a text", key)
    try:
        re.compile(pattern)
    except re.error as error:
        raise InvalidValue(
            f"{pattern!r} is not a regular expression: {error}", "Python's syntax of them", key
        ) from None


def _check_byte_pattern(pattern: str, key: str) -> None:
    """What a server says is matched as bytes, before anything is known about its encoding."""
    try:
        re.compile(pattern.encode("latin-1"))
    except (UnicodeEncodeError, re.error):
        valid = r"one for bytes: ASCII, and other characters as the bytes that are sent, such as '\xc3\xa9'"
        raise InvalidValue(f"{pattern!r} cannot be matched against bytes", valid, key) from None
