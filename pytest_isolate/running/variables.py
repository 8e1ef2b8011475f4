"""A running service as environment variables, for programs that are started by hand. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping

from pytest_isolate.model.service import ServiceId
from pytest_isolate.running.containers.view import View


def variables_of(service: ServiceId, view: View, *, qualified: bool) -> dict[str, str]:
    """`DB_HOST`, `DB_URL` and so on, in a stack `HR_DB_HOST`; qualified, with the folder that declares it before it."""
    words = [service.stack.namespace if qualified else "", service.stack.name, service.name]
    prefix = re.sub(r"\W+", "_", "_".join(filter(None, words))).strip("_").upper()
    found: dict[str, str | None] = {}
    if view.spec.ports:
        outside = view.outside
        found = {"HOST": outside.host, "PORT": str(outside.port), "ADDRESS": outside.address, "URL": view.url(outside)}
        found |= {f"PORT_{inner}": str(e.port) for inner, e in view.endpoints.items() if inner != view.spec.ports[0]}
    found |= {"USER": view.spec.user, "PASSWORD": view.password, "DATABASE": view.spec.database}
    return {f"{prefix}_{name}": value for name, value in found.items() if value is not None}


def ambiguous(services: Iterable[ServiceId]) -> frozenset[ServiceId]:
    """Those whose name another folder's service has too."""
    by_name: dict[str, list[ServiceId]] = {}
    for service in services:
        by_name.setdefault(str(service), []).append(service)
    return frozenset(service for same in by_name.values() if len(same) > 1 for service in same)


def as_env_file(variables: Mapping[str, str]) -> str:
    """The text of a file that a shell can read with `.`, and what reads .env files too."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
