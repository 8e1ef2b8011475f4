"""service() and stack(): declarations that are pytest fixtures. Nothing is checked here, so nothing can fail here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from pytest_isolate.model.declaration import Layer, Preset, RawService, RawStack, caller_location
from pytest_isolate.model.scope import SCOPES
from pytest_isolate.model.service import Location
from pytest_isolate.plugin.fixtures import DECLARATION, hand_out

_STACK_OPTIONS = ("ports", "scope", "share")


def service(base: object = None, /, **changes: object) -> Any:
    """A fixture whose value is a running `Service`, alone in its container.

    `base` is a preset such as `postgres("16")`, an image's name, or another service, which is then copied with changes.
    docs/declaring.md lists every key. What is wrong is reported at the start of the run, all at once.
    """
    return make_fixture(build_raw(base, changes, caller_location(1)))


def stack(**members: object) -> Any:
    """A fixture whose value is a `Stack`: services on one private network that find each other by their plain names.

    `ports="native"` gives the stack a loopback address of its own (Linux), on which every service answers at its own
    port; `scope` and `share` hold for all its services.
    """
    location = caller_location(1)
    options = {key: members.pop(key) for key in _STACK_OPTIONS if key in members}
    raw = {name: _as_raw(member, location) for name, member in members.items()}
    return make_fixture(RawStack(members=raw, options=options, location=location))


def build_raw(base: object, changes: Mapping[str, object], location: Location) -> RawService:
    """A base and what is changed about it."""
    own = Layer(values=changes, location=location)
    if base is None:
        return RawService(layers=(own,))
    if isinstance(base, str):
        return RawService(layers=(Layer(values={"image": base}, location=location), own))
    raw = _as_raw(base, location)
    if isinstance(raw, RawService):
        return RawService(layers=(*raw.layers, own), bad_base=raw.bad_base)
    valid = "a preset such as postgres('16'), an image's name, or another service"
    return RawService(layers=(own,), bad_base=(f"{base!r} cannot be the base of a service", valid))


def _as_raw(value: object, location: Location) -> object:
    """The raw declaration behind a fixture or a preset; anything else as it is, for the loader to refuse."""
    if isinstance(value, Preset):
        return RawService(layers=(*value.layers, Layer(values={}, location=location)))
    return getattr(value, DECLARATION, value)


def make_fixture(raw: RawService | RawStack) -> Any:
    """The fixture that hands out what is declared."""

    def isolated(request: pytest.FixtureRequest) -> object:
        return hand_out(request)

    setattr(isolated, DECLARATION, raw)
    isolated.__doc__ = describe(raw)
    decorate: Callable[[Any], Any] = pytest.fixture(scope=_scope_word(raw))
    return decorate(isolated)


def describe(raw: RawService | RawStack) -> str:
    """One line for `pytest --fixtures`."""
    if isinstance(raw, RawStack):
        return f"Stack of {', '.join(raw.members)}, each in a container (declared at {raw.location})."
    image = next((layer.values["image"] for layer in reversed(raw.layers) if "image" in layer.values), "a built image")
    return f"Service in a container: {image} (declared at {raw.location})."


def _scope_word(raw: RawService | RawStack) -> Any:
    """The scope for pytest; one that is none is reported by the loader, so any will do until then."""
    tables = [raw.options] if isinstance(raw, RawStack) else [layer.values for layer in reversed(raw.layers)]
    word = next((table["scope"] for table in tables if "scope" in table), "session")
    return word if isinstance(word, str) and word in SCOPES else "session"
