"""A slow network: when each packet goes on its way, if it does. Pure, but for chance."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from random import Random

from msgspec import Struct

from pytest_isolate.errors import IsolateError, build_message

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)bit(?:/s)?", re.IGNORECASE)
_RATE_UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s)", re.IGNORECASE)
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")

_VALID_DURATION = "seconds from 0, or a text such as '100ms' or '1.5s'"
_VALID_LOSS = "a fraction from 0 to 1, or a text such as '5%'"
_VALID_RATE = "a text such as '512kbit' or '1mbit'"


class Impairment(Struct, frozen=True, kw_only=True):
    """Delay and loss of the packets that a service sends."""

    latency_s: float = 0
    jitter_s: float = 0
    loss: float = 0
    rate_bits: float | None = None


def parse_impairment(latency: object, jitter: object, loss: object, rate: object) -> Impairment:
    """Return what slow() was asked for; IsolateError where a value is wrong, or nothing would be slow."""
    impairment = Impairment(
        latency_s=_parse("latency", latency, _VALID_DURATION, _seconds),
        jitter_s=_parse("jitter", jitter, _VALID_DURATION, _seconds),
        loss=_parse("loss", loss, _VALID_LOSS, _fraction),
        rate_bits=None if rate is None else _parse("rate", rate, _VALID_RATE, _bits),
    )
    if impairment == Impairment():
        raise IsolateError(build_message("slow() was given nothing to slow down by", do="slow(latency='100ms')"))
    if impairment.jitter_s > impairment.latency_s:
        raise IsolateError(
            build_message(
                f"jitter={jitter!r} is more than latency={latency!r}",
                found="a packet would have to arrive before it is sent",
                do="latency is the mean: each packet takes from latency - jitter to latency + jitter",
            )
        )
    return impairment


class LinkModel:
    """One way through a slow network: packets stay in their order, as on one line."""

    def __init__(self, impairment: Impairment, random: Random) -> None:
        self._impairment = impairment
        self._random = random
        self._free_at = -math.inf
        self._last_at = -math.inf

    def leave_at(self, now: float, size_bytes: int) -> float | None:
        """When a packet that is sent now arrives at the other end; None where it is lost."""
        asked = self._impairment
        sent_at = now
        if asked.rate_bits:
            sent_at = self._free_at = max(now, self._free_at) + size_bytes * 8 / asked.rate_bits
        if self._random.random() < asked.loss:
            return None
        arrives_at = sent_at + asked.latency_s + self._random.uniform(-asked.jitter_s, asked.jitter_s)
        # Out of order, they would be taken for lost, which is another fault.
        self._last_at = max(self._last_at, arrives_at)
        return self._last_at


def _parse(name: str, value: object, valid: str, read: Callable[[object], float | None]) -> float:
    number = None if isinstance(value, bool) else read(value)
    if number is None:
        raise IsolateError(build_message(f"slow({name}={value!r}) cannot be understood", valid=valid))
    return number


def _seconds(value: object) -> float | None:
    if isinstance(value, (int, float)):
        return float(value) if math.isfinite(value) and value >= 0 else None
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    return float(match[1]) * _SECONDS[match[2].lower()] if match else None


def _fraction(value: object) -> float | None:
    if isinstance(value, str):
        match = _PERCENT.fullmatch(value.strip())
        value = float(match[1]) / 100 if match else None
    return float(value) if isinstance(value, (int, float)) and 0 <= value <= 1 else None


def _bits(value: object) -> float | None:
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    return float(match[1]) * _RATE_UNITS[match[2].lower()] or None if match else None
