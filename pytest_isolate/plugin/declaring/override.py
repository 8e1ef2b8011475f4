"""override(): the marker `isolate`, in a form that type checkers know."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, TypedDict

import pytest

from pytest_isolate.model.location import caller_location
from pytest_isolate.model.probes import Command, Http, Probe
from pytest_isolate.plugin.declaring.fixtures import MARKER

_Plain = str | int | float | bool


class ServiceChanges(TypedDict, total=False):
    """Changes of a service for a test: every key of `service()` but `scope` and `share`; None takes one out."""

    image: str | None
    build: str | PathLike[str] | Mapping[str, object] | None
    pull: str | None
    platform: str | None
    port: int | None
    ports: Sequence[int] | None
    env: Mapping[str, _Plain | None] | None
    command: Sequence[str] | None
    entrypoint: Sequence[str] | None
    files: Mapping[str, str | PathLike[str] | Mapping[str, object] | None] | None
    volumes: Mapping[str, str | None] | None
    snapshot: str | Sequence[str] | None
    in_memory: str | Sequence[str] | None
    ready: Probe | Sequence[Probe] | None
    timeout: str | float | None
    memory: str | int | None
    shm_size: str | int | None
    cpus: float | None
    pids: str | int | None
    cap_add: Sequence[str] | None
    new_privileges: bool | None
    container: Mapping[str, object] | None
    needs: Sequence[str] | None
    url: str | None
    user: str | None
    password: str | None
    database: str | None
    copies: str | None
    reset: bool | Command | Http | Mapping[str, object] | Callable[[Any], object] | None


def override(**services: ServiceChanges | Mapping[str, ServiceChanges]) -> pytest.MarkDecorator:
    """A decorator for tests and classes, or a module's `pytestmark`, that changes services for these tests.

    `override(auth={"env": {"REALM": "lab"}})` changes a service, `override(hr={"auth": {...}})` one of a stack. It is
    the same as `pytest.mark.isolate(...)`, and mistakes are reported with its own file and line.
    """
    marker: pytest.MarkDecorator = getattr(pytest.mark, MARKER)
    return marker.with_args(caller_location(1), **services)
