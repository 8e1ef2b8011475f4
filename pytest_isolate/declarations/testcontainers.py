"""Modules of testcontainers, read as if their users had written the keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pytest_isolate.declarations.values import InvalidValue
from pytest_isolate.errors import Problem
from pytest_isolate.model.declaration import MODULE
from pytest_isolate.model.service import ServiceSpec
from pytest_isolate.model.testcontainers import Module

_SAVED_DO = "leave snapshot= out; presets such as postgres() start from a saved state"


def unfold(values: Mapping[str, object]) -> Mapping[str, object]:
    """The keys of a layer, those that its module stands for included."""
    module = values.get(MODULE)
    return {**module.rehearse().values, **values} if isinstance(module, Module) else values


def check_module(spec: ServiceSpec, place: str) -> Iterable[Problem]:
    """Find what of a service's module cannot be honoured."""
    if spec.module is None:
        return
    for reason, do in spec.module.rehearse().refusals:
        yield InvalidValue(f"{spec.module.name}: {reason}", hint=do).at(place, spec.name)
    if spec.snapshot:
        # Its wait may be for lines that only a first start writes, and what it does then may not be done twice.
        reason = f"the first start of {spec.module.name} cannot be saved: it is waited for in a way of its own"
        yield InvalidValue(reason, hint=_SAVED_DO).at(place, spec.name, "snapshot")
