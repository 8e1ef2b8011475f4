"""Volumes and files of a container: settled before it is created, put there before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from os.path import isdir as is_folder

from msgspec import Struct
from msgspec.structs import replace

from pytest_isolate.engine.api import ContainerRequest, Engine
from pytest_isolate.errors import IsolateError
from pytest_isolate.model.identity import Run
from pytest_isolate.model.service import File, Pairs, is_host_path, split_mode
from pytest_isolate.running.archive import Copied, stream_archive
from pytest_isolate.running.containers.layout import Layout, lay_out
from pytest_isolate.running.containers.running import StartRequest
from pytest_isolate.running.containers.view import ServiceView
from pytest_isolate.running.images.paths import ImagePathReader
from pytest_isolate.running.network.volumes import Volumes
from pytest_isolate.running.ownership.domains import SharingDomain


class Mounts(Struct, frozen=True, kw_only=True):
    """Mounts of one container, and the engine's names of its volumes by those that the service has for them."""

    layout: Layout
    names: Mapping[str, str]

    @property
    def first_places(self) -> dict[str, str]:
        """The place of each volume, by the engine's name; with its mode, as the engine takes it."""
        return dict(reversed(self._all()))

    @property
    def further_places(self) -> Pairs:
        """Places and modes of volumes that have several, without the first, by place."""
        more = [mount for mount in self._all() if mount not in self.first_places.items()]
        return tuple((at, f"{name}{colon}{mode}") for name, place in more for at, colon, mode in [place.partition(":")])

    def _all(self) -> list[tuple[str, str]]:
        return [(self.names[name], _with_mode(name, target)) for name, target in self.layout.volumes]


class Contents:
    """Makes the volumes of containers, and copies what they begin with."""

    def __init__(self, engine: Engine, run: Run, volumes: Volumes, paths: ImagePathReader) -> None:
        self._engine = engine
        self._run = run
        self._volumes = volumes
        self._paths = paths

    def prepare(self, start: StartRequest, view: ServiceView) -> Mounts:
        """The mounts of a container that is to be created; its volumes are made, and not filled yet."""
        spec, written = start.instance.spec, start.instance.written
        shares_files = self._engine.facts().shares_files
        # What is bound as it is, the engine puts where links lead to.
        copied = [at for name, at in spec.volumes if is_host_path(name) and (name in written or not shares_files)]
        files = [*view.files, *(File(target=split_mode(at)[0]) for at in copied)]
        image = self._paths.read(start.image, start.image.image_id, files, is_folder)
        layout = lay_out(spec, view.files, image, shares_files=shares_files, written=written, is_folder=is_folder)
        names, own = dict(layout.volumes), [name for name, items in layout.filled.items() if len(items) > 1]
        return Mounts(layout=layout, names=self._volumes.ensure(start.instance, start.domain, start.code, names, own))

    def copy(self, container_id: str, request: ContainerRequest, domain: SharingDomain, mounts: Mounts) -> None:
        """Copy everything that a service has of this host's, and its texts, into its container and its volumes."""
        for name, content in mounts.layout.filled.items():
            targets = [target for volume, target in mounts.layout.volumes if volume == name]
            # What is mounted within it would get a part of what belongs to all services that share it.
            is_apart = bool(content[0].hidden) or request.settings.read_only or all(split_mode(at)[1] for at in targets)
            volume = mounts.names[name]
            if is_apart:
                fill = partial(self._fill_from_elsewhere, request, volume, content)
            else:
                fill = partial(self._engine.copy_into, container_id, stream_archive(content))
            self._volumes.fill(domain, volume, fill)
        for folder, copied in mounts.layout.copied.items():
            self._engine.copy_into(container_id, stream_archive(copied, folder), folder)

    def _fill_from_elsewhere(self, request: ContainerRequest, volume: str, content: tuple[Copied, ...]) -> None:
        """Fill a volume by a container that is never started and mounts nothing else, as the service's own may not."""
        filling = ContainerRequest(
            name=f"{request.name}-fill",
            image=request.image,
            labels=self._run.labels(),
            entrypoint=("true",),
            command=(),
            volumes={volume: f"{content[0].target}:nocopy"},
        )
        container_id = self._engine.create_container(filling)
        try:
            self._engine.copy_into(container_id, stream_archive(replace(item, hidden=()) for item in content))
        finally:
            with suppress(IsolateError):  # the clean-up at the end finds it by its labels, tries again and reports
                self._engine.remove_container(container_id)


def _with_mode(name: str, target: str) -> str:
    """A mount as the engine takes it. A copy of a folder of this host hides what the image has there."""
    path, is_read_only = split_mode(target)
    words = [*(["ro"] if is_read_only else []), *(["nocopy"] if is_host_path(name) else [])]
    return ":".join(filter(None, (path, ",".join(words))))
