"""Services that run already: asked whether they answer, handed out, and shown to containers. Never changed."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import NoReturn

from pytest_isolate.engine.api import Engine, ExecResult
from pytest_isolate.errors import NotReadyError, StartError, UsedServiceError
from pytest_isolate.model.endpoint import Endpoint, ExternalService
from pytest_isolate.model.identity import Run
from pytest_isolate.model.probes import Answer, NotYet, Probe, Tcp
from pytest_isolate.model.service import Pairs, ServiceSpec
from pytest_isolate.planning.placement import Instance
from pytest_isolate.running.clock import Clock
from pytest_isolate.running.containers.handle import Service
from pytest_isolate.running.containers.running import RunningInstance, describe_instance
from pytest_isolate.running.containers.view import ServiceView
from pytest_isolate.running.readiness import probing
from pytest_isolate.running.readiness.loop import wait_until_ready
from pytest_isolate.text import redact

# What runs already need not be waited for as what starts; but it may be on its way up, in CI above all.
MOST_S = 10.0
_CONNECT_S = 1.0
_TLS_SCHEMES = ("https", "rediss", "valkeys", "amqps", "mqtts", "ldaps", "wss")
HOST_GATEWAY = "host-gateway"
"""Stands for the engine's host in a container's table of names (Docker 20.10)."""


def endpoints_of(spec: ServiceSpec, used: ExternalService) -> dict[int, Endpoint]:
    """Where tests find its ports: the main one where its URL says, the others at their own numbers beside it."""
    main, *others = spec.ports
    return {main: used.endpoint, **{port: Endpoint(used.host, port) for port in others}}


def probes_of(spec: ServiceSpec) -> tuple[Probe, ...]:
    """The probes that can be asked from outside; a connection to its main port where there is none.

    They speak without TLS, so of a service that is reached with it no more can be asked.
    """
    outside = tuple(probe for probe in spec.ready if probe.needs_port)
    is_tls = spec.external is not None and spec.external.url.partition("://")[0] in _TLS_SCHEMES
    return outside if outside and not is_tls else (Tcp(port=spec.ports[0]),)


def wait_until_it_answers(
    running: RunningInstance, engine: Engine, run: Run, clock: Clock, raise_if_closing: Callable[[], None]
) -> None:
    """Return when its probes are answered; NotReadyError says who gave it, and what it said."""
    spec, endpoints = running.spec, dict(running.view.endpoints)
    assert spec.external
    target = probing.Target(container_id="", endpoints=endpoints, main_port=spec.ports[0], started_at=0)

    def ask(probe: Probe) -> Answer:
        raise_if_closing()
        return probing.ask(probe, target, engine)

    outcome = wait_until_ready(
        probes_of(spec),
        ask=ask,
        died=threading.Event(),
        read_exit=lambda: None,
        clock=clock,
        timeout_s=min(spec.timeout_s, MOST_S),
    )
    if isinstance(outcome.answer, NotYet):
        assert outcome.probe
        at = target.endpoint(outcome.probe.port).address
        raise NotReadyError(
            describe_instance(running.instance, run),
            f"does not answer at {at}",
            tried=f"{outcome.probe} at {at}, {outcome.asked} times in {outcome.waited_s:.1f} s",
            found=f"last answer: {redact(outcome.answer.reason, running.secrets)}",
            do=[
                f"start it, or see whether its URL is right: {spec.external}",
                f"without {spec.external.given_by} it is started here; it is declared at {spec.location}",
            ],
        )


def hosts_of(needed: Mapping[str, RunningInstance]) -> Pairs:
    """Names that a container has to know, with their addresses: of services that are not on its network."""
    hosts: dict[str, str] = {}
    for alias, running in needed.items():
        used = running.spec.external
        if used is None:
            continue
        address = HOST_GATEWAY if used.is_loopback else resolve(used.host)
        hosts |= dict.fromkeys([alias, *running.spec.container.aliases], address)
        if not used.is_loopback and not _is_address(used.host):
            # Whatever finds it here, such as a table of names in CI, a container does not have.
            hosts[used.host] = address
    return tuple(hosts.items())


def check_same_host(running: RunningInstance, engine: Engine, run: Run) -> None:
    """StartError for a server on this host's loopback whose clients would run on another one."""
    facts, used = engine.facts(), running.spec.external
    if used and used.is_loopback and not facts.is_local:
        raise StartError(
            describe_instance(running.instance, run),
            "cannot be copied from here: the clients that do it run where the engine is",
            tried=f"{used.endpoint.address}, an address of this host",
            found=f"the engine at {facts.address} is on another one",
            do="give it by an address that the engine's host reaches",
        )


def check_reachable(instance: Instance, needed: Mapping[str, RunningInstance], engine: Engine, run: Run) -> None:
    """StartError for what listens on the loopback of this host only: a container has a loopback of its own."""
    for alias, running in needed.items():
        used = running.spec.external
        if used is None or not used.is_loopback:
            continue
        found = _why_unreachable(used, engine)
        if found:
            raise StartError(
                describe_instance(instance, run),
                f"needs {alias!r}, which its container cannot reach",
                tried=f"{alias} is given by {used.given_by} at {used.endpoint.address}, an address of this host",
                found=found,
                do=[
                    "have it listen on all addresses of this host, or give it by an address that containers reach",
                    f"{alias} is declared at {running.spec.location}",
                ],
            )


def _why_unreachable(used: ExternalService, engine: Engine) -> str:
    facts = engine.facts()
    if not facts.is_local:
        return f"the engine at {facts.address} is on another host"
    gateway = engine.host_address()
    if not gateway:
        return ""  # it cannot be known from here, so it is tried
    try:
        socket.create_connection((gateway, used.port), timeout=_CONNECT_S).close()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return f"{gateway}:{used.port}, which is this host for containers, says: {reason}"
    return ""


def resolve(host: str) -> str:
    """The address that tests reach a host at."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    addresses = sorted({(family != socket.AF_INET, str(place[0])) for family, _, _, _, place in found})
    return addresses[0][1]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class ExternalHandle(Service):
    """A service that runs already. It can be connected to; what takes a container of ours is an error."""

    def __init__(self, view: ServiceView, engine: Engine) -> None:
        assert view.spec.external
        super().__init__(
            view,
            engine=engine,
            image="",
            container_id="",
            hold_data=self._refuse,
            start_again=self._refuse,
            faults=None,  # type: ignore[arg-type]  # every method that has to do with them is refused
        )
        self._used = view.spec.external

    def __repr__(self) -> str:
        return f"<Service {self.name!r} (given by {self._used.given_by}) at {self.address}>"

    def logs(self) -> str:
        """Refused."""
        self._refuse("its log cannot be read")

    def exec(self, *argv: str, check: bool = False) -> ExecResult:
        """Refused."""
        self._refuse("no command can be run inside")

    def stop(self, timeout_s: int = 10) -> None:
        """Refused."""
        self._refuse("it cannot be stopped")

    def start(self) -> None:
        """Refused."""
        self._refuse("it cannot be started")

    def restart(self, timeout_s: int = 10) -> None:
        """Refused."""
        self._refuse("it cannot be restarted")

    def kill(self) -> None:
        """Refused."""
        self._refuse("it cannot be killed")

    def pause(self) -> None:
        """Refused."""
        self._refuse("it cannot be paused")

    def unpause(self) -> None:
        """Refused."""
        self._refuse("it cannot be paused")

    def paused(self) -> AbstractContextManager[None]:
        """Refused."""
        self._refuse("it cannot be paused")

    def stopped(self, timeout_s: int = 10) -> AbstractContextManager[None]:
        """Refused."""
        self._refuse("it cannot be stopped")

    def killed(self) -> AbstractContextManager[None]:
        """Refused."""
        self._refuse("it cannot be killed")

    def disconnected(self) -> AbstractContextManager[None]:
        """Refused."""
        self._refuse("it cannot be cut off")

    def slow(
        self,
        *,
        latency: float | str = 0,
        jitter: float | str = 0,
        loss: float | str = 0,
        rate: str | None = None,
    ) -> AbstractContextManager[None]:
        """Refused."""
        self._refuse("its network cannot be made slow")

    def _refuse(self, what: str = "it cannot be changed") -> NoReturn:
        raise UsedServiceError(self.name, what, self._used.given_by)
