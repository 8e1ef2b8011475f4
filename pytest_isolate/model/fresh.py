"""A fixture that hands out fresh copies of a shared service's data, as declared, checked and complete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from pytest_isolate.model.location import Location
from pytest_isolate.model.scope import Scope
from pytest_isolate.model.service import ServiceId

WAYS = ("postgres", "mariadb", "redis")
"""The ways of copying a service's data within it, as its key `copies` names them."""


class InitFiles(Struct, frozen=True, kw_only=True):
    """A file of SQL, or a folder of such files, on the test side. The path is absolute."""

    path: str


class InitCommand(Struct, frozen=True, kw_only=True):
    """A command inside the container."""

    argv: tuple[str, ...]


class InitFunction(Struct, frozen=True, kw_only=True):
    """A function of the user's, called with the handle of the database that is being prepared."""

    function: Callable[[Any], object]


Init = InitFiles | InitCommand | InitFunction


class FreshSpec(Struct, frozen=True, kw_only=True):
    """Copies of a base service's data, initialised once for each content. `key` stands for the content where given."""

    name: str
    base: ServiceId
    init: Init | None = None
    key: str | None = None
    scope: Scope = Scope.FUNCTION
    location: Location
