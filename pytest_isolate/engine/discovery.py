"""Where a container engine may be listening, in the order that the docker client itself would look."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Candidate:
    """An address to try, and what named it."""

    address: str
    named_by: str


def find_candidates(
    env: Mapping[str, str], read_context: Callable[[], tuple[str, str] | None], user_id: int
) -> list[Candidate]:
    """DOCKER_HOST or DOCKER_CONTEXT alone where it is set; else the current docker context, then the usual sockets."""
    if env.get("DOCKER_HOST"):
        return [Candidate(env["DOCKER_HOST"], "DOCKER_HOST")]
    candidates = []
    context = read_context()
    if context:
        candidates.append(Candidate(context[1], f"docker context {context[0]!r}"))
        if env.get("DOCKER_CONTEXT"):
            return candidates
    runtime = env.get("XDG_RUNTIME_DIR") or f"/run/user/{user_id}"
    sockets = ["/var/run/docker.sock", f"{runtime}/docker.sock", f"{runtime}/podman/podman.sock"]
    sockets.append("/run/podman/podman.sock")
    candidates += [Candidate(f"unix://{path}", "usual socket") for path in sockets]
    by_address: dict[str, Candidate] = {}
    for candidate in candidates:
        by_address.setdefault(candidate.address, candidate)
    return list(by_address.values())


def read_docker_context(env: Mapping[str, str], home: Path) -> tuple[str, str] | None:
    """Name and address of the docker context in force; None for the default one, or where there is none.

    Format: Docker's command line reference, "docker context"; the metadata lies in a folder named by the hash of the
    context's name, so all are read.
    """
    folder = Path(env.get("DOCKER_CONFIG") or home / ".docker")
    try:
        name = env.get("DOCKER_CONTEXT") or json.loads((folder / "config.json").read_text()).get("currentContext")
        if not name or name == "default":
            return None
        for path in (folder / "contexts" / "meta").glob("*/meta.json"):
            meta = json.loads(path.read_text())
            if meta.get("Name") == name:
                return name, meta["Endpoints"]["docker"]["Host"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return None
