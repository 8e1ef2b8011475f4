"""Logs of containers."""

from __future__ import annotations

import calendar
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from kubernetes.fake.api import status
from kubernetes.fake.api.server import Handler, Request
from kubernetes.fake.node.kubelet import Kubelet
from kubernetes.fake.streams.target import Target, find_target

_ENDS_AFTER_S = 1.0
"""A followed log ends so long after its container, as measured."""
_IMAGE_REASONS = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull")


def serve_logs(kubelet: Kubelet, handler: Handler, request: Request) -> None:
    query = request.first()
    if "stream" in query:
        errors = [("stream", "FieldValueForbidden", "Forbidden: may not be specified")]
        raise status.invalid("PodLogOptions", request.name, errors)
    target = find_target(kubelet, request)
    container_id = _find_container(target, query.get("previous") == "true")
    options: dict[str, Any] = {"timestamps": query.get("timestamps") == "true", "follow": query.get("follow") == "true"}
    if "tailLines" in query:
        options["tail"] = int(query["tailLines"])
    if "sinceTime" in query:
        options["since"] = _parse_time(query["sinceTime"])
    if "sinceSeconds" in query:
        options["since"] = int(time.time()) - int(query["sinceSeconds"])
    chunks = _read(kubelet, container_id, options)
    if "limitBytes" in query:
        chunks = _cut(chunks, int(query["limitBytes"]))
    handler.send_chunks(chunks, "text/plain")


def _find_container(target: Target, is_previous: bool) -> str:
    meta = target.pod["metadata"]
    if is_previous:
        found = target.worker.previous.get(target.name, "") if target.worker else ""
        if not found:
            text = f'previous terminated container "{target.name}" in pod "{meta["name"]}" not found'
            raise status.bad_request(text)
        return found
    waits = target.status["state"].get("waiting")
    if waits and not target.status.get("restartCount"):
        reason = waits["reason"]
        why = "trying and failing to pull image" if reason in _IMAGE_REASONS else reason
        raise status.bad_request(f'container "{target.name}" in pod "{meta["name"]}" is waiting to start: {why}')
    return target.container_id


def _parse_time(text: str) -> int:
    """Cut a moment to whole seconds, as the server does."""
    try:
        return calendar.timegm(time.strptime(f"{text[:19]}Z", "%Y-%m-%dT%H:%M:%SZ"))
    except ValueError:
        raise status.bad_request(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse') from None


def _read(kubelet: Kubelet, container_id: str, options: dict[str, Any]) -> Iterator[bytes | None]:
    lines = kubelet.node.client.logs(container_id, stdout=True, stderr=True, stream=True, **options)
    found: queue.Queue[bytes] = queue.Queue(256)

    def pull() -> None:
        with suppress(Exception):  # closed from the other thread, or Docker ended
            for chunk in lines:
                found.put(chunk)
        if options["follow"]:
            time.sleep(_ENDS_AFTER_S)
        found.put(b"")

    threading.Thread(target=pull, daemon=True).start()
    try:
        while True:
            try:
                chunk = found.get(timeout=0.2)
            except queue.Empty:
                yield None
                continue
            if not chunk:
                return
            yield chunk
    finally:
        lines.close()
        with suppress(queue.Empty):
            while found.get_nowait():  # the other thread may wait for room
                pass


def _cut(chunks: Iterator[bytes | None], most: int) -> Iterator[bytes | None]:
    for chunk in chunks:
        if chunk is None:
            yield None
            continue
        yield chunk[:most]
        most -= len(chunk)
        if most <= 0:
            return
