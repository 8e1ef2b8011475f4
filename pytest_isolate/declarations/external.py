"""A service that runs already, from its URL, in place of one that would be started. Pure."""

from __future__ import annotations

from urllib.parse import SplitResult, unquote, urlsplit

from msgspec.structs import replace

from pytest_isolate.declarations.keys import KEYS, leave_out
from pytest_isolate.declarations.placeholders import SELF, parse_references
from pytest_isolate.declarations.values import InvalidValue
from pytest_isolate.model.declaration import Secret
from pytest_isolate.model.endpoint import ExternalService
from pytest_isolate.model.service import ContainerSettings, ServiceSpec

_VALID = "NAME=URL, such as db=postgresql://user:password@127.0.0.1:5432/app"
# Of schemes that services of their own kind leave out the port.
_PORTS = {"http": 80, "https": 443}
_OF_CONTAINERS = tuple(key for key in KEYS.values() if key.shapes_container)


def parse_used(text: str, given_by: str) -> tuple[str, ExternalService]:
    """The service's name and where it runs. No error repeats the URL: it may hold a password."""
    name, _, url = text.strip().partition("=")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidValue("its URL cannot be read", _VALID, name) from None
    if not (name and parts.scheme and parts.hostname):
        raise InvalidValue("names no service, or no URL with a scheme and a host", _VALID, name if url else "")
    found = port or _PORTS.get(parts.scheme, 0)
    return name, ExternalService(url=url, host=parts.hostname, port=found, given_by=given_by)


def use(spec: ServiceSpec, used: ExternalService) -> ServiceSpec:
    """The service as what runs already is seen: with what its URL says, without all that a container is given."""
    port = used.port or (spec.ports[0] if spec.ports else 0)
    parts = urlsplit(used.url)
    return replace(
        leave_out(spec, _OF_CONTAINERS),
        external=replace(used, port=port),
        ports=spec.ports or ((port,) if port else ()),
        user=unquote(parts.username) if parts.username else spec.user,
        password=_find_password(spec, parts),
        database=_find_database(spec, parts),
        # What it says of itself is true of the running one as far as its URL tells.
        env=tuple((name, text) for name, text in spec.env if all(r.service == SELF for r in parse_references(text))),
        # By the names that it would have on its network, others find it too.
        container=ContainerSettings(aliases=spec.container.aliases),
        module=None,
    )


def _find_password(spec: ServiceSpec, parts: SplitResult) -> str | None:
    if parts.password is not None:
        return unquote(parts.password)
    # A random one would be the password of no server; empty, it can still be named in a placeholder.
    return "" if isinstance(spec.password, Secret) else spec.password


def _find_database(spec: ServiceSpec, parts: SplitResult) -> str | None:
    path = unquote(parts.path.removeprefix("/"))
    has_one = spec.database is not None or "{database}" in (spec.url or "")
    return path if path and has_one else spec.database
