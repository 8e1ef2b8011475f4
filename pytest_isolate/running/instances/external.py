"""Services that run already: asked whether they answer, handed out, and shown to containers. Never changed."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping, Sequence

from pytest_isolate.engine.api import Engine, ImageFacts
from pytest_isolate.errors import NotReadyError, StartError, UsedServiceError
from pytest_isolate.model.declaration import Secret
from pytest_isolate.model.endpoint import Endpoint, ExternalService, Port, split_port
from pytest_isolate.model.probes import Answer, NotYet, Probe, Tcp
from pytest_isolate.model.service import ServiceSpec
from pytest_isolate.planning.placement import Instance
from pytest_isolate.running.containers.controls import Refusing
from pytest_isolate.running.containers.handle import Service
from pytest_isolate.running.containers.running import (
    InstanceObserver,
    RunningInstance,
    build_view,
    collect_secrets,
    describe_instance,
    full_fingerprint,
)
from pytest_isolate.running.containers.view import ServiceView
from pytest_isolate.running.context import RunContext
from pytest_isolate.running.instances.budget import StartGate
from pytest_isolate.running.instances.client_containers import ClientContainers
from pytest_isolate.running.ownership.domains import SharingDomain
from pytest_isolate.running.readiness import probing
from pytest_isolate.running.readiness.loop import wait_until_ready
from pytest_isolate.text import redact

# What runs already need not be waited for as what starts; but it may be on its way up, in CI above all.
MOST_S = 10.0
_CONNECT_S = 1.0
_TLS_SCHEMES = ("https", "rediss", "valkeys", "amqps", "mqtts", "ldaps", "wss")


def endpoints_of(spec: ServiceSpec, used: ExternalService) -> dict[Port, Endpoint]:
    """Endpoints of its ports: the main one where its URL says, the others at their own numbers beside it."""
    others: tuple[Port, ...] = (*spec.ports[1:], *spec.udp_ports)
    return {spec.ports[0]: used.endpoint, **{port: Endpoint(used.host, split_port(port)[0]) for port in others}}


def probes_of(spec: ServiceSpec) -> tuple[Probe, ...]:
    """The probes that can be asked from outside; a connection to its main port where there is none."""
    # Probes speak without TLS: of a service that is reached with it no more than a connection can be asked.
    outside = tuple(probe for probe in spec.ready if probe.needs_port)
    is_tls = spec.external is not None and spec.external.url.partition("://")[0] in _TLS_SCHEMES
    return outside if outside and not is_tls else (Tcp(port=spec.ports[0]),)


class ExternalServices:
    """Attaches this process to services that run already: each process sees for itself, and makes its own copies."""

    def __init__(
        self,
        context: RunContext,
        domain: SharingDomain,
        client_containers: ClientContainers,
        gate: StartGate,
        observers: Sequence[InstanceObserver],
    ) -> None:
        self._context = context
        self._domain = domain
        self._client_containers = client_containers
        self._gate = gate
        self._observers = observers

    def attach(self, instance: Instance) -> RunningInstance:
        """Return the service, once it answers."""
        image, used = ImageFacts(image_id=""), instance.spec.external
        assert used
        assert not isinstance(instance.spec.password, Secret)
        view = build_view(instance.spec, instance.spec.password, {}, endpoints_of(instance.spec, used))
        running = RunningInstance(
            instance=instance,
            domain=self._domain,
            image=image,
            fingerprint=full_fingerprint(instance, image, {}, is_kept=False),
            view=view,
            started_at=self._context.clock.time(),
            secrets=collect_secrets(view, {}),
        )
        with self._context.timeline.measure("used", str(instance.key.service)):
            wait_until_it_answers(running, self._context, self._gate.raise_if_closing)
        running = self._client_containers.attach(running)
        for observer in self._observers:
            observer.ready(running)
        return running


def wait_until_it_answers(running: RunningInstance, context: RunContext, raise_if_closing: Callable[[], None]) -> None:
    """Return when its probes are answered; NotReadyError says who gave it, and what it said."""
    spec, endpoints = running.spec, dict(running.view.endpoints)
    assert spec.external
    target = probing.Target(container_id="", endpoints=endpoints, main_port=spec.ports[0])

    def ask(probe: Probe) -> Answer:
        raise_if_closing()
        return probing.ask(probe, target, context.engine)

    outcome = wait_until_ready(
        probes_of(spec),
        ask=ask,
        died=threading.Event(),
        read_exit=lambda: None,
        clock=context.clock,
        timeout_s=min(spec.timeout_s, MOST_S),
    )
    if isinstance(outcome.answer, NotYet):
        assert outcome.probe
        at = target.endpoint(outcome.probe.port).address
        raise NotReadyError(
            describe_instance(running.instance, context.run),
            f"does not answer at {at}",
            tried=f"{outcome.probe} at {at}, {outcome.asked} times in {outcome.waited_s:.1f} s",
            found=f"last answer: {redact(outcome.answer.reason, running.secrets)}",
            do=[
                f"start it, or see whether its URL is right: {spec.external}",
                f"without {spec.external.given_by} it is started here; it is declared at {spec.location}",
            ],
        )


def check_reachable(instance: Instance, needed: Mapping[str, RunningInstance], context: RunContext) -> None:
    """StartError for what listens on the loopback of this host only: a container has a loopback of its own."""
    for alias, running in needed.items():
        used = running.spec.external
        if used is None or not used.is_loopback:
            continue
        found = _why_unreachable(used, context.engine)
        if found:
            raise StartError(
                describe_instance(instance, context.run),
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
    # A virtual machine has its own way to this host's loopback, which cannot be seen from here.
    gateway = "" if facts.is_forwarded else engine.host_address()
    if not gateway:
        return ""  # it cannot be known from here, so it is tried
    try:
        socket.create_connection((gateway, used.port), timeout=_CONNECT_S).close()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return f"{gateway}:{used.port}, which is this host for containers, says: {reason}"
    return ""


REFUSALS = {
    "logs": "its log cannot be read",
    "exec": "no command can be run inside",
    "stop": "it cannot be stopped",
    "start": "it cannot be started",
    "restart": "it cannot be restarted",
    "kill": "it cannot be killed",
    "pause": "it cannot be paused",
    "unpause": "it cannot be paused",
    "paused": "it cannot be paused",
    "stopped": "it cannot be stopped",
    "killed": "it cannot be killed",
    "disconnected": "it cannot be cut off",
    "slow": "its network cannot be made slow",
}
"""The reason, for each method of a handle that needs a container of ours."""


class ExternalHandle(Service):
    """A service that runs already. It can be connected to; what takes a container of ours is an error."""

    def __init__(self, view: ServiceView) -> None:
        assert view.spec.external
        self._used = view.spec.external
        super().__init__(view, Refusing(self._refusal), image="", container_id="")

    def __repr__(self) -> str:
        return f"<Service {self.name!r} (given by {self._used.given_by}) at {self.address}>"

    def _refusal(self, method: str) -> UsedServiceError:
        return UsedServiceError(self.name, REFUSALS[method], self._used.given_by)
