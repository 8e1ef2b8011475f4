"""Variables of the table env: checked, filled in, and set until pytest ends.

Also without services: a settings module that reads them is imported by every run, and by `pytest-isolate up`. Each that
the user has not set has a stand-in then, of the right form, at an address where nothing answers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import pytest

from pytest_isolate.declarations.loading import raise_all
from pytest_isolate.declarations.placeholders import Reference, parse_references, render
from pytest_isolate.declarations.references import valid_attributes
from pytest_isolate.declarations.run_options import RunOverrides
from pytest_isolate.errors import DeclarationError, Problem, suggest
from pytest_isolate.model.declaration import Secret
from pytest_isolate.model.endpoint import Endpoint
from pytest_isolate.model.location import Location
from pytest_isolate.model.service import ServiceSpec
from pytest_isolate.plugin.declaring.process_variables import change_variables
from pytest_isolate.plugin.declaring.toml import Environment, TomlReader
from pytest_isolate.running.containers.view import ServiceView

# Always the same, so that what is built on it does not differ from run to run. A program that would listen there needs
# the rights of root, and none does (IANA: tcpmux).
_NOWHERE = Endpoint("127.0.0.1", 1)
_NO_PASSWORD = "not-started"  # noqa: S105  # stands where a random one will
# Facts that are others within the service's network than for the tests.
_OUTSIDE_ONLY = ("host", "port", "address", "url")


def set_stand_ins(config: pytest.Config, reader: TomlReader) -> None:
    """Set, until pytest ends, those variables of the table that are not set, to what leads nowhere."""
    try:
        # What does not concern the variables, such as a missing file, is told when services are wanted.
        environment = reader.read_environment(RunOverrides(), exists=lambda _: True)
        changes = fill_in(environment, {name: _stand_in(spec) for name, spec in named_services(environment).items()})
    except DeclarationError as error:
        raise usage_error(config, error) from None
    change_variables(config, {name: value for name, value in changes.items() if name not in os.environ})


def named_services(environment: Environment) -> dict[str, ServiceSpec]:
    """The services that are named; DeclarationError for what is no service, or has no such attribute."""
    services = {key.name: spec for key, spec in environment.catalogue.services.items() if not key.stack.name}
    references = [(key, found) for key, text in environment.texts.items() for found in parse_references(text)]
    raise_all(
        problem
        for key, reference in references
        if (problem := _problem(key, reference, services, environment.location)) is not None
    )
    return {reference.service: services[reference.service] for _, reference in references}


def fill_in(environment: Environment, views: Mapping[str, ServiceView]) -> dict[str, str]:
    """The variables, with the services as these views show them to tests."""

    def look_up(reference: Reference) -> str:
        view, attribute = views[reference.service], reference.attribute
        if attribute not in _OUTSIDE_ONLY:
            return view.attribute(attribute)
        return view.url(view.outside) if attribute == "url" else str(getattr(view.outside, attribute))

    return {name: render(text, look_up) for name, text in environment.texts.items()}


def usage_error(config: pytest.Config, error: Exception) -> pytest.UsageError:
    """The error as the end of pytest; paths in it begin at the root folder."""
    return pytest.UsageError(str(error).replace(f"{config.rootpath}{os.sep}", ""))


def _stand_in(spec: ServiceSpec) -> ServiceView:
    password = _NO_PASSWORD if isinstance(spec.password, Secret) else spec.password
    return ServiceView(spec=spec, password=password, endpoints=dict.fromkeys(spec.ports, _NOWHERE))


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
