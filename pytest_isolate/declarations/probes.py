"""The key `ready` of a declaration: probes from Python's functions or from tables, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_isolate.declarations.values import InvalidValue, is_generator, known_keys, parse_argv
from pytest_isolate.errors import suggest
from pytest_isolate.model.declaration import in_words
from pytest_isolate.model.probes import PROBES, Command, Http, Probe
from pytest_isolate.model.service import Pristine, Reset, ResetFunction

_RESETS = (
    "true, command('word', ...), http('/path'), or a function of one argument, async or not; in TOML "
    "{command = ['word', ...]} or {http = '/path'}"
)
_VALID = f"{', '.join(probe.example for probe in PROBES.values())}; in TOML {{http = '/path'}} and so on; or a list"


def parse_reset(value: object) -> Reset | None:
    """Parse `reset`; None for no reset."""
    if isinstance(value, bool):
        return Pristine() if value else None
    if isinstance(value, (Mapping, Probe)):
        (call,) = parse_probes(value)
        if isinstance(call, (Command, Http)):
            return call
        raise InvalidValue(f"{call.word}() asks a service something and changes nothing", _RESETS)
    if callable(value) and not is_generator(value):
        return ResetFunction(function=value)
    raise InvalidValue(f"{in_words(value)} cannot reset a service", _RESETS)


def parse_probes(value: object) -> tuple[Probe, ...]:
    """One probe or a list of them; each is a probe, or a table with its name as the only key."""
    if isinstance(value, Probe):
        return (_checked(value),)
    if isinstance(value, Mapping):
        return (_checked(_parse_table(value)),)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return tuple(probe for item in value for probe in parse_probes(item))
    raise InvalidValue(f"{in_words(value)} is not a probe", _VALID)


def _parse_table(table: Mapping[str, object]) -> Probe:
    if len(table) != 1:
        raise InvalidValue(f"{dict(table)!r} is not one probe", _VALID)
    ((word, value),) = table.items()
    probe = PROBES.get(word)
    if probe is None or not (probe.main or value is True):
        raise InvalidValue(f"{word!r} is not a kind of probe{suggest(word, [*PROBES])}", _VALID)
    values = {probe.main: value} if probe.main else {}
    if probe.keys and isinstance(value, Mapping):
        values = dict(known_keys(value, probe.keys, word))
    if probe.required and probe.main not in values:
        raise InvalidValue(f"needs a {probe.main}", probe.required, f"{word}.{probe.main}")
    return probe(**values).with_texts_encoded()


def _checked(probe: Probe) -> Probe:
    if isinstance(probe, Command):
        probe = Command(argv=parse_argv(probe.argv))
    for reason, valid, key in probe.find_wrong():
        raise InvalidValue(reason, valid, key).within(probe.word)
    return probe
