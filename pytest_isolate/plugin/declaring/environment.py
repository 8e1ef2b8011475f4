"""Environment variables that say where services will be, with --isolate: set before the project is imported.

Settings are read when pytest loads its plugins; services start when tests are collected. What the table `env` names
therefore has its ports, held, and its password before it starts; see docs/decisions/0018.
"""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Iterable, Sequence
from contextlib import closing

import pytest

from pytest_isolate.declarations.graph import build_start_order
from pytest_isolate.declarations.loading import Catalogue
from pytest_isolate.engine.api import EngineFacts, PublishAddress
from pytest_isolate.engine.connect import connect, may_be_elsewhere
from pytest_isolate.errors import DeclarationError, EngineError, EngineUnreachable, PlanError
from pytest_isolate.model.declaration import Secret
from pytest_isolate.model.endpoint import Endpoint, Port
from pytest_isolate.model.identity import Run
from pytest_isolate.model.service import Scope, ServiceId, ServiceSpec, StackId
from pytest_isolate.plugin.declaring.process_variables import change_variables
from pytest_isolate.plugin.declaring.stand_ins import fill_in, named_services, usage_error
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


def set_environment(config: pytest.Config, reader: TomlReader) -> None:
    """Set the variables that the project's TOML names until pytest ends; in a worker they are inherited."""
    if "PYTEST_XDIST_WORKER" in os.environ and os.environ.get(_SET_FOR) == str(config.rootpath):
        return
    try:
        options = config.known_args_namespace
        environment = reader.read_environment(read_run_overrides(config, options), os.path.exists)
        if environment.texts:
            names = sorted(name for name, spec in named_services(environment).items() if not spec.external)
            _set(config, environment, _find_reach(BIND.read(config, options), HOST.read(config, options), names))
    except (DeclarationError, EngineError) as error:
        raise usage_error(config, error) from None


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


def _find_reach(bind: str, host: str, names: Sequence[str]) -> PublishAddress:
    """Address of published ports. An engine is asked only where it need not be on this host."""
    facts = EngineFacts(name="", version="", address="", is_local=True)
    if may_be_elsewhere(os.environ):
        try:
            with closing(connect(os.environ)) as engine:
                facts = engine.facts()
        except EngineUnreachable:
            pass  # a run that needs it will say so, and one that does not goes on without
    if names and (facts.gives_addresses or facts.has_addresses):
        raise EngineError(
            f"the environment variables of the table env cannot say where {', '.join(map(repr, names))} will be",
            found=f"{facts.name} {facts.version} gives services addresses of their own when they start",
            do="take it out of the table, and hand its address to the tests by its fixture",
        )
    return choose_publish_address(facts, bind, host)


def _set(config: pytest.Config, environment: Environment, reach: PublishAddress) -> None:
    named = named_services(environment)
    run, rng = new_run(), random.Random(secrets.randbits(64))
    held = {name: reserve_ports(spec.ports, reach, rng) for name, spec in named.items() if not spec.external}
    changes = fill_in(environment, {name: _view(spec, run, held.get(name)) for name, spec in named.items()})
    config.stash[KNOWN_KEY] = EarlyRun(run=run, ports={name: ports.by_inner for name, ports in held.items()})

    def release() -> None:
        for ports in held.values():
            ports.release()

    change_variables(config, {**changes, _SET_FOR: str(config.rootpath)}, release)


def _view(spec: ServiceSpec, run: Run, ports: HeldPorts | None) -> ServiceView:
    """View of a service before it starts; complete for one that runs already, which has no held ports."""
    service_id = ServiceId(StackId(""), spec.name)
    password = run_password(run, service_id) if isinstance(spec.password, Secret) else spec.password
    endpoints: dict[Port, Endpoint] = {}
    if ports:
        endpoints = {inner: Endpoint(ports.host, outer) for inner, outer in ports.by_inner.items()}
    if spec.external:
        endpoints = endpoints_of(spec, spec.external)
    return ServiceView(spec=spec, password=password, endpoints=endpoints)
