"""The key `reset` of a declaration: how a service is brought back to a clean state, checked."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_isolate.model.probes import Command, Ended, Http, Log, Tcp
from pytest_isolate.model.reset import Pristine, Reset, ResetFunction
from pytest_isolate.declarations.probes import parse_probes
from pytest_isolate.declarations.values import Wrong, is_generator

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
    raise Wrong(f"{value!r} cannot reset a service", _RESETS)


def _parse_call(value: object) -> Reset:
    (call,) = parse_probes(value)
    if isinstance(call, (Command, Http)):
        return call
    raise Wrong(f"{type(call).__name__.lower()}() asks a service something and changes nothing", _RESETS)
