"""A cluster with what the command line asks of it beyond what runs need."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, cast

from pytest_isolate.engine.command_api import ContainerFacts, ImageTransfer
from pytest_isolate.engine.kubernetes.cluster_engine import KubernetesEngine, read_bindings
from pytest_isolate.engine.kubernetes.objects.object_labels import (
    CONTAINER,
    NAME,
    annotation,
    read_labels,
    select_by_name,
)
from pytest_isolate.engine.kubernetes.objects.pod_hosts import pod_address
from pytest_isolate.engine.kubernetes.objects.pod_template import SERVICE
from pytest_isolate.errors import EngineError
from pytest_isolate.model.endpoint import Port

if TYPE_CHECKING:
    from pytest_isolate.engine.kubernetes.transport.exec_stream import ExecStream

_STDOUT = 1
_NO_TRANSFER = "images of a cluster are its nodes', which pull them from registries"


class KubernetesCommandEngine(KubernetesEngine):
    """The engine of a command."""

    @property
    def image_transfer(self) -> ImageTransfer:
        return cast("ImageTransfer", NoTransfer())

    def list_facts(self, label: str) -> Sequence[ContainerFacts]:
        pods = self._list(self._pods, select_by_name(CONTAINER, label))
        return [self._facts_of(pod) for pod in pods if label in read_labels(pod)]

    def stream_log(self, container_id: str, *, tail: int | None, follow: bool) -> Iterator[tuple[int, bytes]]:
        query = {"container": SERVICE, "follow": "true" if follow else "false"}
        query |= {} if tail is None else {"tailLines": str(tail)}
        with closing(self._client.read_stream(f"{self._pods}/{container_id}/log", query)) as stream:
            if follow:
                threading.Thread(target=self._close_with, args=(container_id, stream), daemon=True).start()
            yield from ((_STDOUT, piece) for piece in stream)

    def open_interactive(self, container_id: str, argv: Sequence[str], *, terminal: str) -> PodInteractive:
        self._own_pods.bring_up(container_id, f"the command {argv[0]!r} could not be run in a container")
        words = ["env", f"TERM={terminal}", *argv] if terminal else argv
        stream = self._client.open_exec(container_id, SERVICE, words, stdin=True, terminal=bool(terminal))
        return PodInteractive(stream, is_terminal=bool(terminal))

    def _close_with(self, container_id: str, stream: Any) -> None:
        """End a log that is followed with the program: the pod itself goes on."""
        end = self._control.wait(container_id)
        try:
            while end.receive(None) is not None:
                pass
        except EngineError:
            pass
        finally:
            end.close()
            stream.close()

    def _facts_of(self, pod: Mapping[str, Any]) -> ContainerFacts:
        name = pod["metadata"]["name"]
        state = self._own_pods.inspect(name)
        word = "paused" if state.is_paused else "running" if state.is_running else "exited"
        return ContainerFacts(
            container_id=name,
            name=annotation(pod, NAME) or name,
            image=pod["spec"]["containers"][0]["image"],
            state="created" if word == "exited" and state.exit_code is None else word,
            status=word if state.exit_code is None else f"Exited ({state.exit_code})",
            labels=read_labels(pod),
            ports=self._addresses_of(pod),
        )

    def _addresses_of(self, pod: Mapping[str, Any]) -> dict[Port, str]:
        """The addresses at which a pod's ports answer, as seen from here."""
        if not self._is_inside:
            return {inner: f"127.0.0.1:{outer}" for inner, outer in self._ports.find(pod["metadata"]["name"]).items()}
        given = {one.inner: (one.host_ip or pod_address(pod), one.host_port) for one in read_bindings(pod)}
        return {inner: f"{host}:{port}" for inner, (host, port) in given.items() if host}


class PodInteractive:
    """A command in a container; a pair of sockets says when there is something to receive."""

    def __init__(self, stream: ExecStream, *, is_terminal: bool) -> None:
        self._stream = stream
        self._is_terminal = is_terminal
        self._ours, self._theirs = socket.socketpair()
        self._received: deque[tuple[int, bytes] | None] = deque()
        threading.Thread(target=self._take, name="isolate-interactive", daemon=True).start()

    def fileno(self) -> int:
        return self._ours.fileno()

    def send(self, content: bytes) -> None:
        self._stream.send(content)

    def end_input(self) -> None:
        self._stream.close_input()

    def receive(self, *, is_ready: bool) -> Sequence[tuple[int, bytes]] | None:
        if not is_ready:
            return ()
        self._ours.recv(1)
        piece = self._received.popleft()
        return None if piece is None else [piece]

    def resize(self, columns: int, lines: int) -> None:
        if self._is_terminal:
            self._stream.resize(columns, lines)

    def exit_code(self) -> int:
        return self._stream.exit_code()

    def close(self) -> None:
        self._stream.close()

    def _take(self) -> None:
        """Note each piece of output, and wake the thread that waits for one."""
        with self._theirs:
            piece: tuple[int, bytes] | None = (_STDOUT, b"")
            while piece is not None:
                try:
                    piece = self._stream.receive(None)
                except EngineError:
                    piece = None  # the exit code tells it
                self._received.append(piece)
                self._theirs.send(b".")


class NoTransfer:
    """There is no way of images into a cluster or out of it."""

    def save(self, image_ids: Sequence[str], store: object) -> list[object]:  # noqa: ARG002  # as of any
        raise EngineError(f"images could not be saved: {', '.join(image_ids)}", found=_NO_TRANSFER)

    def load(self, images: Sequence[object], store: object) -> list[str]:  # noqa: ARG002  # the same
        raise EngineError("images could not be loaded", found=_NO_TRANSFER, do="push them to a registry of yours")
