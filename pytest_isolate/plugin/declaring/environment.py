"""Environment variables that say where services will be, set before anything of the project is imported.

Settings are read when pytest loads its plugins; services start when tests are collected. What the table `env` names
therefore has its ports, held, and its password before it starts; see docs/decisions/0018.
"""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Iterable, Mapping
from contextlib import closing

import pytest

from pytest_isolate.declarations.graph import build_start_order
from pytest_isolate.declarations.loading import Catalogue, raise_all
from pytest_isolate.declarations.placeholders import Reference, parse_references, render
from pytest_isolate.declarations.references import valid_attributes
from pytest_isolate.engine.api import EngineFacts, PublishAddress
from pytest_isolate.engine.connect import connect, may_be_elsewhere
from pytest_isolate.errors import DeclarationError, EngineError, EngineUnreachable, PlanError, Problem, suggest
from pytest_isolate.model.declaration import Secret
from pytest_isolate.model.endpoint import Endpoint
from pytest_isolate.model.identity import Run
from pytest_isolate.model.location import Location
from pytest_isolate.model.service import Scope, ServiceId, ServiceSpec, StackId
from pytest_isolate.plugin.declaring.configuration import Source
from pytest_isolate.plugin.declaring.toml import Environment, TomlReader
from pytest_isolate.plugin.options import BIND, HOST
from pytest_isolate.plugin.run.early import KNOWN_KEY, EarlyRun, new_run
from pytest_isolate.plugin.service_options import read_run_overrides
from pytest_isolate.running.containers.running import run_password
from pytest_isolate.running.containers.view import ServiceView
from pytest_isolate.running.instances.external import endpoints_of
from pytest_isolate.running.network.addresses import choose_publish_address, reserve_ports
from pytest_isolate.running.network.ports import HeldPorts

# Set beside the variables, for the workers of the run: they inherit all of them.
_SET_FOR = "PYTEST_ISOLATE_ENV_OF"
# Facts that are others within the service's network than for the tests.
_OUTSIDE_ONLY = ("host", "port", "address", "url")


def set_environment(config: pytest.Config, source: Source) -> None:
    """Set the variables that the project's TOML names until pytest ends; in a worker they are inherited."""
    if "PYTEST_XDIST_WORKER" in os.environ and os.environ.get(_SET_FOR) == str(config.rootpath):
        return
    try:
        options = config.known_args_namespace
        environment = TomlReader(source).read_environment(read_run_overrides(config, options))
        if environment.texts:
            _set(config, environment, _find_reach(BIND.read(config, options), HOST.read(config, options)))
    except (DeclarationError, EngineError) as error:
        raise pytest.UsageError(str(error).replace(f"{config.rootpath}{os.sep}", "")) from None


def check_known(catalogue: Catalogue, known: Iterable[str], *, is_reused: bool) -> None:
    """PlanError for a service that is not at one address, known already, for all tests."""
    varied = {axis.service for group in catalogue.groups for axis in group.axes}
    for name in known:
        service_id = ServiceId(StackId(""), name)
        spec = catalogue.services[service_id]
        if spec.scope is not Scope.SESSION or spec.share != "run":
            found = f"its scope is {spec.scope.word!r} and its share {spec.share!r}, so it is at several addresses"
        elif varied & {service_id, *build_start_order([service_id], catalogue.dependencies)}:
            found = "it has variants, or needs what has some, so it is at several addresses"
        elif is_reused:
            found = "with --isolate-reuse it is where an earlier run has started it"
        else:
            continue
        raise PlanError(
            f"the environment variables of the table env cannot say where {name!r} is",
            found=found,
            do="take it out of the table, and hand its address to the tests by its fixture",
        )


def _find_reach(bind: str, host: str) -> PublishAddress:
    """Address of published ports. An engine is asked only where it need not be on this host."""
    facts = EngineFacts(name="", version="", address="", is_local=True)
    if may_be_elsewhere(os.environ):
        try:
            with closing(connect(os.environ)) as engine:
                facts = engine.facts()
        except EngineUnreachable:
            pass  # a run that needs it will say so, and one that does not goes on without
    return choose_publish_address(facts, bind, host)


def _set(config: pytest.Config, environment: Environment, reach: PublishAddress) -> None:
    named = _check(environment)
    run, rng = new_run(), random.Random(secrets.randbits(64))
    held = {name: reserve_ports(spec.ports, reach, rng) for name, spec in named.items() if not spec.external}
    views = {name: _view(spec, run, held.get(name)) for name, spec in named.items()}

    def look_up(reference: Reference) -> str:
        view, attribute = views[reference.service], reference.attribute
        if attribute not in _OUTSIDE_ONLY:
            return view.attribute(attribute)
        return view.url(view.outside) if attribute == "url" else str(getattr(view.outside, attribute))

    changes = {name: render(text, look_up) for name, text in environment.texts.items()}
    before = {name: os.environ.get(name) for name in (*changes, _SET_FOR)}
    os.environ.update({**changes, _SET_FOR: str(config.rootpath)})
    config.stash[KNOWN_KEY] = EarlyRun(run=run, ports={name: ports.by_inner for name, ports in held.items()})
    config.add_cleanup(lambda: _restore(before, held.values()))


def _restore(before: Mapping[str, str | None], held: Iterable[HeldPorts]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    for ports in held:
        ports.release()


def _check(environment: Environment) -> dict[str, ServiceSpec]:
    """The services that are named; DeclarationError for what is no service, or has no such attribute."""
    services = {key.name: spec for key, spec in environment.catalogue.services.items() if not key.stack.name}
    references = [(key, found) for key, text in environment.texts.items() for found in parse_references(text)]
    raise_all(
        problem
        for key, reference in references
        if (problem := _problem(key, reference, services, environment.location)) is not None
    )
    return {reference.service: services[reference.service] for _, reference in references}


def _problem(key: str, reference: Reference, services: Mapping[str, ServiceSpec], location: Location) -> Problem | None:
    if reference.service not in services:
        reason = f"unknown service {reference.service!r} in {reference}{suggest(reference.service, list(services))}"
        valid = f"{', '.join(sorted(services)) or 'none'}: services of this file, since no other is known so early"
    else:
        spec = services[reference.service]
        allowed = [name for name in valid_attributes(spec, own=False) if not name.startswith("env.") and spec.ports]
        if reference.attribute in allowed:
            return None
        reason = f"unknown placeholder {reference}{suggest(reference.attribute, allowed)}"
        valid = ", ".join(allowed) or "none: this service has no port"
    return Problem(place=str(location), subject=f"env.{key}", reason=reason, valid=valid)


def _view(spec: ServiceSpec, run: Run, ports: HeldPorts | None) -> ServiceView:
    """View of a service before it starts; complete for one that runs already, which has no held ports."""
    service_id = ServiceId(StackId(""), spec.name)
    password = run_password(run, service_id) if isinstance(spec.password, Secret) else spec.password
    endpoints = {inner: Endpoint(ports.host, outer) for inner, outer in ports.by_inner.items()} if ports else {}
    if spec.external:
        endpoints = endpoints_of(spec, spec.external)
    return ServiceView(spec=spec, password=password, endpoints=endpoints)
