"""A running instance: the record, what follows from it, and the events that others want to hear of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct, field

from pytest_isolate.declarations.keys import fingerprint
from pytest_isolate.engine.api import ImageFacts
from pytest_isolate.errors import EngineError, PathError, StartError
from pytest_isolate.model.declaration import Secret
from pytest_isolate.model.endpoint import Endpoint, Port
from pytest_isolate.model.identity import Run
from pytest_isolate.model.service import ServiceId, ServiceSpec, describe_variation
from pytest_isolate.planning.placement import Instance, InstanceKey
from pytest_isolate.running.archive import read_digests
from pytest_isolate.running.containers.view import ServiceView, render_spec
from pytest_isolate.running.images.images import image_tag
from pytest_isolate.running.images.snapshots import Snapshot
from pytest_isolate.running.network.ports import HeldPorts
from pytest_isolate.running.ownership.domains import SharingDomain

if TYPE_CHECKING:
    from pytest_isolate.running.containers.handle import Service


class StartRequest(Struct, frozen=True, kw_only=True):
    """The facts of an instance before its container is made, which is made from the image `tag`.

    `image` is always the declared one: a snapshot of it says nothing more. `code` is what the instance is known by on
    the board, and on its container's label.
    """

    instance: Instance
    domain: SharingDomain
    code: str
    image: ImageFacts
    snapshot: Snapshot | None
    tag: str
    needed: Mapping[str, RunningInstance]

    @property
    def starts_from_snapshot(self) -> bool:
        """True where its image is not the declared one."""
        return self.tag != image_tag(self.instance.spec)


class RunningInstance(Struct, frozen=True, kw_only=True):
    """An instance with a started container, on its own network. `started_at` is in seconds of the epoch.

    One that runs already (`spec.external`) has no container: its ids are empty. `secrets` is what must not be printed:
    passwords that no user wrote down, its own and those of what it needs.
    """

    instance: Instance
    domain: SharingDomain
    image: ImageFacts
    container_id: str = ""
    network_id: str = ""
    volumes: tuple[str, ...] = ()
    memory_folders: Mapping[str, int] = {}
    fingerprint: str
    view: ServiceView
    ports: HeldPorts = field(default_factory=lambda: HeldPorts(host="", by_inner={}))
    started_at: float
    secrets: tuple[str, ...] = ()

    @property
    def spec(self) -> ServiceSpec:
        """The service as declared."""
        return self.instance.spec


class InstanceObserver:
    """Hears what happens to the instances of this process; every event is ignored unless a subclass wants it.

    An event is told in the thread in which it happens. What `launched` and `ready` raise fails the start.
    """

    def launched(self, running: RunningInstance) -> None:
        """Its container was started here, and is not ready yet."""

    def ready(self, running: RunningInstance) -> None:
        """It was started here and is ready, and no test and no other process has been given it yet."""

    def available(self, running: RunningInstance, handle: Service) -> None:
        """It may be used in this process from now on, whichever process has started it."""

    def restarted(self, running: RunningInstance) -> None:
        """It was stopped or killed by its handle, and is ready again."""

    def removing(self, running: RunningInstance) -> None:
        """This process is about to remove its container."""


def build_view(
    spec: ServiceSpec, password: str | None, needed: Mapping[str, RunningInstance], endpoints: Mapping[Port, Endpoint]
) -> ServiceView:
    """Return the service as it is seen at these endpoints: the same in every process."""
    view = ServiceView(spec=spec, password=password, endpoints=endpoints)
    return render_spec(view, {alias: running.view for alias, running in needed.items()})


def choose_password(instance: Instance, domain: SharingDomain, snapshot: Snapshot | None) -> str | None:
    """The password of an instance: as declared; where it is random, the snapshot's, else one of this run alone."""
    password = instance.spec.password
    if not isinstance(password, Secret):
        return password
    if snapshot:
        return snapshot.password
    return run_password(domain.run, instance.key.service, instance.key.place.node, instance.key.place.worker)


def run_password(run: Run, service: ServiceId, node: str = "", worker: str = "") -> str:
    """The random password of a service at a place, where no snapshot has one: known before it starts."""
    return run.password(service.stack.namespace, str(service), node, worker)


def full_fingerprint(
    instance: Instance, image: ImageFacts, needed: Mapping[str, RunningInstance], *, is_kept: bool
) -> str:
    """The fingerprint over everything that is known before the start: equal means that reuse is safe.

    Only what is kept for later runs has to know what files hold: to read them may take seconds.
    """
    return fingerprint(
        instance.spec,
        stack=f"{instance.key.service.stack.namespace} {instance.key.service.stack.name} {instance.native_ports}",
        image_id=image.image_id,
        dependencies={alias: running.fingerprint for alias, running in needed.items()},
        contents=read_digests(instance.spec.sources) if is_kept else {},
    )


def network_aliases(spec: ServiceSpec) -> tuple[str, ...]:
    """Names of a service on its network; its plain name comes first."""
    return tuple(dict.fromkeys((spec.name, *spec.container.aliases)))


def instance_hash(key: InstanceKey) -> str:
    """Return a short word for an instance key, the same in every process."""
    place, service = key.place, key.service
    parts = (service.stack.namespace, service.stack.name, service.name, place.scope.word, place.node, place.worker)
    what = key.fingerprint + describe_variation(key.variation)
    return hashlib.sha256("\0".join((*parts, what)).encode(errors="surrogatepass")).hexdigest()[:16]


def collect_secrets(view: ServiceView, needed: Mapping[str, RunningInstance]) -> tuple[str, ...]:
    """Secrets that must not be printed: the service's own random password, and those of what it needs."""
    own: tuple[str, ...] = (view.password or "",) if view.spec.password is Secret.RANDOM else ()
    if view.spec.external:
        own = view.spec.external.secrets
    return (*own, *(secret for running in needed.values() for secret in running.secrets))


def describe_instance(instance: Instance, run: Run) -> str:
    """A service as error texts name it: `'auth' (registry/auth:1.4, stack hr, worker gw1)`."""
    stack = instance.key.service.stack.name
    used = instance.spec.external
    what = f"given by {used.given_by}" if used else instance.spec.image or "built image"
    parts = (what, stack and f"stack {stack}", run.worker and f"worker {run.worker}")
    return f"{instance.spec.name!r} ({', '.join(filter(None, parts))})"


def name_error(instance: Instance, run: Run, error: StartError | EngineError | PathError) -> StartError:
    """Return an engine's error with the service's name and place; a StartError has them already."""
    if isinstance(error, StartError):
        return error
    return StartError(
        describe_instance(instance, run),
        f"could not be started: {error.what}",
        tried=error.tried,
        found=error.found,
        do=[
            *([error.do] if isinstance(error.do, str) and error.do else error.do),
            f"it is declared at {instance.spec.location}",
        ],
    )
