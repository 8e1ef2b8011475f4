"""Plain values of a declaration: any value in, the checked one out, or `InvalidValue` with what would be right."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath

from pytest_isolate.errors import Problem, suggest
from pytest_isolate.model.declaration import Secret, in_words
from pytest_isolate.model.endpoint import Port, find_wrong_port, parse_udp_port
from pytest_isolate.model.service import SCOPES, UNLIMITED, Scope, Unlimited


class InvalidValue(ValueError):
    """A value that cannot be used; `key` is the part below the parsed key, where it is a part."""

    def __init__(self, reason: str, valid: str = "", key: str = "", *, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.valid = valid
        self.key = key
        self.hint = hint

    def within(self, key: str) -> InvalidValue:
        """The same, found in a part of the parsed key."""
        return InvalidValue(self.reason, self.valid, ".".join(filter(None, (key, self.key))), hint=self.hint)

    def at(self, place: object, *names: str) -> Problem:
        """A problem to report, with its place and the names that lead to it."""
        subject = ".".join(filter(None, (*names, self.key)))
        return Problem(place=str(place), subject=subject, reason=self.reason, valid=self.valid, hint=self.hint)


def is_generator(function: object) -> bool:
    """True where a call would run nothing of it, as with a function that yields."""
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


PULL_MISSING, PULL_ALWAYS, PULL_NEVER = PULLS = ("missing", "always", "never")
_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(?:/v\d+)?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([bkmg]?)(?:i?b)?", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_DURATION = re.compile(rf"({_NUMBER.pattern})(ns|us|µs|ms|s|m|h|d|w)")
_UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86_400.0,
    "w": 604_800.0,
}
_SIZES = "a number of bytes, or a text such as '256m' or '1.5g'"
# The engines refuse to start a container below this (Docker 20.10: 6 MiB).
_SMALLEST_MEMORY = 6 * 1024**2


def parse_text(value: object) -> str:
    """A text that is not empty."""
    if isinstance(value, PurePath):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise InvalidValue(f"{in_words(value)} is not a text", "a text that is not empty")
    return value


def parse_word(value: object, words: Iterable[str], what: str) -> str:
    """One of these words; `what` says what any other one is not."""
    known = tuple(words)
    if not isinstance(value, str) or value not in known:
        raise InvalidValue(f"{in_words(value)} {what}{suggest(value, known)}", ", ".join(known))
    return value


def parse_pull(value: object) -> str:
    """When an image is fetched from its registry."""
    return parse_word(value, PULLS, "does not say when to pull")


def parse_platform(value: object) -> str:
    """A system and a kind of processor, as registries name them."""
    if not isinstance(value, str) or not _PLATFORM.fullmatch(value):
        raise InvalidValue(f"{in_words(value)} is not a platform", "such as linux/amd64, linux/arm64 or linux/arm/v7")
    return value


def parse_flag(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise InvalidValue(f"{in_words(value)} is neither true nor false", "true, false")
    return value


def parse_port(value: object) -> int:
    """A port number of TCP."""
    if wrong := find_wrong_port(value):
        raise InvalidValue(*wrong)
    assert isinstance(value, int)
    return value


def parse_ports(value: object) -> tuple[Port, ...]:
    """Ports without repetition; the first one of TCP is the main one."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise InvalidValue(
            f"{in_words(value)} is not a list of ports", "a list such as [25, 143]; ports='native' belongs to a stack"
        )
    return tuple(dict.fromkeys(map(_parse_port_of_list, value)))


def _parse_port_of_list(value: object) -> Port:
    if udp := parse_udp_port(value):
        return udp
    if find_wrong_port(value):
        valid = 'a whole number from 1 to 65535, or one of UDP such as "8125/udp"'
        raise InvalidValue(f"{value!r} is not a port", valid)
    assert isinstance(value, int)
    return value


def parse_size(value: object) -> int:
    """A number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    size = int(float(match[1]) * _UNITS[match[2].lower()]) if match else 0
    if size <= 0:
        raise InvalidValue(f"{in_words(value)} is not a size", _SIZES)
    return size


def parse_memory(value: object) -> int | Unlimited:
    """A number of bytes that an engine can honour, or no limit."""
    if value == UNLIMITED.value:
        return UNLIMITED
    size = parse_size(value)
    if size < _SMALLEST_MEMORY:
        raise InvalidValue(
            f"{in_words(value)} is less than a container can start with (6 MiB)", f"{_SIZES}; or 'unlimited'"
        )
    return size


def parse_pids(value: object) -> int | Unlimited:
    """A number of processes, or no limit."""
    if value == UNLIMITED.value:
        return UNLIMITED
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidValue(f"{in_words(value)} is not a number of processes", "a whole number from 1, or 'unlimited'")
    return value


def parse_cpus(value: object) -> float:
    """A share of processors, such as 0.5."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0.01:
        raise InvalidValue(f"{in_words(value)} is not a share of processors", "a number from 0.01, such as 0.5 or 2")
    return float(value)


def parse_duration(value: object) -> float:
    """Seconds."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0:
        return float(value)
    text = re.sub(r"\s+(?=[a-z])", "", value.strip().lower()) if isinstance(value, str) else ""
    seconds = float(text) if _NUMBER.fullmatch(text) else read_seconds(text)
    if not seconds:
        raise InvalidValue(
            f"{in_words(value)} is not a duration", "a number of seconds, or a text such as '500ms', '30s' or '2m'"
        )
    return seconds


def read_seconds(text: str) -> float | None:
    """The seconds of a text such as `30s`, `500ms` or `1m30s`; None for what is no duration."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def parse_scope(value: object) -> Scope:
    """One of pytest's scopes."""
    return SCOPES[parse_word(value, sorted(SCOPES, key=SCOPES.__getitem__), "is not a scope")]


def parse_argv(value: object) -> tuple[str, ...]:
    """The words of a command."""
    if isinstance(value, str):
        raise InvalidValue(f"{in_words(value)} is one text", "a list of words; for a shell: ['sh', '-c', '...']")
    words = value if isinstance(value, Sequence) and not isinstance(value, bytes) else None
    if words is None or not all(isinstance(word, (str, int, float)) for word in words):
        raise InvalidValue(f"{in_words(value)} is not a command", "a list of words")
    return tuple(map(str, words))


def parse_names(value: object) -> tuple[str, ...]:
    """A list of names."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or not all(isinstance(v, str) for v in value):
        raise InvalidValue(f"{in_words(value)} is not a list of names", "a list of texts")
    return tuple(value)


def parse_capabilities(value: object) -> tuple[str, ...]:
    """Linux capabilities, without the prefix CAP_."""
    names = tuple(name.upper().removeprefix("CAP_") for name in parse_names(value))
    for name in names:
        if name not in CAPABILITIES:
            raise InvalidValue(f"{name!r} is not a capability{suggest(name, CAPABILITIES)}", ", ".join(CAPABILITIES))
    return names


def parse_password(value: object) -> str | Secret:
    """A password; where none is set a random one is made for each run."""
    return value if isinstance(value, Secret) else parse_text(value)


def parse_mapping(value: object) -> Mapping[str, object]:
    """A table with texts as keys."""
    if not isinstance(value, Mapping) or not all(isinstance(k, str) for k in value):
        raise InvalidValue(f"{in_words(value)} is not a table", "a mapping with texts as keys")
    return value


def known_keys(value: object, keys: Sequence[str], inside: str = "") -> Mapping[str, object]:
    """The table itself, if it has no other keys than these."""
    table = parse_mapping(value)
    for key in table:
        if key not in keys:
            raise unknown_key(key, keys).within(inside)
    return table


def unknown_key(key: str, keys: Iterable[str]) -> InvalidValue:
    """A key that is none of these."""
    known = tuple(keys)
    return InvalidValue(f"unknown key {key!r}{suggest(key, known)}", ", ".join(known))


_CAPABILITIES = """
ALL AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH
FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN
NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT
SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM
"""
CAPABILITIES = tuple(_CAPABILITIES.split())
