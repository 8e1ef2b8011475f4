"""One container, from a planned instance to started: ports, volumes, files, limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import count

from pytest_isolate.engine.api import ContainerRequest, Engine, ImageFacts, PortBinding
from pytest_isolate.errors import IsolateError, PortTaken
from pytest_isolate.model.endpoint import Endpoint
from pytest_isolate.model.identity import Run, fingerprint
from pytest_isolate.model.service import Secret, ServiceSpec, Unlimited
from pytest_isolate.planning.placement import Instance, NetworkKey
from pytest_isolate.running.addresses import Addresses
from pytest_isolate.running.archive import build_archive
from pytest_isolate.running.images import image_tag
from pytest_isolate.running.networks import place_code
from pytest_isolate.running.once import Once
from pytest_isolate.running.ports import HeldPorts
from pytest_isolate.running.rendering import Rendered, View, render_spec
from pytest_isolate.running.safety import capabilities

# Somebody else took a port between our picking it and the engine's publishing it: rare, and a new one is free.
_PORT_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """An instance with a started container. `started_at` is in seconds of the epoch.

    `secrets` is what must not be printed: passwords that no user wrote down, its own and those of what it needs.
    """

    instance: Instance
    image: ImageFacts
    container_id: str
    fingerprint: str
    view: View
    ports: HeldPorts
    started_at: float
    secrets: tuple[str, ...] = ()

    @property
    def spec(self) -> ServiceSpec:
        """The service as declared."""
        return self.instance.spec


class Launcher:
    """Makes and starts containers."""

    def __init__(self, engine: Engine, run: Run, addresses: Addresses, time: Callable[[], float]) -> None:
        self._engine = engine
        self._run = run
        self._addresses = addresses
        self._time = time
        self._volumes: Once[tuple[NetworkKey, str], str] = Once()
        self._numbers = count(1)

    def launch(self, instance: Instance, image: ImageFacts, needed: Mapping[str, Running], network: str) -> Running:
        """A started container; on other ports when somebody else has taken the first ones."""
        for attempt in range(1, _PORT_TRIES + 1):
            ports = self._addresses.hold(instance, label(instance, self._run))
            try:
                return self._launch_on(ports, instance, image, needed, network)
            except PortTaken:
                ports.release()
                if attempt == _PORT_TRIES or instance.native_ports:
                    raise
            except BaseException:
                ports.release()
                raise
        raise AssertionError("unreachable")

    def undo(self, running: Running) -> None:
        """Remove the container and let go of its ports. What cannot be removed is left to the clean-up at the end."""
        self._remove_quietly(running.container_id)
        running.ports.release()

    def forget_volumes(self, key: NetworkKey) -> Callable[[], None]:
        """Let the next one who asks make new volumes for a stack; what is returned removes these."""
        made = [self._volumes.pop((owner, name)) for owner, name in self._volumes.keys() if owner == key]

        def remove() -> None:
            for volume in made:
                if volume:
                    self._engine.remove_volume(volume)

        return remove

    def _launch_on(
        self, ports: HeldPorts, instance: Instance, image: ImageFacts, needed: Mapping[str, Running], network: str
    ) -> Running:
        view = self._build_view(instance, ports)
        rendered = render_spec(view, {alias: running.view for alias, running in needed.items()})
        digest = fingerprint(
            instance.spec,
            stack=str(instance.key.service.stack),
            image_id=image.image_id,
            dependencies={alias: running.fingerprint for alias, running in needed.items()},
        )
        request = self._build_request(instance, rendered, network, ports, digest)
        container_id = self._engine.create_container(request)
        try:
            if rendered.files:
                self._engine.copy_into(container_id, build_archive(rendered.files))
            started_at = self._time()
            self._engine.start_container(container_id)
        except BaseException:
            self._remove_quietly(container_id)
            raise
        return Running(
            instance=instance,
            image=image,
            container_id=container_id,
            fingerprint=digest,
            view=replace(view, env=rendered.env),
            ports=ports,
            started_at=started_at,
            secrets=(*_own_secrets(view), *(s for running in needed.values() for s in running.secrets)),
        )

    def _build_view(self, instance: Instance, ports: HeldPorts) -> View:
        password = instance.spec.password
        if isinstance(password, Secret):
            key = instance.key
            password = self._run.password(str(key.service), key.place.node, key.place.worker)
        endpoints = {inner: Endpoint(ports.host, outer) for inner, outer in ports.by_inner.items()}
        return View(spec=instance.spec, password=password, endpoints=endpoints)

    def _build_request(
        self, instance: Instance, rendered: Rendered, network: str, ports: HeldPorts, digest: str
    ) -> ContainerRequest:
        spec = instance.spec
        return ContainerRequest(
            name=self._run.resource_name(instance.key.service.stack.name, spec.name, str(next(self._numbers))),
            image=image_tag(spec),
            labels=self._run.labels(instance.key.service, digest),
            command=rendered.command,
            entrypoint=rendered.entrypoint,
            env=rendered.env,
            ports=tuple(
                PortBinding(inner=inner, host_ip=self._addresses.publish_on(ports), host_port=outer)
                for inner, outer in ports.by_inner.items()
            ),
            network=network,
            aliases=(spec.name,),
            volumes={self._ensure_volume(instance.network, name): target for name, target in spec.volumes},
            memory_bytes=None if isinstance(spec.memory_bytes, Unlimited) else spec.memory_bytes,
            shm_bytes=spec.shm_bytes,
            cpus=spec.cpus,
            pids=None if isinstance(spec.pids, Unlimited) else spec.pids,
            cap_drop=("ALL",),
            cap_add=capabilities(spec),
            no_new_privileges=not spec.new_privileges,
        )

    def _ensure_volume(self, key: NetworkKey, name: str) -> str:
        """The engine's name of a stack's volume."""

        def create() -> str:
            number = str(next(self._numbers))
            full = self._run.resource_name(key.stack.name or "default", place_code(key), "volume", name, number)
            self._engine.create_volume(full, self._run.labels())
            return full

        return self._volumes.get((key, name), create)

    def _remove_quietly(self, container_id: str) -> None:
        try:
            self._engine.remove_container(container_id)
        except IsolateError:
            pass  # the clean-up at the end finds it by its labels, tries again and reports


def _own_secrets(view: View) -> tuple[str, ...]:
    return (view.password or "",) if view.spec.password is Secret.RANDOM else ()


def label(instance: Instance, run: Run) -> str:
    """A service as error texts name it: `'auth' (registry/auth:1.4, stack hr, worker gw1)`."""
    stack = instance.key.service.stack.name
    parts = [instance.spec.image or "built image"]
    parts += [f"stack {stack}"] if stack else []
    parts += [f"worker {run.worker}"] if run.worker else []
    return f"{instance.spec.name!r} ({', '.join(parts)})"
