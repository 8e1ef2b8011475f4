"""Finding and removing: all of an engine that the guardian needs, which has to be small while it waits.

engine.docker builds on it, so that both clean up in the same way.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pytest_isolate.engine.docker.dialects import Dialect, dialect_of
from pytest_isolate.engine.docker.refusals import is_ending, is_half_detached, is_in_use
from pytest_isolate.engine.docker.transport.client import Http
from pytest_isolate.errors import EngineError, ObjectNotFound
from pytest_isolate.model.identity import LABEL_KEPT

if TYPE_CHECKING:
    from pytest_isolate.engine.docker.commands import DockerCommands

# Another process may be removing what is on a network. Docker before 20.10.27 can deadlock while containers come and go
# (moby issue 46661). That detaching by force what leaves anyway brings it about is suspected, and was never shown.
_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8)
# Seen once with Docker 20.10.24, after four containers of a network had gone at the same moment.
_MISCOUNTED = "no container is on it, and the engine counts one that is gone"
_RESTART = "restart the engine: it counts anew when it starts"
LISTING_CONTAINERS = "the containers could not be listed"
LISTING_NETWORKS = "the networks could not be listed"
LISTING_VOLUMES = "the volumes could not be listed"


class Remover:
    """Finds and removes containers, networks and volumes by label. Safe to use from several threads."""

    def __init__(self, client: Http) -> None:
        self._http = client

    def _dialect(self) -> Dialect:
        return dialect_of(self._http.version())

    @property
    def commands(self) -> DockerCommands:
        from pytest_isolate.engine.docker.commands import DockerCommands  # where something is wrong

        try:
            return DockerCommands(self._dialect().program)
        except EngineError:
            return DockerCommands()  # asked for where the engine is away: then this must not hide the first error

    def check(self, labels: Mapping[str, str]) -> None:
        """Prove that the engine answers and understands the very questions that removing will ask."""
        self.list_containers(labels)
        self.list_networks(labels)
        self.list_volumes(labels)
        self.labels_of_volumes(LABEL_KEPT)

    def list_containers(self, labels: Mapping[str, str]) -> Sequence[str]:
        query = {"all": "true", **as_query(label_filter(labels))}
        found = self._http.ask(LISTING_CONTAINERS, "GET", "/containers/json", query=query).json()
        return [str(c["Id"]) for c in found]

    def list_networks(self, labels: Mapping[str, str]) -> Sequence[str]:
        return [network_id(n) for n in self._list_networks(as_query(label_filter(labels)))]

    def _list_networks(self, query: Mapping[str, object]) -> Sequence[Mapping[str, Any]]:
        found = self._http.ask(LISTING_NETWORKS, "GET", self._dialect().networks, query=query).json()
        return [*(found or ())]

    def list_volumes(self, labels: Mapping[str, str]) -> Sequence[str]:
        query = as_query(label_filter(labels))
        found = self._http.ask(LISTING_VOLUMES, "GET", "/volumes", query=query).json()
        return [str(v["Name"]) for v in found["Volumes"] or ()]

    def labels_of_volumes(self, label: str) -> Sequence[Mapping[str, str]]:
        query = as_query({"label": [label]})
        found = self._http.ask(LISTING_VOLUMES, "GET", "/volumes", query=query).json()
        return [v["Labels"] for v in found["Volumes"] or ()]

    def remove_container(self, container_id: str) -> None:
        what, path = f"container {container_id[:12]} could not be removed", f"/containers/{quote(container_id)}"
        query = {"force": "true", "v": "true"}
        with gone_is_fine():
            for pause_s in _PAUSES_S:
                try:
                    self._http.ask(what, "DELETE", path, query=query)
                    return
                except EngineError as error:
                    if not is_ending(str(error)):
                        raise
                time.sleep(pause_s)
            self._http.ask(what, "DELETE", path, query=query)

    def detach(self, network_id: str, container_id: str) -> None:
        what, path = "a container could not be detached from a network", f"/networks/{quote(network_id)}"
        body = {"Container": container_id, "Force": True}
        with gone_is_fine():
            for pause_s in _PAUSES_S:
                try:
                    self._http.ask(what, "POST", f"{path}/disconnect", body=body)
                    return
                except EngineError as error:
                    if not is_half_detached(str(error)):
                        raise
                # As it is now, this container would keep Podman from listing any. Attached again it is whole.
                self._http.ask(what, "POST", f"{path}/connect", body={"Container": container_id})
                time.sleep(pause_s)
            self._http.ask(what, "POST", f"{path}/disconnect", body=body)

    def remove_network(self, network_id: str) -> None:
        what, path = f"network {network_id} could not be removed", f"/networks/{quote(network_id)}"
        with gone_is_fine():
            if any(self._is_removed(what, path, pause_s) for pause_s in _PAUSES_S):
                return
            for container_id in self._members(what, path):
                self.detach(network_id, container_id)
            try:
                self._http.ask(what, "DELETE", path)
            except EngineError as error:
                if not is_in_use(str(error)) or self._members(what, path):
                    raise
                raise EngineError(what, found=_MISCOUNTED, do=_RESTART) from error

    def _is_removed(self, what: str, path: str, pause_s: float) -> bool:
        """Try to remove it; where it is in use, wait for what is on it to go."""
        try:
            if not (self._dialect().empties_networks and self._members(what, path)):
                self._http.ask(what, "DELETE", path)
                return True
        except EngineError as error:
            if not is_in_use(str(error)):
                raise
        time.sleep(pause_s)
        return False

    def _members(self, what: str, path: str) -> Sequence[str]:
        return list(self._http.ask(what, "GET", path).json()["Containers"])

    def remove_volume(self, name: str) -> None:
        what = f"volume {name} could not be removed"
        with gone_is_fine():
            self._http.ask(what, "DELETE", f"/volumes/{quote(name)}", query={"force": "true"})


@contextmanager
def gone_is_fine() -> Iterator[None]:
    """No error for what is gone already, or going."""
    try:
        yield
    except ObjectNotFound:
        pass
    except EngineError as error:
        # Another one (the engine's own --rm, a second clean-up) is removing it at this moment.
        if not any(text in str(error) for text in ("already in progress", "is not connected to")):
            raise


def label_filter(labels: Mapping[str, str]) -> dict[str, list[str]]:
    """The filter of a list that holds only what carries all these labels."""
    return {"label": [f"{key}={value}" for key, value in labels.items()]}


def as_query(filters: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Filters as a part of an address."""
    return {"filters": json.dumps(filters)}


def network_id(found: Mapping[str, Any]) -> str:
    """The id of a network in a list of them, of Docker's API or of Podman's own."""
    return str(found.get("Id") or found["id"])
