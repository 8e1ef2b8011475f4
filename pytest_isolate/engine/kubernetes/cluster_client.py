"""Requests to one API server: objects, watches, logs, and the lines both ways to pods.

On the standard library: the official client takes 0.4 s to import. Whole answers of 429 and of passing conflicts are
waited out here, so that every caller does; so is a server that restarts, once it has answered.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from pytest_isolate.engine.kubernetes.api_errors import ApiError as ApiError  # noqa: PLC0414  # callers name it
from pytest_isolate.engine.kubernetes.api_errors import (
    ConnectionBroken,
    NothingSent,
    ObjectMissing,
    describe_request,
    unreachable,
)
from pytest_isolate.engine.kubernetes.cluster_streams import ByteStream, Watch
from pytest_isolate.engine.kubernetes.kube_config import Cluster
from pytest_isolate.engine.kubernetes.transport.api_request import (
    RESTARTS_WITHIN_S,
    Answer,
    Asking,
    Pauses,
    Question,
    is_lasting,
)
from pytest_isolate.engine.kubernetes.transport.dial import Dialer
from pytest_isolate.errors import EngineError

if TYPE_CHECKING:
    from pytest_isolate.engine.kubernetes.transport.exec_stream import ExecStream
    from pytest_isolate.engine.kubernetes.transport.forward import Forward
    from pytest_isolate.engine.kubernetes.transport.lines import Lines

_MERGE_PATCH = "application/merge-patch+json"
_NOTHING: Mapping[str, Any] = {}


class ClusterClient:
    """One API server, as one user. Safe to use from several threads.

    Every method raises an ApiError where the server refuses, ObjectMissing where there is no such object, and
    EngineUnreachable where it does not answer.
    """

    def __init__(self, cluster: Cluster, env: Mapping[str, str] = os.environ) -> None:
        self.cluster = cluster
        self.namespace = cluster.namespace
        self.dialer = Dialer(cluster, env)
        self._asking = Asking(self.dialer)
        self._lock = threading.Lock()
        self._lines: Lines | None = None
        self._version: tuple[int, int] | None = None

    def get(self, path: str, query: Mapping[str, str] = _NOTHING) -> dict[str, Any]:
        """An object, or a list of them."""
        return self._ask_json("GET", path, query)

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """A new object, in the collection at the path, as the server has written it down. It has a name of its own."""
        try:
            return self._ask_json("POST", path, body=body)
        except ConnectionBroken:
            pass  # the server may have made it
        try:
            return self._ask_json("POST", path, body=body)
        except ApiError as error:
            name = body.get("metadata", {}).get("name")
            if error.reason != "AlreadyExists" or not name:
                raise
        return self.get(f"{path}/{name}")

    def replace(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """An object, replaced by this one."""
        return self._ask_json("PUT", path, body=body)

    def patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """An object, with these fields merged in (RFC 7386); those that are null are taken away."""
        return self._ask_json("PATCH", path, body=body, kind=_MERGE_PATCH)

    def delete(
        self, path: str, options: Mapping[str, Any] = _NOTHING, query: Mapping[str, str] = _NOTHING
    ) -> dict[str, Any]:
        """Delete an object, or those of a collection that the query selects; one that is gone is fine.

        Returned is what the server tells of it: a pod as it was, nothing of one that is gone.
        """
        try:
            return self._ask_json("DELETE", path, query, options or None)
        except ObjectMissing:
            return {}

    def watch(self, path: str, query: Mapping[str, str] = _NOTHING) -> Watch:
        """The changes of a collection, as they happen."""
        return Watch(lambda asked: self.read_stream(path, asked), query)

    def read_stream(self, path: str, query: Mapping[str, str] = _NOTHING) -> ByteStream:
        """An answer as it comes, such as a log that is followed."""
        answer = self._ask("GET", path, query, is_stream=True)
        return ByteStream(describe_request("GET", path), self.cluster.server, answer.connection, answer.response)

    def open_exec(
        self, pod: str, container: str, argv: Sequence[str], *, stdin: bool, terminal: bool = False
    ) -> ExecStream:
        """A command that was started in a container, with its streams. One without input outlives its connection.

        With a terminal of its own its output is one stream.
        """
        query = [("container", container), *(("command", word) for word in argv)]
        query += [("tty", "true")] if terminal else [("stderr", "true")]
        return self._open_streams(f"run {argv[0]!r} in pod {pod}", f"{self.pod_path(pod)}/exec", query, stdin)

    def open_attach(self, pod: str, container: str, *, stdin: bool) -> ExecStream:
        """The streams of the container's own program."""
        query = [("container", container), ("stderr", "true")]
        return self._open_streams(f"attach to pod {pod}", f"{self.pod_path(pod)}/attach", query, stdin)

    def open_forward(self, pod: str) -> Forward:
        """A way to the ports of a pod, which is dialled with the first stream."""
        from pytest_isolate.engine.kubernetes.transport.forward import Forward  # asyncio: not for the guardian

        return Forward(self._open_lines(), self.pod_path(pod))

    def server_version(self) -> tuple[int, int]:
        """The server's version, such as (1, 34); asked for once."""
        if self._version is None:
            found = self.get("/version")
            try:
                # Some services write "31+".
                self._version = (int(found["major"]), int(str(found["minor"]).rstrip("+")))
            except (KeyError, ValueError) as error:
                raise unreachable("tell its version", self.cluster.server, "it is no API server") from error
        return self._version

    def pod_path(self, pod: str) -> str:
        """The path of a pod of this namespace."""
        return f"/api/v1/namespaces/{self.namespace}/pods/{pod}"

    def close(self) -> None:
        """End all connections, and every wait."""
        self._asking.close()
        with self._lock:
            lines, self._lines = self._lines, None
        if lines:
            lines.close()

    def _open_streams(self, what: str, path: str, query: Sequence[tuple[str, str]], stdin: bool) -> ExecStream:
        from pytest_isolate.engine.kubernetes.transport.exec_stream import open_exec_stream  # as above

        streams = [("stdin", "true")] if stdin else []
        target = f"{path}?{urlencode([*query, *streams, ('stdout', 'true')])}"
        pauses, absence = Pauses(self._asking.closed), Pauses(self._asking.closed, RESTARTS_WITHIN_S)
        while True:
            try:
                return open_exec_stream(self._open_lines(), what, target)
            except ApiError as error:
                if error.status != 429 or not pauses.wait():
                    raise
            except NothingSent as error:
                is_passing = self._asking.has_answered and not is_lasting(error.__cause__)
                if not is_passing or not absence.wait():
                    raise

    def _open_lines(self) -> Lines:
        from pytest_isolate.engine.kubernetes.transport.lines import Lines  # as above

        with self._lock:
            if self._asking.closed.is_set():
                raise EngineError("the connections to the cluster are closed")
            if self._lines is None:
                self._lines = Lines(self.dialer)
            return self._lines

    def _ask_json(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] = _NOTHING,
        body: Mapping[str, Any] | None = None,
        kind: str = "application/json",
    ) -> dict[str, Any]:
        content = self._ask(method, path, query, body, kind).content
        try:
            found = json.loads(content)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            reason = f"it is no API server, it answered {content[:60]!r}"
            raise unreachable(describe_request(method, path), self.cluster.server, reason)
        return found

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
        kind: str = "application/json",
        is_stream: bool = False,
    ) -> Answer:
        question = Question(
            what=describe_request(method, path),
            method=method,
            target=f"{self.dialer.prefix}{path}{f'?{urlencode(query)}' if query else ''}",
            content=None if body is None else json.dumps(body).encode(),
            kind=kind,
            is_stream=is_stream,
        )
        return self._asking.ask(question)
