"""Named volumes: one for each name in each stack at each place."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from itertools import count
from pathlib import PurePath

from msgspec import Struct

from pytest_isolate.engine.api import Engine
from pytest_isolate.errors import EngineError
from pytest_isolate.model.identity import LABEL_INSTANCE
from pytest_isolate.model.service import is_host_path
from pytest_isolate.planning.placement import Instance, NetworkKey
from pytest_isolate.running.network.networks import place_code
from pytest_isolate.running.once import Once
from pytest_isolate.running.ownership.domains import SharingDomain


class _Key(Struct, frozen=True):
    network: NetworkKey
    version: str
    name: str


class Volumes:
    """The volumes of this process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._volumes: Once[_Key, str] = Once()
        self._kept_by: dict[tuple[NetworkKey, str], str] = {}
        self._filled: Once[str, None] = Once()
        self._numbers = count(1)

    def ensure(
        self, instance: Instance, domain: SharingDomain, code: str, names: Iterable[str], own: Container[str] = ()
    ) -> dict[str, str]:
        """The engine's names of volumes by those that an instance has for them, some its own; made if not there.

        EngineError for one that is kept and shared: one of those who share it may change, and the other not.
        """
        for name in names if domain.is_kept else ():
            user = self._kept_by.setdefault((instance.network, name), instance.spec.name)
            if user != instance.spec.name and not is_host_path(name):
                raise EngineError(
                    f"it cannot be kept for later runs, because {user!r} uses the volume {name!r} as well",
                    do="run without --isolate-reuse, or give both scope='module' or share='worker'",
                )
        shared_by = {name: f"{name} {instance.spec.name}" if name in own else name for name in names}
        return {name: self._ensure(instance, domain, code, full) for name, full in shared_by.items()}

    def fill(self, domain: SharingDomain, volume: str, copy: Callable[[], None]) -> None:
        """Have a volume filled, once for all that share it."""
        if domain.is_kept:
            copy()  # it was made together with its container, which is its only one
        elif domain.board is None:
            self._filled.get(volume, copy)
        else:
            with domain.board.claim(f"fill {volume}", lambda: None):
                if not domain.board.read(f"fill {volume}"):
                    copy()
                    domain.board.publish(f"fill {volume}", {"volume": volume})

    def remove_unused(self, instance: Instance, domain: SharingDomain, code: str) -> None:
        """Remove an instance's volumes, but those that a container uses."""
        for name, _ in instance.spec.volumes:
            with suppress(EngineError):
                self._engine.remove_volume(_volume_name(instance, domain, code, name))

    def forget(self, key: NetworkKey) -> Callable[[], None]:
        """Let the next one who asks make new volumes for a stack; what is returned removes these."""
        made = [self._volumes.pop(k) for k in self._volumes.keys() if k.network == key]

        def remove() -> None:
            for volume in made:
                if volume:
                    self._engine.remove_volume(volume)

        return remove

    def _ensure(self, instance: Instance, domain: SharingDomain, code: str, name: str) -> str:
        def create() -> str:
            # Processes that share a stack have to find the same volume, a place that is entered again a new one.
            number = str(next(self._numbers)) if instance.key.place.node else ""
            full = _volume_name(instance, domain, code, name, number)
            # A kept one goes together with its container.
            self._engine.create_volume(full, domain.run.labels() | ({LABEL_INSTANCE: code} if domain.is_kept else {}))
            return full

        return self._volumes.get(_Key(instance.network, code if domain.is_kept else "", name), create)


def _volume_name(instance: Instance, domain: SharingDomain, code: str, name: str, number: str = "") -> str:
    """The engine's name of a volume. A kept one is its service's alone, and the next version of that begins anew."""
    stack = instance.network.stack
    if is_host_path(name):
        name = f"{PurePath(name).name}-{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:6]}"
    owner = code if domain.is_kept else f"{stack.namespace} {stack.name}"
    return domain.run.resource_name(str(stack), place_code(instance.network, owner), "volume", name, number)
