"""One parser for each key of a declaration: any value in, the checked one out, or `Wrong` with what would be right."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath

from pytest_isolate.errors import suggest
from pytest_isolate.model.probes import Command, Http, Log, Probe, Tcp
from pytest_isolate.model.scope import SCOPES, SHARES, Scope
from pytest_isolate.model.service import UNLIMITED, Build, File, Location, Secret, Unlimited


class Wrong(ValueError):
    """A value that cannot be used; `key` is the part below the parsed key, where it is a part."""

    def __init__(self, reason: str, valid: str = "", key: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.valid = valid
        self.key = key


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([bkmg]?)(?:i?b)?", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|)", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_SECONDS = {"": 1.0, "s": 1.0, "ms": 0.001, "m": 60.0, "h": 3600.0}
_SIZES = "a number of bytes, or a text such as '256m' or '1.5g'"
# The engines refuse to start a container below this (Docker 20.10: 6 MiB).
_SMALLEST_MEMORY = 6 * 1024**2


def parse_text(value: object) -> str:
    """A text that is not empty."""
    if isinstance(value, PurePath):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise Wrong(f"{value!r} is not a text", "a text that is not empty")
    return value


def parse_flag(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise Wrong(f"{value!r} is neither true nor false", "true, false")
    return value


def parse_port(value: object) -> int:
    """A port number of TCP."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65535:
        raise Wrong(f"{value!r} is not a port", "a whole number from 1 to 65535")
    return value


def parse_ports(value: object) -> tuple[int, ...]:
    """Port numbers without repetition; the first is the main one."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise Wrong(f"{value!r} is not a list of ports", "a list such as [25, 143]; ports='native' belongs to a stack")
    return tuple(dict.fromkeys(parse_port(v) for v in value))


def parse_size(value: object) -> int:
    """A number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    size = int(float(match[1]) * _UNITS[match[2].lower()]) if match else 0
    if size <= 0:
        raise Wrong(f"{value!r} is not a size", _SIZES)
    return size


def parse_memory(value: object) -> int | Unlimited:
    """A number of bytes that an engine can honour, or no limit."""
    if value == UNLIMITED.value:
        return UNLIMITED
    size = parse_size(value)
    if size < _SMALLEST_MEMORY:
        raise Wrong(f"{value!r} is less than a container can start with (6 MiB)", f"{_SIZES}; or 'unlimited'")
    return size


def parse_pids(value: object) -> int | Unlimited:
    """A number of processes, or no limit."""
    if value == UNLIMITED.value:
        return UNLIMITED
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise Wrong(f"{value!r} is not a number of processes", "a whole number from 1, or 'unlimited'")
    return value


def parse_cpus(value: object) -> float:
    """A share of processors, such as 0.5."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0.01:
        raise Wrong(f"{value!r} is not a share of processors", "a number from 0.01, such as 0.5 or 2")
    return float(value)


def parse_duration(value: object) -> float:
    """Seconds."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0:
        return float(value)
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    seconds = float(match[1]) * _SECONDS[match[2].lower()] if match else 0.0
    if seconds <= 0:
        raise Wrong(f"{value!r} is not a duration", "a number of seconds, or a text such as '500ms', '30s' or '2m'")
    return seconds


def parse_scope(value: object) -> Scope:
    """One of pytest's scopes."""
    if not isinstance(value, str) or value not in SCOPES:
        words = sorted(SCOPES, key=SCOPES.__getitem__)
        raise Wrong(f"{value!r} is not a scope{suggest(value, words)}", ", ".join(words))
    return SCOPES[value]


def parse_share(value: object) -> str:
    """With whom an instance is shared."""
    if value not in SHARES:
        raise Wrong(f"{value!r} is not a way to share{suggest(value, SHARES)}", ", ".join(SHARES))
    return str(value)


def parse_argv(value: object) -> tuple[str, ...]:
    """The words of a command."""
    if isinstance(value, str):
        raise Wrong(f"{value!r} is one text", "a list of words; for a shell: ['sh', '-c', '...']")
    if isinstance(value, bytes) or not isinstance(value, Sequence) or not all(map(_is_word, value)):
        raise Wrong(f"{value!r} is not a command", "a list of words")
    return tuple(str(v) for v in value)


def _is_word(value: object) -> bool:
    return isinstance(value, (str, int, float))


def parse_names(value: object) -> tuple[str, ...]:
    """A list of names."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or not all(isinstance(v, str) for v in value):
        raise Wrong(f"{value!r} is not a list of names", "a list of texts")
    return tuple(value)


def parse_capabilities(value: object) -> tuple[str, ...]:
    """Linux capabilities, without the prefix CAP_."""
    names = tuple(name.upper().removeprefix("CAP_") for name in parse_names(value))
    for name in names:
        if name not in CAPABILITIES:
            raise Wrong(f"{name!r} is not a capability{suggest(name, CAPABILITIES)}", ", ".join(CAPABILITIES))
    return names


def parse_env(value: object) -> tuple[tuple[str, str], ...]:
    """Environment variables; a number or a flag is written as a shell would expect it."""
    pairs = []
    for name, content in parse_mapping(value).items():
        if not name or "=" in name or "\0" in name:
            raise Wrong(f"{name!r} is not the name of an environment variable", "a name without '='", name)
        if isinstance(content, bool):
            content = str(content).lower()
        if not isinstance(content, (str, int, float)):
            raise Wrong(f"{content!r} is not a text", "a text, a number, true or false", name)
        pairs.append((name, str(content)))
    return tuple(sorted(pairs))


def parse_volumes(value: object) -> tuple[tuple[str, str], ...]:
    """Named volumes and where they are mounted."""
    return tuple(sorted((name, _parse_target(target, name)) for name, target in parse_mapping(value).items()))


def parse_mapping(value: object) -> Mapping[str, object]:
    """A table with texts as keys."""
    if not isinstance(value, Mapping) or not all(isinstance(k, str) for k in value):
        raise Wrong(f"{value!r} is not a table", "a mapping with texts as keys")
    return value


def parse_files(value: object, location: Location) -> tuple[File, ...]:
    """Files for the container; a text is the content, a path (or `{path = ...}`) names a file or folder to copy."""
    return tuple(_parse_file(target, content, location) for target, content in sorted(parse_mapping(value).items()))


def _parse_file(target: str, content: object, location: Location) -> File:
    _parse_target(target, target)
    if isinstance(content, str):
        return File(target=target, text=content)
    if isinstance(content, PurePath):
        return File(target=target, source=absolute(content, location))
    table = known_keys(content, ("text", "path", "mode"), target)
    if ("text" in table) == ("path" in table):
        raise Wrong("needs either text or path", "{text = '...'} or {path = '...'}", target)
    mode = table.get("mode", 0o644)
    if isinstance(mode, str) and re.fullmatch("0?[0-7]{3,4}", mode):
        mode = int(mode, 8)
    if not isinstance(mode, int) or not 0 <= mode <= 0o7777:
        raise Wrong(f"{mode!r} is not a file mode", "such as '0600'", f"{target}.mode")
    if "path" in table:
        return File(target=target, source=absolute(parse_text(table["path"]), location), mode=mode)
    if not isinstance(table["text"], str):
        raise Wrong(f"{table['text']!r} is not a text", "a text", f"{target}.text")
    return File(target=target, text=table["text"], mode=mode)


def _parse_target(target: object, key: str) -> str:
    if not isinstance(target, str) or not target.startswith("/") or target == "/":
        raise Wrong(f"{target!r} is not a path inside the container", "an absolute path such as '/etc/app.conf'", key)
    return target


def parse_build(value: object, location: Location) -> Build:
    """Where a Dockerfile is and how it is built; paths are relative to the file that says so."""
    table = value if isinstance(value, Mapping) else {"context": value}
    known_keys(table, ("context", "dockerfile", "args", "target", "network"))
    if "context" not in table:
        raise Wrong("needs a context", "the folder that holds the Dockerfile", "context")
    context = absolute(parse_text(table["context"]), location)
    dockerfile = str(PurePath(context) / parse_text(table.get("dockerfile", "Dockerfile")))
    optional = {key: parse_text(table[key]) for key in ("target", "network") if table.get(key) is not None}
    return Build(context=context, dockerfile=dockerfile, args=parse_env(table.get("args", {})), **optional)


def absolute(path: str | PurePath, location: Location) -> str:
    """A path that is relative to the declaring file, made absolute."""
    return str(PurePath(location.file).parent / path)


def anchor_files(value: object, location: Location) -> object:
    """The same files, paths made absolute: what another file declares may be merged into them."""
    if not isinstance(value, Mapping):
        return value
    return {target: _anchor(content, location) for target, content in value.items()}


def _anchor(content: object, location: Location) -> object:
    if isinstance(content, PurePath):
        return PurePath(absolute(content, location))
    if isinstance(content, Mapping) and isinstance(content.get("path"), (str, PurePath)):
        return {**content, "path": absolute(content["path"], location)}
    return content


def parse_probes(value: object) -> tuple[Probe, ...]:
    """One probe or a list of them; each is a probe or a table with one of the keys http, tcp, log, command."""
    if isinstance(value, (Tcp, Http, Log, Command)):
        return (_check_probe(value),)
    if isinstance(value, Mapping):
        return (_check_probe(_parse_probe_table(value)),)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return tuple(probe for item in value for probe in parse_probes(item))
    raise Wrong(f"{value!r} is not a probe", _PROBES)


_PROBES = "http('/path'), tcp(), log('pattern'), command('word', ...); in TOML {http = '/path'} and so on; or a list"
_PROBE_KEYS: dict[str, tuple[type[Tcp] | type[Http] | type[Log], str, tuple[str, ...]]] = {
    "tcp": (Tcp, "port", ("port", "send", "expect")),
    "http": (Http, "path", ("path", "port", "status")),
    "log": (Log, "pattern", ("pattern", "times")),
}


def _parse_probe_table(table: Mapping[str, object]) -> Probe:
    if len(table) != 1:
        raise Wrong(f"{dict(table)!r} is not one probe", _PROBES)
    ((kind, value),) = table.items()
    if kind == "command":
        return Command(argv=parse_argv(value))
    if kind not in _PROBE_KEYS:
        raise Wrong(f"{kind!r} is not a kind of probe{suggest(kind, [*_PROBE_KEYS, 'command'])}", _PROBES)
    cls, main, keys = _PROBE_KEYS[kind]
    values = dict(known_keys(value if isinstance(value, Mapping) else {main: value}, keys, kind))
    if isinstance(values.get("send"), str):
        values["send"] = str(values["send"]).encode()
    if kind == "log" and "pattern" not in values:
        raise Wrong("needs a pattern", "a regular expression", "log.pattern")
    return cls(**values)  # type: ignore[arg-type]  # the types are checked by _check_probe, for Python's callers too


def _check_probe(probe: Probe) -> Probe:
    match probe:
        case Tcp(port=port, send=send, expect=expect):
            _check_optional_port(port, "tcp")
            if not isinstance(send, bytes):
                raise Wrong(f"{send!r} is not a byte string", "bytes", "tcp.send")
            if expect is not None:
                _check_pattern(expect, "tcp.expect")
                _check_byte_pattern(expect, "tcp.expect")
        case Http(path=path, port=port, status=status):
            _check_optional_port(port, "http")
            if not isinstance(path, str) or not re.fullmatch("/[!-~]*", path):
                valid = "a text that begins with '/', other characters than ASCII's and spaces written as %20 and so on"
                raise Wrong(f"{path!r} is not a path of a URL", valid, "http.path")
            if status is not None and not (isinstance(status, int) and 100 <= status <= 599):
                raise Wrong(f"{status!r} is not an HTTP status", "a whole number from 100 to 599", "http.status")
        case Log(pattern=pattern, times=times):
            _check_pattern(pattern, "log.pattern")
            if isinstance(times, bool) or not isinstance(times, int) or times < 1:
                raise Wrong(f"{times!r} is not a number of times", "a whole number from 1", "log.times")
        case Command(argv=argv):
            if not argv:
                raise Wrong("the command is empty", "a list of words", "command")
            return Command(argv=parse_argv(argv))
    return probe


def _check_optional_port(port: object, kind: str) -> None:
    if port is not None:
        try:
            parse_port(port)
        except Wrong as wrong:
            raise Wrong(wrong.reason, wrong.valid, f"{kind}.port") from None


def _check_pattern(pattern: object, key: str) -> None:
    if not isinstance(pattern, str):
        raise Wrong(f"{pattern!r} is not a regular expression", "a text", key)
    try:
        re.compile(pattern)
    except re.error as error:
        raise Wrong(f"{pattern!r} is not a regular expression: {error}", "Python's syntax of them", key) from None


def _check_byte_pattern(pattern: str, key: str) -> None:
    """What a server says is matched as bytes, before anything is known about its encoding."""
    try:
        re.compile(pattern.encode("latin-1"))
    except (UnicodeEncodeError, re.error):
        valid = r"one for bytes: ASCII, and other characters as the bytes that are sent, such as '\xc3\xa9'"
        raise Wrong(f"{pattern!r} cannot be matched against bytes", valid, key) from None


def parse_password(value: object) -> str | Secret:
    """A password; where none is set a random one is made for each run."""
    return value if isinstance(value, Secret) else parse_text(value)


def known_keys(value: object, keys: Sequence[str], inside: str = "") -> Mapping[str, object]:
    """The table itself, if it has no other keys than these."""
    table = parse_mapping(value)
    for key in table:
        if key not in keys:
            raise Wrong(f"unknown key {key!r}{suggest(key, keys)}", ", ".join(keys), inside)
    return table


CAPABILITIES = (
    "ALL",
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
)

Parser = Callable[[object], object]
SERVICE_PARSERS: Mapping[str, Parser] = {
    "image": parse_text,
    "port": parse_port,
    "ports": parse_ports,
    "env": parse_env,
    "command": parse_argv,
    "entrypoint": parse_argv,
    "volumes": parse_volumes,
    "ready": parse_probes,
    "timeout": parse_duration,
    "memory": parse_memory,
    "shm_size": parse_size,
    "cpus": parse_cpus,
    "pids": parse_pids,
    "cap_add": parse_capabilities,
    "new_privileges": parse_flag,
    "needs": parse_names,
    "url": parse_text,
    "user": parse_text,
    "password": parse_password,
    "database": parse_text,
    "scope": parse_scope,
    "share": parse_share,
}
LOCATED_PARSERS: Mapping[str, Callable[[object, Location], object]] = {"build": parse_build, "files": parse_files}
SERVICE_KEYS = (*LOCATED_PARSERS, *SERVICE_PARSERS)
MERGED_KEYS = ("env", "files", "volumes")
"""Tables of which a change replaces only the entries that it names; an entry that is None is taken out."""

STACK_PARSERS: Mapping[str, Parser] = {"scope": parse_scope, "share": parse_share}
STACK_KEYS = ("ports", *STACK_PARSERS)
