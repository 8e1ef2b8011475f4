"""Placeholders filled in: how a service is seen from its network and from the test side. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from msgspec import Struct
from msgspec.structs import replace

from pytest_isolate.declarations.placeholders import SELF, Reference, render
from pytest_isolate.errors import IsolateError, build_message
from pytest_isolate.model.endpoint import Endpoint, Port, parse_udp_port
from pytest_isolate.model.probes import Http
from pytest_isolate.model.service import File, ServiceId, ServiceSpec, host_name


def variables_of(service: ServiceId, view: ServiceView, *, qualified: bool) -> dict[str, str]:
    """`DB_HOST`, `DB_URL` and so on, in a stack `HR_DB_HOST`; qualified, with the folder that declares it before it."""
    words = [service.stack.namespace if qualified else "", service.stack.name, service.name]
    prefix = re.sub(r"\W+", "_", "_".join(filter(None, words))).strip("_").upper()
    found: dict[str, str | None] = {}
    if view.spec.ports:
        outside = view.outside
        found = {"HOST": outside.host, "PORT": str(outside.port), "ADDRESS": outside.address, "URL": view.url(outside)}
    elif view.endpoints:
        found = {"HOST": view.host}
    others = {inner: endpoint for inner, endpoint in view.endpoints.items() if inner not in view.spec.ports[:1]}
    found |= {f"PORT_{inner}".replace("/", "_").upper(): str(endpoint.port) for inner, endpoint in others.items()}
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


class ServiceView(Struct, frozen=True, kw_only=True):
    """A service's facts once its ports and password are known; the last four are what its container is given."""

    spec: ServiceSpec
    password: str | None
    endpoints: Mapping[Port, Endpoint] = {}
    env: Mapping[str, str] = {}
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    files: tuple[File, ...] = ()

    @property
    def inside_host(self) -> str:
        """The name under which its neighbours on the network find it; what runs elsewhere keeps its own."""
        used = self.spec.external
        if used and not used.is_loopback:
            return used.host
        name = host_name(self.spec.name)
        return name if name in self.spec.container.aliases else self.spec.name

    @property
    def inside(self) -> Endpoint:
        """The endpoint for its neighbours on the network."""
        used = self.spec.external
        return Endpoint(self.inside_host, used.port if used else self.spec.ports[0])

    @property
    def outside(self) -> Endpoint:
        """The endpoint for tests."""
        return self.endpoints[self.spec.ports[0]]

    @property
    def host(self) -> str:
        """The address for tests. It has some port."""
        return next(iter(self.endpoints.values())).host

    def published(self, inner: Port, name: str, do: str) -> Endpoint:
        """Return where the tests find one of its ports; IsolateError for one that is not declared."""
        try:
            return self.endpoints[parse_udp_port(inner) or inner]
        except KeyError:
            declared = ", ".join(map(str, (*self.spec.ports, *self.spec.udp_ports))) or "none"
            what = f"service {name!r} publishes no port {inner}"
            raise IsolateError(build_message(what, found=f"declared ports: {declared}", do=do)) from None

    def url(self, endpoint: Endpoint) -> str:
        """The service's url at an endpoint."""
        if self.spec.external:
            return self.spec.external.at(endpoint)
        template = self.spec.url or default_url(self.spec)
        words = {"user": self.spec.user, "password": self.password, "database": self.spec.database}
        quoted = {key: quote(value or "", safe="") for key, value in words.items()}
        return template.format(host=endpoint.host, port=endpoint.port, **quoted)

    def attribute(self, name: str) -> str:  # noqa: PLR0911  # one line for each attribute
        """The value of `{service.name}`; the declaration was checked to have it."""
        match name.split("."):
            case ["host"]:
                return self.inside_host
            case ["port"]:
                return str(self.inside.port)
            case ["address"]:
                return self.inside.address
            case ["url"]:
                return self.url(self.inside)
            case ["password"]:
                return self.password or ""
            case ["user" | "database"]:
                return getattr(self.spec, name) or ""
            case ["env", *variable]:
                return self.env[".".join(variable)]
            case ["external_host"]:
                return self.outside.host
            case ["external_port"]:
                return str(self.outside.port)
            case ["external_port", port]:
                return str(self.endpoints[int(port)].port)
            case ["external_address"]:
                return self.outside.address
        raise KeyError(name)


def render_spec(own: ServiceView, others: Mapping[str, ServiceView]) -> ServiceView:
    """Return a service's view with every placeholder filled in, from itself and the views of what it needs."""

    def look_up(reference: Reference) -> str:
        view = own if reference.service == SELF else others[reference.service]
        return view.attribute(reference.attribute)

    def fill(text: str) -> str:
        return render(text, look_up)

    spec = own.spec
    return replace(
        own,
        env={name: fill(text) for name, text in spec.env},
        command=None if spec.command is None else tuple(map(fill, spec.command)),
        entrypoint=None if spec.entrypoint is None else tuple(map(fill, spec.entrypoint)),
        files=tuple(f if f.text is None else replace(f, text=fill(f.text)) for f in spec.files),
    )


def default_url(spec: ServiceSpec) -> str:
    """The url template of a service that declares none."""
    scheme = "http" if any(isinstance(probe, Http) for probe in spec.ready) else "tcp"
    return f"{scheme}://{{host}}:{{port}}"
