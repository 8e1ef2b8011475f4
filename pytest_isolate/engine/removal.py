"""Just enough of the Docker Engine API to remove things, with the standard library only.

For the guardian, which has to be small while it waits and quick when it acts: the docker SDK costs it 30 MB and half a
second. Everything else goes through engine.docker.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from pytest_isolate.engine.wire import is_in_use, label_filter
from pytest_isolate.errors import EngineError, EngineUnreachable

# The oldest API version that has all of this and that engines from 20.10 to today accept.
_API = "/v1.41"
_TIMEOUT_S = 30
_GONE = 404
_BEING_REMOVED = 409


class Remover:
    """Finds and removes containers, networks and volumes by label. Safe to use from several threads."""

    def __init__(self, address: str) -> None:
        self._address = address

    def check(self, labels: Mapping[str, str]) -> None:
        """Prove that the engine answers and understands the very questions that removing will ask."""
        self.list_containers(labels)
        self.list_networks(labels)
        self.list_volumes(labels)

    def list_containers(self, labels: Mapping[str, str]) -> Sequence[str]:
        """The ids of all containers that carry these labels, running or not."""
        return [str(c["Id"]) for c in self._get(f"/containers/json?all=true&filters={_filters(labels)}")]

    def list_networks(self, labels: Mapping[str, str]) -> Sequence[str]:
        """The ids of all networks that carry these labels."""
        return [str(n["Id"]) for n in self._get(f"/networks?filters={_filters(labels)}")]

    def list_volumes(self, labels: Mapping[str, str]) -> Sequence[str]:
        """The names of all volumes that carry these labels."""
        return [str(v["Name"]) for v in self._get(f"/volumes?filters={_filters(labels)}")["Volumes"] or ()]

    def remove_container(self, container_id: str) -> None:
        """Kill and remove a container with its anonymous volumes; one that is gone, or going, is fine."""
        self._request("DELETE", f"/containers/{quote(container_id)}?force=true&v=true")

    def remove_network(self, network_id: str) -> None:
        """Remove a network and detach what is still on it; one that is gone is fine."""
        path = f"/networks/{quote(network_id)}"
        try:
            self._request("DELETE", path)
        except EngineError as error:
            if not is_in_use(str(error)):
                raise
            for container_id in self._get(path)["Containers"]:
                self._request("POST", f"{path}/disconnect", {"Container": container_id, "Force": True})
            self._request("DELETE", path)

    def remove_volume(self, name: str) -> None:
        """Remove a volume; one that is gone is fine."""
        self._request("DELETE", f"/volumes/{quote(name)}?force=true")

    def _get(self, path: str) -> Any:
        return json.loads(self._request("GET", path))

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        connection = _connect(self._address)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, _API + path, content, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise EngineUnreachable(f"{method} {path} failed", tried=self._address, found=str(error)) from error
        finally:
            connection.close()
        text = answer.decode(errors="replace")
        being_removed = response.status == _BEING_REMOVED and "already in progress" in text
        if response.status >= 400 and not (method != "GET" and (response.status == _GONE or being_removed)):
            raise EngineError(f"{method} {path} was refused", found=f"{response.status}: {text.strip()}")
        return answer


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT_S)
        self.sock.connect(self._path)


def _connect(address: str) -> http.client.HTTPConnection:
    scheme, _, rest = address.partition("://")
    if scheme == "unix":
        return _UnixConnection(rest)
    parts = urlsplit(address)
    return http.client.HTTPConnection(parts.hostname or "localhost", parts.port or 2375, timeout=_TIMEOUT_S)


def _filters(labels: Mapping[str, str]) -> str:
    return quote(json.dumps(label_filter(labels)))
