"""Errors of engines: which of ours each is. Engines tell most of their reasons in words only. Pure."""

from __future__ import annotations

import json
import re

from pytest_isolate.errors import EngineError, EngineUnreachable, ObjectNotFound, PortTaken, SubnetTaken

_NOT_FOUND = 404
# The words of Docker, of Docker Desktop (in front of the system's, which may be in any language), and of gvproxy, which
# forwards for Podman's machine. A bind that another port would not mend is no taken port.
_PROGRAM_GONE = re.compile(r"/proc/\d+/\S+: no such (process|file)")
_PORT_TAKEN = re.compile(
    r"address.*already in use|already in use.*address|port is already allocated|proxy already running"
    r"|(?:ports are not available: exposing port|listen (?:tcp|udp)\S* \S+: bind:)"
    r"(?!.*(?:assign requested address|permission denied))",
    re.DOTALL,
)


def explanation(answer: bytes) -> str:
    """The reason of a refusal, in the engine's own words."""
    text = answer.decode(errors="replace").strip()
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text


def unreachable_error(what: str, address: str, reason: str) -> EngineUnreachable:
    """An engine that did not answer a request."""
    return EngineUnreachable(
        what,
        tried=[address],
        found=[f"the engine does not answer (any more): {reason}"],
        # Moby issue 46661: a network's last container goes while another one comes.
        do=[
            "see whether the engine still runs and what its own log says",
            "Docker before 20.10.27 may hang for good while containers come and go: restart it, and upgrade",
        ],
    )


def refusal_error(what: str, status: int, explanation: str) -> EngineError:
    """The error that stands for an engine's refusal."""
    if status == _NOT_FOUND:
        return ObjectNotFound(what, found=[explanation])
    text = explanation.lower()
    if _PORT_TAKEN.search(text):
        return PortTaken(what, found=[explanation])
    if "network not found" in text or "no such network" in text:
        return ObjectNotFound(what, found=[explanation])
    if "overlaps with other one" in text or "subnet is already used" in text or "is already used on the host" in text:
        return SubnetTaken(what, found=[explanation])
    return EngineError(what, found=[explanation])


def is_in_use(explanation: str) -> bool:
    """Tell that a network could not be removed only because containers are still on it."""
    return "has active endpoints" in explanation


def is_attached(explanation: str) -> bool:
    """Tell that a container could not be attached to a network only because it is on it."""
    return "already exists in network" in explanation or "network is already connected" in explanation


def is_half_detached(explanation: str) -> bool:
    """Tell that a container was taken off a network but for its names there.

    Podman 4's server of names is away for a moment when the last container of a host goes, or the first one comes.
    """
    return "aardvark pid not found" in explanation


def is_ending(explanation: str) -> bool:
    """Tell that a container could not be removed only because its program ends by itself at this moment.

    Podman 4 sends it SIGKILL then, and finds it stopped.
    """
    return "container state improper" in explanation


def is_passing(explanation: str) -> bool:
    """Tell that a question is refused only at this moment.

    Podman 4 cannot answer while another process takes a container off a network, and while the program of a container
    ends that it looks at.
    """
    return "network inspection mismatch" in explanation or bool(_PROGRAM_GONE.search(explanation))
