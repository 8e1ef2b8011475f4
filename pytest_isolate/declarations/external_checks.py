"""Checks of services that run already, before anything starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pytest_isolate.declarations.loading import Catalogue
from pytest_isolate.declarations.values import InvalidValue
from pytest_isolate.declarations.variants import Group, copies_of
from pytest_isolate.errors import Problem, suggest
from pytest_isolate.model.declaration import Layer
from pytest_isolate.model.fresh import COPY_METHODS
from pytest_isolate.model.probes import Command
from pytest_isolate.model.reset import Pristine
from pytest_isolate.model.service import ServiceId, ServiceSpec


def check_used(catalogue: Catalogue, strict: Iterable[str]) -> Iterator[Problem]:
    """Find what is wrong with them. Only a name that a `strict` way of giving them names has to exist."""
    names = sorted(map(str, catalogue.services))
    for name, used in catalogue.run_overrides.external.items():
        if name not in names and used.given_by in strict:
            reason = f"unknown service {name!r}{suggest(name, names)}"
            valid = ", ".join(names) or "none is declared for these tests"
            yield InvalidValue(reason, valid).at(used.given_by, name)
    for service, spec in catalogue.services.items():
        if spec.external:
            yield from _check_one(service, spec, catalogue)


def refuse_change(service: ServiceId, spec: ServiceSpec, layers: Sequence[Layer]) -> Iterator[Problem]:
    """A marker that changes a service which runs already."""
    if spec.external and any(layer.values for layer in layers):
        reason = f"runs already (given by {spec.external.given_by}), so it cannot be changed for a test"
        hint = "leave these tests out, or run them without it"
        yield InvalidValue(reason, hint=hint).at(layers[-1].location, f"isolate({service})")


def _check_one(service: ServiceId, spec: ServiceSpec, catalogue: Catalogue) -> Iterator[Problem]:
    assert spec.external
    given_by, location = spec.external.given_by, spec.location
    if not spec.ports:
        wrong = InvalidValue("its URL has no port, and the service declares none", hint="add :PORT")
        yield wrong.at(given_by, str(service))
    is_copied_here = spec.copies is not None and COPY_METHODS[spec.copies].is_for_external
    for copied in (fresh for fresh in catalogue.fresh.values() if fresh.base == service and not is_copied_here):
        reason = f"runs already, and {copied.name!r} makes fresh copies of its data, which takes a server of ours"
        yield InvalidValue(reason, hint=f"it is declared at {copied.location}").at(given_by, str(service))
    if isinstance(spec.reset, (Pristine, Command)):
        what = "reset=True would replace its data" if isinstance(spec.reset, Pristine) else "its reset= is run inside"
        hint = f"reset=http(...) or a function work over the network; it is declared at {location}"
        reason = f"runs already, and {what}, which takes a server of ours"
        yield InvalidValue(reason, hint=hint).at(given_by, str(service))
    for group in catalogue.groups:
        yield from _check_variants(service, given_by, group, catalogue)


def _check_variants(service: ServiceId, given_by: str, group: Group, catalogue: Catalogue) -> Iterator[Problem]:
    for axis in group.axes:
        if service in copies_of(axis.service, catalogue.raws) and len(axis.alternatives) > 1:
            names = [alternative.name for alternative in axis.alternatives]
            reason = f"has variants ({', '.join(names)}), and what runs already is one of them at most"
            hint = f"say which one it is: --isolate-variant={axis.service.name}={names[0]}"
            yield InvalidValue(reason, hint=hint).at(given_by, str(service))
