"""Where a container engine may be listening, in the order that the docker client itself would look."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

USUAL = "usual socket"
"""What names an address that nobody has named."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An address to try, and what named it."""

    address: str
    named_by: str


def find_candidates(
    env: Mapping[str, str], read_context: Callable[[], tuple[str, str] | None], user_id: int
) -> list[Candidate]:
    """DOCKER_HOST, DOCKER_CONTEXT or CONTAINER_HOST alone where it is set.

    Else the current docker context, then the usual sockets.
    """
    if env.get("DOCKER_HOST"):
        return [Candidate(env["DOCKER_HOST"], "DOCKER_HOST")]
    if env.get("CONTAINER_HOST") and not env.get("DOCKER_CONTEXT"):
        return [Candidate(env["CONTAINER_HOST"], "CONTAINER_HOST")]
    candidates = []
    context = read_context()
    if context:
        candidates.append(Candidate(context[1], f"docker context {context[0]!r}"))
        if env.get("DOCKER_CONTEXT"):
            return candidates
    runtime = env.get("XDG_RUNTIME_DIR") or f"/run/user/{user_id}"
    sockets = ["/var/run/docker.sock", f"{runtime}/docker.sock", f"{runtime}/podman/podman.sock"]
    sockets.append("/run/podman/podman.sock")
    candidates += [Candidate(f"unix://{path}", USUAL) for path in sockets]
    by_address: dict[str, Candidate] = {}
    for candidate in candidates:
        by_address.setdefault(candidate.address, candidate)
    return list(by_address.values())


def find_certificates(env: Mapping[str, str], address: str, home: Path) -> str:
    """The folder of the certificates to show and to trust; empty where the address is used as it is."""
    if not env.get("DOCKER_TLS_VERIFY") or not address.startswith("tcp://"):
        return ""
    return env.get("DOCKER_CERT_PATH") or str(home / ".docker")


def why_no_address(address: str) -> str:  # noqa: PLR0911  # a list of reasons
    """Why nobody can answer at an address; empty where it may be that somebody does."""
    if not address:
        return "there is no such context"
    if address.startswith("unix://"):
        try:
            return "" if Path(address.removeprefix("unix://")).exists() else "no such socket"
        except PermissionError:  # up to Python 3.13; later ones say that it is not there
            return "its folder may not be entered"
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return str(error)
    if parts.scheme == "ssh":
        return "an engine behind ssh is on another host"
    if parts.scheme not in ("tcp", "http", "https") or not host:
        return "not an address of a container engine, which is unix:///a/path or tcp://host:port"
    return ""


def read_docker_context(env: Mapping[str, str], home: Path) -> tuple[str, str] | None:
    """Name and address of the docker context in force, None for the default one; no address where it is not there.

    Format: Docker's command line reference, "docker context"; the metadata lies in a folder named by the hash of the
    context's name, so all are read.
    """
    folder = Path(env.get("DOCKER_CONFIG") or home / ".docker")
    try:
        name = env.get("DOCKER_CONTEXT") or json.loads((folder / "config.json").read_text()).get("currentContext")
    except (OSError, ValueError, AttributeError):
        return None
    if not name or name == "default":
        return None
    addresses = (_read_address(path, name) for path in (folder / "contexts" / "meta").glob("*/meta.json"))
    return name, next(filter(None, addresses), "")


def _read_address(path: Path, name: str) -> str:
    """The address in a context's metadata; empty where it is another context's, or broken."""
    try:
        meta = json.loads(path.read_text())
        return str(meta["Endpoints"]["docker"]["Host"]) if meta["Name"] == name else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""
