"""One container, from a planned instance to started: ports, volumes, files, limits."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import count

from pytest_isolate.engine.api import ContainerRequest, Engine, ImageFacts, PortBinding
from pytest_isolate.errors import IsolateError, PortTaken
from pytest_isolate.model.endpoint import Endpoint
from pytest_isolate.model.identity import Run, fingerprint
from pytest_isolate.model.service import Secret, ServiceSpec, Unlimited
from pytest_isolate.planning.placement import Instance, InstanceKey, NetworkKey
from pytest_isolate.running.addresses import Addresses
from pytest_isolate.running.archive import build_archive, read_digests
from pytest_isolate.running.grounds import Grounds
from pytest_isolate.running.images import image_tag
from pytest_isolate.running.networks import place_code
from pytest_isolate.running.once import Once
from pytest_isolate.running.ports import HeldPorts
from pytest_isolate.running.rendering import Rendered, View, render_spec
from pytest_isolate.running.safety import capabilities, memory_limit

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

    def __init__(self, engine: Engine, grounds: Grounds, addresses: Addresses, time: Callable[[], float]) -> None:
        self._engine = engine
        self._grounds = grounds
        self._addresses = addresses
        self._time = time
        self._volumes: Once[tuple[NetworkKey, str], str] = Once()
        self._numbers = count(1)

    def launch(
        self, instance: Instance, image: ImageFacts, needed: Mapping[str, Running], network: str, code: str
    ) -> Running:
        """A started container; on other ports when somebody else has taken the first ones."""
        for attempt in range(1, _PORT_TRIES + 1):
            ports = self._addresses.hold(instance, label(instance, self._grounds.private.run))
            try:
                return self._launch_on(ports, instance, image, needed, network, code)
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
        self,
        ports: HeldPorts,
        instance: Instance,
        image: ImageFacts,
        needed: Mapping[str, Running],
        network: str,
        code: str,
    ) -> Running:
        endpoints = {inner: Endpoint(ports.host, outer) for inner, outer in ports.by_inner.items()}
        view, rendered = self.build_view(instance, needed, endpoints)
        digest = full_fingerprint(instance, image, needed)
        request = self._build_request(instance, rendered, network, ports, digest, code)
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
            view=view,
            ports=ports,
            started_at=started_at,
            secrets=collect_secrets(view, needed),
        )

    def build_view(
        self, instance: Instance, needed: Mapping[str, Running], endpoints: Mapping[int, Endpoint]
    ) -> tuple[View, Rendered]:
        """The service as it is seen at these endpoints, and what its container is given: the same in every process."""
        password = instance.spec.password
        if isinstance(password, Secret):
            key = instance.key
            run = self._grounds.of(key.place).run
            password = run.password(key.service.stack.namespace, str(key.service), key.place.node, key.place.worker)
        view = View(spec=instance.spec, password=password, endpoints=endpoints)
        rendered = render_spec(view, {alias: running.view for alias, running in needed.items()})
        return replace(view, env=rendered.env), rendered

    def _build_request(
        self, instance: Instance, rendered: Rendered, network: str, ports: HeldPorts, digest: str, code: str
    ) -> ContainerRequest:
        spec, run = instance.spec, self._grounds.of(instance.key.place).run
        number = f"{next(self._numbers)}{self._grounds.private.run.worker}"
        return ContainerRequest(
            name=run.resource_name(instance.key.service.stack.name, spec.name, secrets.token_hex(2), number),
            image=image_tag(spec),
            labels=run.container_labels(instance.key.service, digest, code or instance_code(instance.key)),
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
            memory_bytes=memory_limit(spec),
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
            run = self._grounds.of(key.place).run
            # Processes that share a stack have to find the same volume, a place that is entered again a new one.
            number = str(next(self._numbers)) if key.place.node else ""
            stack = place_code(key, f"{key.stack.namespace} {key.stack.name}")
            full = run.resource_name(str(key.stack), stack, "volume", name, number)
            self._engine.create_volume(full, run.labels())
            return full

        return self._volumes.get((key, name), create)

    def _remove_quietly(self, container_id: str) -> None:
        try:
            self._engine.remove_container(container_id)
        except IsolateError:
            pass  # the clean-up at the end finds it by its labels, tries again and reports


def full_fingerprint(instance: Instance, image: ImageFacts, needed: Mapping[str, Running]) -> str:
    """The fingerprint over everything that is known before the start: equal means that reuse is safe."""
    return fingerprint(
        instance.spec,
        stack=f"{instance.key.service.stack.namespace} {instance.key.service.stack.name} {instance.native_ports}",
        image_id=image.image_id,
        dependencies={alias: running.fingerprint for alias, running in needed.items()},
        contents=read_digests(instance.spec.files),
    )


def instance_code(key: InstanceKey) -> str:
    """A short word for an instance key, the same in every process."""
    place, service = key.place, key.service
    parts = (service.stack.namespace, service.stack.name, service.name, place.scope.word, place.node, place.worker)
    return hashlib.sha256("\0".join((*parts, key.fingerprint)).encode()).hexdigest()[:16]


def collect_secrets(view: View, needed: Mapping[str, Running]) -> tuple[str, ...]:
    """What must not be printed of a service: its own random password, and those of what it needs."""
    own = (view.password or "",) if view.spec.password is Secret.RANDOM else ()
    return (*own, *(secret for running in needed.values() for secret in running.secrets))


def label(instance: Instance, run: Run) -> str:
    """A service as error texts name it: `'auth' (registry/auth:1.4, stack hr, worker gw1)`."""
    stack = instance.key.service.stack.name
    parts = [instance.spec.image or "built image"]
    parts += [f"stack {stack}"] if stack else []
    parts += [f"worker {run.worker}"] if run.worker else []
    return f"{instance.spec.name!r} ({', '.join(parts)})"
