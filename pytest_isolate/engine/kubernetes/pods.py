"""Pods of services: made as soon as there is room, waited for, asked what became of them, their logs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pytest_isolate.engine.api import ContainerState, LogLine
from pytest_isolate.engine.kubernetes.api_errors import ApiError
from pytest_isolate.engine.kubernetes.first_control import FirstControl, ProgramState, offset_of
from pytest_isolate.engine.kubernetes.objects.admission import NoRoomYet, explain_refusal, find_trouble
from pytest_isolate.engine.kubernetes.objects.manifests import GATE, HELD
from pytest_isolate.engine.kubernetes.objects.object_labels import NAME, annotation
from pytest_isolate.engine.kubernetes.objects.pod_template import SERVICE
from pytest_isolate.errors import EngineError, ObjectNotFound

if TYPE_CHECKING:
    from pytest_isolate.engine.api import ContainerRequest
    from pytest_isolate.engine.kubernetes.cluster_client import ClusterClient
    from pytest_isolate.engine.kubernetes.transport.exec_stream import ExecStream

_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8, 0.8, 0.8, 1.6, 1.6, 3.2)
"""Between two looks at a pod that is not there yet: without `watch` it is asked, and less and less often."""
_LATE_LINES_S = 0.5
_ASKED_EVERY_S = 0.8
_SILENT = "no output within"
ROOM_WITHIN_S = 300.0
"""Time for room to come: others end, or an autoscaler brings a node. Starts wait as long for the run's own budget."""
_PULLED_WITHIN_S = 60.0
"""Time for a registry to answer a node that it has given an error."""


class Pods:
    """The pods of a namespace, by name."""

    def __init__(self, client: ClusterClient, control: FirstControl, room_within_s: float = ROOM_WITHIN_S) -> None:
        self._client = client
        self._control = control
        self._room_within_s = room_within_s
        self._path = f"/api/v1/namespaces/{client.namespace}/pods"
        self._up: set[str] = set()
        self._unheld: set[str] = set()
        self._held: dict[str, bool] = {}
        self._ends: dict[str, float] = {}
        self._ahead_s: dict[str, float] = {}  # of the clocks of their nodes
        self._closed = threading.Event()

    def close(self) -> None:
        """End every wait."""
        self._closed.set()

    def get(self, pod: str, what: str) -> Mapping[str, Any]:
        """A pod; ObjectNotFound where there is none, or it is on its way out."""
        try:
            found = self._client.get(f"{self._path}/{pod}")
        except ApiError as error:
            if error.status != 404:
                raise
            raise ObjectNotFound(what, found=error.found) from error
        if found["metadata"].get("deletionTimestamp"):
            raise ObjectNotFound(what, found=f"pod {pod} is being removed")
        return found

    def list_pods(self, query: Mapping[str, str]) -> list[Mapping[str, Any]]:
        """The pods that a query selects, but those that are on their way out."""
        items = self._client.get(self._path, query).get("items") or ()
        return [found for found in items if not found["metadata"].get("deletionTimestamp")]

    def create(self, body: Mapping[str, Any], request: ContainerRequest) -> Mapping[str, Any]:
        """A new pod, as soon as the namespace's quota has room for it."""
        deadline = time.monotonic() + self._room_within_s
        while True:
            try:
                return self._client.create(self._path, body)
            except ApiError as error:
                refusal = explain_refusal(error, request, self._client.namespace)
                if refusal is error:
                    raise
                if not isinstance(refusal, NoRoomYet):
                    raise refusal from error
                if time.monotonic() >= deadline or self._closed.wait(1):
                    raise refusal.after(self._room_within_s) from error

    def bring_up(self, pod: str, what: str) -> None:
        """Return when the first process of a pod waits for a word; EngineError says why it never will.

        A pod that runs as its image says has no such process. It is waited for until it runs, or has run.
        """
        if pod in self._up:
            return
        began, looks = time.monotonic(), 0
        while True:
            found = self.get(pod, what)
            state = container_status(found).get("state") or {}
            if "running" in state:
                self._up.add(pod)
                return
            trouble = find_trouble(found, annotation(found, NAME))
            if "terminated" in state and not trouble:
                if not is_held(found):
                    return
                raise EngineError(what, found=f"its pod has ended with code {state['terminated'].get('exitCode')}")
            waited_s = time.monotonic() - began
            if trouble and (trouble.is_final or waited_s >= self._longest_wait_s(trouble.error)):
                raise (
                    trouble.error.after(self._room_within_s) if isinstance(trouble.error, NoRoomYet) else trouble.error
                )
            if waited_s >= self._room_within_s:
                raise EngineError(
                    what,
                    found=f"pod {pod} does not run after {self._room_within_s:g} s: {found['status'].get('phase')}",
                    do=[
                        f"see what its node does: kubectl -n {self._client.namespace} describe pod {pod}",
                        "give it longer: --isolate-pod-wait=10m",
                    ],
                )
            if self._closed.wait(_PAUSES_S[min(looks, len(_PAUSES_S) - 1)]):
                raise EngineError(what, found="the connections to the cluster are closed")
            looks += 1

    def _longest_wait_s(self, error: EngineError) -> float:
        room_s = self._room_within_s
        return room_s if isinstance(error, NoRoomYet) else min(room_s, _PULLED_WITHIN_S)

    def forget(self, pod: str) -> None:
        """Note that a pod is gone, or its container has ended."""
        self._up.discard(pod)
        self._unheld.discard(pod)
        self._held.pop(pod, None)
        self._ends.pop(pod, None)
        self._ahead_s.pop(pod, None)

    def note_end(self, pod: str) -> None:
        """Note that a program is known to have ended."""
        self._ends.setdefault(pod, time.monotonic())

    def note_start(self, pod: str) -> None:
        """Note that a program has been started, perhaps once more."""
        self._ends.pop(pod, None)

    def ungate(self, pod: str) -> None:
        """Let a pod without our first process be scheduled, and so start."""
        self._unheld.add(pod)
        self._client.patch(f"{self._path}/{pod}", {"spec": {"schedulingGates": []}})

    def is_unheld(self, pod: str) -> bool:
        """Tell that a pod that was started here has no first process of ours."""
        return pod in self._unheld

    def has_first(self, pod: str) -> bool:
        """Tell whether our first process is in a pod, also in one that another process has started."""
        if pod not in self._held:
            self._held[pod] = is_held(self.get(pod, "a container could not be asked"))
        return self._held[pod]

    # -- states ----------------------------------------------------------------------------------------------------

    def inspect(self, pod: str) -> ContainerState:
        """State of a container, as engines tell it; the ports are left out."""
        found = self.get(pod, "a container could not be inspected")
        name, status = annotation(found, NAME), container_status(found)
        state = status.get("state") or {}
        if "terminated" in state or found["status"].get("phase") == "Failed":
            return replace(_state_of_ended(state.get("terminated") or {}), name=name)
        if "running" not in state or is_gated(found):
            return ContainerState(is_running=False, name=name)
        if not is_held(found):
            return ContainerState(is_running=True, name=name, started_at=read_moment(state["running"]["startedAt"]))
        before = time.time()
        told = self._control.state(pod)
        self._ahead_s[pod] = offset_of(told, before, time.time())
        if told.state == "ended":
            self.note_end(pod)
        return replace(state_of_program(told, self._ahead_s[pod]), name=name)

    def await_end(self, pod: str) -> PodEnd:
        """The end of a container that has no first process of ours."""
        return PodEnd(lambda: not self.inspect(pod).is_running)

    # -- logs ------------------------------------------------------------------------------------------------------

    def read_lines(self, pod: str, since: float = 0, tail: int | None = None) -> list[LogLine]:
        """The log of a container from a moment on, line by line."""
        what, ahead_s = "a container's log could not be read", self._ahead_s.get(pod, 0.0)
        query = {"container": SERVICE, "timestamps": "true", **({} if tail is None else {"tailLines": str(tail)})}
        if since:
            # The server knows whole seconds only.
            start = datetime.fromtimestamp(int(since + ahead_s), timezone.utc)
            query["sinceTime"] = start.strftime("%Y-%m-%dT%H:%M:%SZ")
        self.bring_up_for_log(pod, what)
        content = self._read_log(pod, query)
        # The first process tells an end when its output was read, which may not be written down yet.
        while time.monotonic() - self._ends.get(pod, 0) < _LATE_LINES_S:
            if self._closed.wait(_LATE_LINES_S / 10):
                break
            before, content = content, self._read_log(pod, query)
            if before == content:
                break
        lines = [parse_line(line) for line in content.decode(errors="replace").splitlines(keepends=True)]
        moved = [LogLine(line.when - ahead_s, line.text) for line in lines]
        return [line for line in moved if line.when >= since]

    def _read_log(self, pod: str, query: Mapping[str, str]) -> bytes:
        with closing(self._client.read_stream(f"{self._path}/{pod}/log", query)) as stream:
            return b"".join(stream)

    def bring_up_for_log(self, pod: str, what: str) -> None:
        """Return when there is a log: the server refuses to show that of a container which is not there yet."""
        if pod in self._up:
            return
        found = self.get(pod, what)
        if not (container_status(found).get("state") or {}).keys() & {"running", "terminated"} and is_held(found):
            self.bring_up(pod, what)


def container_status(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """The status of a pod's container; empty before it has one."""
    found: Sequence[Mapping[str, Any]] = (pod.get("status") or {}).get("containerStatuses") or ({},)
    return found[0]


def is_held(pod: Mapping[str, Any]) -> bool:
    """Tell that our first process is in a pod."""
    return bool(annotation(pod, HELD))


def is_up(pod: Mapping[str, Any]) -> bool:
    """Tell that a pod's container runs, with whatever first process it has."""
    return "running" in (container_status(pod).get("state") or {})


def is_gated(pod: Mapping[str, Any]) -> bool:
    """Tell that a pod may not be scheduled yet."""
    return any(gate.get("name") == GATE for gate in pod["spec"].get("schedulingGates") or ())


def state_of_program(told: ProgramState, ahead_s: float) -> ContainerState:
    """State of a container by what its first process tells."""
    has_ended = told.state == "ended"
    return ContainerState(
        is_running=told.is_running,
        is_paused=told.state == "paused",
        exit_code=told.exit_code if has_ended else None,
        is_out_of_memory=has_ended and told.is_out_of_memory,
        started_at=told.started_at and told.started_at - ahead_s,
        ended_at=told.ended_at - ahead_s if told.ended_at and has_ended else 0,
    )


def _state_of_ended(ended: Mapping[str, Any]) -> ContainerState:
    return ContainerState(
        is_running=False,
        exit_code=int(ended.get("exitCode", 137)),
        is_out_of_memory=ended.get("reason") == "OOMKilled",
        started_at=read_moment(ended.get("startedAt") or ""),
        ended_at=read_moment(ended.get("finishedAt") or ""),
    )


def read_moment(text: str) -> float:
    """A moment as Kubernetes writes it, in seconds of the epoch; 0 for none."""
    if not text:
        return 0
    whole, _, rest = text.rstrip("Z").partition(".")
    digits, sign, zone = rest, "", ""
    for mark in "+-":
        if mark in rest:
            digits, sign, zone = rest.partition(mark)
    if not rest and whole.count("-") == 3:
        whole, sign, zone = whole.rpartition("-")
    elif "+" in whole:
        whole, sign, zone = whole.partition("+")
    moment = datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    hours, minutes = (zone.split(":") if zone else ("0", "0"))[:2]
    offset_s = (int(hours) * 3600 + int(minutes) * 60) * (-1 if sign == "-" else 1)
    return moment.timestamp() - offset_s + (float(f"0.{digits}") if digits else 0)


def parse_line(line: str) -> LogLine:
    """A line of a log behind its moment."""
    moment, _, text = line.rstrip("\n").partition(" ")
    try:
        return LogLine(read_moment(moment), text)
    except ValueError:
        return LogLine(0, line.rstrip("\n"))


class PodEnd:
    """The end of a container without our first process: it is asked for again and again."""

    def __init__(self, has_ended: Callable[[], bool]) -> None:
        self._has_ended = has_ended
        self._closed = threading.Event()

    def receive(self, timeout_s: float | None) -> tuple[int, bytes] | None:
        """Return None when it has ended; EngineError after the time-out."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not (self._closed.is_set() or self._has_ended()):
            if deadline is not None and time.monotonic() >= deadline:
                raise EngineError("the end of a container could not be waited for", found=f"{_SILENT} {timeout_s:g} s")
            self._closed.wait(_ASKED_EVERY_S)
        return None

    def close(self) -> None:
        """End every wait."""
        self._closed.set()


class PodLogTail:
    """The last lines of a container's log, as it goes on.

    The server's own way to follow a log ends with the first process, which stays. So the program's end is waited for,
    and the lines are read then.
    """

    def __init__(self, pods: Pods, end: ExecStream | PodEnd, pod: str, tail: int) -> None:
        self._read: Callable[[float], list[LogLine]] = lambda since: pods.read_lines(pod, since)
        lines = pods.read_lines(pod, 0, max(tail, 1))
        last = lines[-1].when if lines else 0.0
        self._since = lines[0].when if lines and tail else last + 1e-9 if last else 0.0
        self._end = end

    def read_to_end(self, timeout_s: float) -> str:
        try:
            while self._end.receive(timeout_s) is not None:
                pass
        except EngineError as error:
            if _SILENT not in str(error):
                raise
            what, found = "a container's log could not be followed", f"it goes on after {timeout_s:g} s"
            raise EngineError(what, found=found) from error
        return "".join(f"{line.text}\n" for line in self._read(self._since))

    def close(self) -> None:
        self._end.close()
