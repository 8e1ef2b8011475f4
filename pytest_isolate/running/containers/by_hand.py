"""The container of an instance as a command to run by hand: what it is given, without what must not be printed."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from pytest_isolate.engine.api import ContainerRequest
from pytest_isolate.model.service import Unlimited, is_host_path, split_mode
from pytest_isolate.running.containers.running import RunningInstance
from pytest_isolate.running.containers.security import capabilities, memory_limit


def build_request_by_hand(running: RunningInstance, image: str) -> ContainerRequest:
    """Build a request for the same container, without its network, labels and ports.

    A text of `files` is taken from a file of its name in the folder where the command is run.
    """
    spec, view = running.spec, running.view
    return ContainerRequest(
        name="",
        image=image,
        labels={},
        command=view.command,
        entrypoint=view.entrypoint,
        env=view.env,
        binds=dict(_binds(running)),
        memory_bytes=memory_limit(spec),
        shm_bytes=spec.shm_bytes,
        cpus=spec.cpus,
        pids=None if isinstance(spec.pids, Unlimited) else spec.pids,
        cap_drop=("ALL",),
        cap_add=capabilities(spec),
        no_new_privileges=not spec.new_privileges,
        settings=spec.container,
    )


def find_hidden(running: RunningInstance) -> frozenset[str]:
    """Names of the variables that hold a password."""
    secrets = [secret for secret in (*running.secrets, running.view.password) if secret]
    return frozenset(name for name, value in running.view.env.items() if any(secret in value for secret in secrets))


def _binds(running: RunningInstance) -> Iterator[tuple[str, str]]:
    for file in running.view.files:
        yield file.source or f"./{posixpath.basename(file.target)}", f"{file.target}:ro"
    for source, target in running.spec.volumes:
        if is_host_path(source):
            yield source, target
        else:
            place, is_read_only = split_mode(target)
            yield f"{source}-by-hand", f"{place}:ro" if is_read_only else place
