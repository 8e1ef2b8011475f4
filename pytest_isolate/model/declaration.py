"""A service or stack as a user wrote it, before it is checked: layers of key and value, each with its place."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from pytest_isolate.model.location import Location, caller_location

if TYPE_CHECKING:
    from pytest_isolate.errors import Problem

_PRESET = "preset "
MODULE = "module"
"""The key under which a layer holds a module of testcontainers. No user writes it."""


class Secret(Enum):
    """Stands for a value that is made anew for each run."""

    RANDOM = "random"


class Layer(NamedTuple):
    """Values of one call, table or preset. Later layers win over earlier ones."""

    values: Mapping[str, object]
    location: Location

    @property
    def is_preset(self) -> bool:
        """True for what a preset or a module of testcontainers says, and not its user."""
        return MODULE in self.values or self.location.file.startswith(_PRESET)


class Preset(Struct, frozen=True, kw_only=True):
    """A ready-made service: what `postgres(...)` and its like return."""

    name: str
    layers: tuple[Layer, ...]

    def __str__(self) -> str:
        return self.name


def build_preset(name: str, values: Mapping[str, object], changes: Mapping[str, object]) -> Preset:
    """A preset's values under its user's changes; to be called by the function that the user calls."""
    own = Layer(values=values, location=Location(file=f"{_PRESET}{name}"))
    # Two calls up: this function, the preset's own, its user.
    return Preset(name=name, layers=(own, Layer(values=changes, location=caller_location(2))) if changes else (own,))


class RawService(NamedTuple):
    """A service as written; `bad_base` says what is wrong with its base and what would be right, if it has none."""

    layers: tuple[Layer, ...]
    bad_base: tuple[str, str] | None = None

    @property
    def location(self) -> Location:
        """The last place that says something about it."""
        return self.layers[-1].location

    def changed(self, values: Mapping[str, object], location: Location) -> RawService:
        """The same service with differences."""
        return RawService(layers=(*self.layers, Layer(values=values, location=location)), bad_base=self.bad_base)


class RawStack(NamedTuple):
    """A stack as written: members by name (of whatever type they are), and its own options."""

    members: Mapping[str, object]
    options: Mapping[str, object]
    location: Location
    problems: tuple[Problem, ...] = ()
    """Problems found before it came to members, where these come from elsewhere."""


class RawCompose(NamedTuple):
    """Compose files as named, relative to what declares them, and what is asked of them: it becomes a stack."""

    files: object
    options: Mapping[str, object]
    location: Location


COMPOSE_OPTIONS = (
    "env", "env_file", "profiles", "services", "changes", "unsupported", "allow", "ports", "scope", "share"
)  # fmt: skip


class RawMember(NamedTuple):
    """One service of a stack as written: `stack` is the very declaration of a stack, where it is one."""

    stack: object
    name: object
    location: Location


class RawVariants(NamedTuple):
    """Alternatives as written: for each service a list or a table of them, of whatever type they are."""

    services: Mapping[str, object]
    mode: object
    location: Location


class RawOverride(NamedTuple):
    """A marker as written: what it changes, by service or stack, and what stands in it without a name."""

    values: Mapping[str, object]
    stray: tuple[object, ...]
    location: Location


class RawFresh(NamedTuple):
    """Fresh copies of a service's data as written. `base` is whatever was given; the very declaration of a fixture
    means the service that this fixture hands out."""

    base: object
    options: Mapping[str, object]
    location: Location


Raw = RawService | RawStack | RawCompose | RawMember | RawVariants | RawFresh


class Declared(NamedTuple):
    """A raw declaration, the name it goes by, and the namespace (pytest's base id) that sees it."""

    name: str
    namespace: str
    raw: Raw


_KINDS: Mapping[type, str] = {
    RawService: "a service",
    RawStack: "a stack",
    RawCompose: "a stack of Compose files",
    RawMember: "a service of a stack, which member() has made",
    RawVariants: "what variants() has made",
    RawFresh: "what fresh() has made",
}
_MOST_SHOWN = 300


def in_words(value: object) -> str:
    """A wrong value for an error's text: as it was written, but never what our own records hold, such as passwords."""
    shown = _shown(value)
    return shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}..."


def _shown(value: object) -> str:
    if isinstance(value, Preset):
        return f"the preset {value.name!r}"
    if type(value) in _KINDS:
        location = getattr(value, "location", None) or value.layers[-1].location  # type: ignore[attr-defined]
        return f"{_KINDS[type(value)]} (declared at {location})"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key!r}: {_shown(one)}' for key, one in value.items())}}}"
    if type(value) in (list, tuple):
        shown = ", ".join(map(_shown, value))  # type: ignore[call-overload]
        return f"[{shown}]" if isinstance(value, list) else f"({shown}{',' if len(value) == 1 else ''})"  # type: ignore[arg-type]
    return repr(value)
