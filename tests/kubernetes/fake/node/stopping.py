"""The end of containers."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import docker

if TYPE_CHECKING:
    from kubernetes.fake.node.container_start import Node


def stop_container(node: Node, container_id: str, grace_left: Callable[[], float]) -> None:
    """Ask it to end, and kill it when its time is over, which may become shorter meanwhile."""
    client = node.client
    with suppress(docker.errors.APIError):  # it is gone, or has ended by itself
        if grace_left() > 0:
            signal = client.inspect_container(container_id)["Config"].get("StopSignal") or "SIGTERM"
            client.kill(container_id, signal)
        while client.inspect_container(container_id)["State"]["Running"]:
            if grace_left() <= 0:
                with node.slots:
                    client.kill(container_id)
                    client.wait(container_id, timeout=60)
            time.sleep(0.05)


def remove_container(node: Node, container_id: str) -> None:
    """Remove it with its volumes; safe to repeat."""
    with suppress(docker.errors.NotFound), node.slots:
        node.client.remove_container(container_id, force=True, v=True)
