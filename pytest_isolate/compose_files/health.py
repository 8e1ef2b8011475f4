"""Readiness of services: health checks, known images, and the conditions of `depends_on`, as probes and needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pytest_isolate.compose_files.context import ServiceContext
from pytest_isolate.compose_files.findings import keys
from pytest_isolate.compose_files.images.known_images import find_known
from pytest_isolate.compose_files.network import published_ports, translate_ports
from pytest_isolate.compose_files.nodes import (
    Node,
    NodeError,
    entries_of,
    flag_of,
    items_of,
    seconds_of,
    table_of,
    text_of,
    whole_number_of,
)
from pytest_isolate.model.probes import Command, Ended, Ports, Probe, Tcp
from pytest_isolate.model.service import OF_SERVICE

_CONDITIONS = ("service_started", "service_healthy", "service_completed_successfully")
_CHECK_KEYS = keys("test interval timeout retries start_period start_interval disable")
_SHARING = ("network_mode", "pid", "ipc")
_NEED_KEYS = keys("condition required restart")
# Values of Docker where a file says nothing, or 0.
_INTERVAL_S, _RETRIES = 30.0, 3
_LEAST_S = 60.0


def translate_readiness(around: ServiceContext) -> dict[str, object]:
    """Translate what a service has to answer before it is ready, and how long that may take.

    A database image runs a temporary server while it initialises, to which a check inside the container says yes. So a
    known server is asked over the network too, in its own protocol; of any other service the ports are asked, unless
    they may be those of others on its network, which start later.
    """
    check = around.node.get("healthcheck")
    is_shared = _has_guests(around)
    ports = [] if is_shared else list(published_ports(around))
    known = find_known(around.node, ports)
    inner = translate_ports(around)["ports"]
    assert isinstance(inner, list)
    network: list[Probe] = []
    if known is not None:
        network = [known, *([Ports(ports=tuple(ports))] if len(ports) > 1 else [])]
    elif is_shared:
        network = [Ports(ports=())]
    added: dict[str, object] = {} if known is None or known.port in inner else {"ports": [*inner, known.port]}
    if check is None:
        # Without any check the image's own one counts, or else every port.
        return {"ready": network, **added} if network else {}
    return {**_with_check(check, network, around), **added}


def _has_guests(around: ServiceContext) -> bool:
    """Return true if other services have the network of this one."""
    container = around.node.get("container_name")
    names = {f"{OF_SERVICE}{around.name}", *([f"container:{container.value}"] if container is not None else [])}
    modes = (other.get("network_mode") for other in around.services.values())
    return any(mode is not None and mode.value in names for mode in modes)


def _with_check(node: Node, network: list[Probe], around: ServiceContext) -> dict[str, object]:
    around.findings.check_keys(table_of(node), _CHECK_KEYS)
    disable, test = node.get("disable"), node.get("test")
    words = [text_of(item) for item in items_of(test)] if test is not None else []
    if words == ["NONE"] or (disable is not None and flag_of(disable)):
        return {"ready": network or _without_check(around)}
    # Probes are asked much more often than a health check, and until that would have failed for good.
    limit: dict[str, object] = {"timeout": max(_LEAST_S, _deadline_s(node))}
    if test is None or not words:
        return limit
    return {"ready": [Command(argv=_argv(words, test)), *network], **limit}


def _argv(words: list[str], test: Node) -> tuple[str, ...]:
    match words:
        case ["CMD", _, *_]:
            return tuple(words[1:])
        case ["CMD-SHELL", _, *_]:
            # A shell takes further words as its arguments, and so does Docker.
            return ("/bin/sh", "-c", *words[1:])
    raise NodeError(
        test, f"{words!r} is not a health check", "a text, or a list that begins with CMD, CMD-SHELL or NONE"
    )


def _without_check(around: ServiceContext) -> list[Probe]:
    """Each exposed port where the image's own check must not be asked, or nothing that it could fail."""
    ports = translate_ports(around)["ports"]
    assert isinstance(ports, list)
    return [Tcp(port=port) for port in ports] or [Ports(ports=())]


def _deadline_s(node: Node) -> float:
    """The time after which Docker would call the service unhealthy."""
    interval, timeout, start = (
        seconds_of(found) if (found := node.get(key)) is not None else 0.0
        for key in ("interval", "timeout", "start_period")
    )
    retries = node.get("retries")
    count = whole_number_of(retries) if retries is not None else 0
    return start + (count or _RETRIES) * (interval or _INTERVAL_S) + (timeout or _INTERVAL_S)


def translate_needs(around: ServiceContext) -> dict[str, object]:
    """Collect the services that must be ready first."""
    needs: dict[str, None] = {}
    for name, _, node in _dependencies(around.node):
        required = node.get("required") if isinstance(node.value, Mapping) else None
        if required is not None and not flag_of(required) and name not in around.services:
            continue
        if around.has_no_copies(name):
            around.findings.note(node, f"is left out: the service {name!r} has no copies")
            continue
        with around.findings.collecting():
            needs[around.member(name, node)] = None
    for item in entries_of(around.node, "links"):
        with around.findings.collecting():
            needs[around.member(text_of(item).partition(":")[0], item)] = None
    return {"needs": list(needs)} if needs else {}


def needed_names(service: Node) -> list[str]:
    """Return the services that must be there first, as the file names them."""
    linked = [text_of(item).partition(":")[0] for item in entries_of(service, "links")]
    mounted = [text_of(item).partition(":")[0] for item in entries_of(service, "volumes_from")]
    modes = [text_of(found) for key in _SHARING if (found := service.get(key)) is not None]
    shared = [mode.removeprefix(OF_SERVICE) for mode in modes if mode.startswith(OF_SERVICE)]
    return [*(name for name, _, _ in _dependencies(service)), *linked, *mounted, *shared]


def check_needs(around: ServiceContext) -> None:
    """Refuse what is wrong with the conditions."""
    for _, condition, node in _dependencies(around.node):
        with around.findings.collecting():
            around.findings.check_keys(table_of(node), _NEED_KEYS)
            if condition not in _CONDITIONS:
                raise NodeError(node, f"{condition!r} is not a condition", ", ".join(_CONDITIONS))


def _dependencies(service: Node) -> Iterable[tuple[str, str, Node]]:
    """Yield each service that another one depends on, its condition, and where it says so."""
    depends_on = service.get("depends_on")
    for name, node in table_of(depends_on).items() if depends_on is not None else ():
        condition = node.get("condition")
        yield name, text_of(condition) if condition is not None else "service_started", node


def find_finite(services: Mapping[str, Node]) -> frozenset[str]:
    """Find the services that have to end before another one may start."""
    found = ((name, condition) for service in services.values() for name, condition, _ in _dependencies(service))
    return frozenset(name for name, condition in found if condition == "service_completed_successfully")


def readiness_of_finite() -> dict[str, object]:
    """Return the key of a service that has to end."""
    return {"ready": Ended()}
