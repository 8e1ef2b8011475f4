"""Health checks and the conditions of `depends_on`, as probes, deadlines and needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pytest_isolate.compose_files.context import ServiceContext
from pytest_isolate.compose_files.findings import keys
from pytest_isolate.compose_files.network import translate_ports
from pytest_isolate.compose_files.nodes import (
    Node,
    NodeError,
    flag_of,
    items_of,
    seconds_of,
    table_of,
    text_of,
    whole_number_of,
)
from pytest_isolate.model.probes import Command, Ended, Log, Tcp

_CONDITIONS = ("service_started", "service_healthy", "service_completed_successfully")
_CHECK_KEYS = keys("test interval timeout retries start_period start_interval disable")
_NEED_KEYS = keys("condition required restart")
# What Docker takes where a file says nothing.
_INTERVAL_S, _RETRIES = 30.0, 3
_LEAST_S = 60.0


def translate_healthcheck(node: Node, around: ServiceContext) -> dict[str, object]:
    """The check as a probe; without a test of its own, only how long the image's own may take.

    Probes are asked much more often than a health check, and until it would have failed for good.
    """
    table = table_of(node)
    around.findings.check_keys(table, _CHECK_KEYS)
    disable, test = node.get("disable"), node.get("test")
    words = [text_of(item) for item in items_of(test)] if test is not None else []
    if words == ["NONE"] or (disable is not None and flag_of(disable)):
        return {"ready": _without_check(around)}
    limit: dict[str, object] = {"timeout": max(_LEAST_S, _deadline_s(node))}
    if test is None:
        return limit
    return {"ready": Command(argv=_argv(words, test)), **limit}


def _argv(words: list[str], test: Node) -> tuple[str, ...]:
    match words:
        case ["CMD", _, *_]:
            return tuple(words[1:])
        case ["CMD-SHELL", text]:
            return ("/bin/sh", "-c", text)
    raise NodeError(
        test, f"{words!r} is not a health check", "a text, or a list that begins with CMD, CMD-SHELL or NONE"
    )


def _without_check(around: ServiceContext) -> list[Tcp | Log]:
    """What is asked where the image's own check must not be: each port, or nothing that it could fail."""
    ports = translate_ports(around)["ports"]
    assert isinstance(ports, list)
    return [Tcp(port=port) for port in ports] or [Log(pattern="")]


def _deadline_s(node: Node) -> float:
    """How long Docker would wait at most before it called the service unhealthy."""
    given = {key: found for key in ("interval", "timeout", "start_period") if (found := node.get(key)) is not None}
    interval, timeout, start = (
        seconds_of(given[key]) if key in given else default
        for key, default in (("interval", _INTERVAL_S), ("timeout", _INTERVAL_S), ("start_period", 0.0))
    )
    retries = node.get("retries")
    return start + (whole_number_of(retries) if retries is not None else _RETRIES) * interval + timeout


def translate_needs(around: ServiceContext) -> dict[str, object]:
    """Every service that must be ready first."""
    needs: dict[str, None] = {}
    for name, _, node in _dependencies(around.node):
        required = node.get("required") if isinstance(node.value, Mapping) else None
        if required is not None and not flag_of(required) and name not in around.services:
            continue
        with around.findings.collecting():
            needs[around.member(name, node)] = None
    links = around.node.get("links")
    for item in items_of(links) if links is not None else ():
        with around.findings.collecting():
            needs[around.member(text_of(item).partition(":")[0], item)] = None
    return {"needs": list(needs)} if needs else {}


def needed_names(service: Node) -> list[str]:
    """The services that must be there first, as the file names them."""
    links = service.get("links")
    linked = [text_of(item).partition(":")[0] for item in (items_of(links) if links is not None else ())]
    return [*(name for name, _, _ in _dependencies(service)), *linked]


def check_needs(around: ServiceContext) -> None:
    """Note what is wrong with the conditions."""
    for _, condition, node in _dependencies(around.node):
        with around.findings.collecting():
            around.findings.check_keys(table_of(node), _NEED_KEYS)
            if condition not in _CONDITIONS:
                raise NodeError(node, f"{condition!r} is not a condition", ", ".join(_CONDITIONS))


def _dependencies(service: Node) -> Iterable[tuple[str, str, Node]]:
    """Each service that another one depends on, on which condition, and where it says so."""
    depends_on = service.get("depends_on")
    for name, node in table_of(depends_on).items() if depends_on is not None else ():
        condition = node.get("condition")
        yield name, text_of(condition) if condition is not None else "service_started", node


def find_finite(services: Mapping[str, Node]) -> frozenset[str]:
    """The services that have to end before another one may start."""
    found = ((name, condition) for service in services.values() for name, condition, _ in _dependencies(service))
    return frozenset(name for name, condition in found if condition == "service_completed_successfully")


def readiness_of_finite() -> dict[str, object]:
    """The key of a service that has to end."""
    return {"ready": Ended()}
