"""Addresses at which a container engine may listen, in the order of the docker client."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from pytest_isolate.engine.docker.transport.npipe import has_pipe
from pytest_isolate.engine.docker.transport.places import PIPE, podman_machine_addresses, usual_addresses
from pytest_isolate.system import SYSTEM, System, user_id
from pytest_isolate.user_files import find_home, read_text

USUAL = "usual socket"
"""Name of the source of an address that is only the usual one."""


class Candidate(Struct, frozen=True):
    """An address to try, and what named it. A docker context may bring its own certificates, or do without checks."""

    address: str
    named_by: str
    certificates: str = ""
    is_verified: bool = True


class Context(Struct, frozen=True):
    """A docker context. No address means that it is not there, or broken."""

    name: str
    address: str = ""
    certificates: str = ""
    is_verified: bool = True


def find_candidates(
    env: Mapping[str, str], read_context: Callable[[], Context | None], usual: Iterable[str]
) -> Iterator[Candidate]:
    """DOCKER_HOST, DOCKER_CONTEXT or CONTAINER_HOST alone where it is set.

    Else the current docker context, then the usual sockets.
    """
    if env.get("DOCKER_HOST"):
        yield Candidate(env["DOCKER_HOST"], "DOCKER_HOST")
        return
    if env.get("CONTAINER_HOST") and not env.get("DOCKER_CONTEXT"):
        yield Candidate(env["CONTAINER_HOST"], "CONTAINER_HOST")
        return
    context = read_context()
    if context:
        named_by = f"docker context {context.name!r}"
        yield Candidate(context.address, named_by, context.certificates, context.is_verified)
        if env.get("DOCKER_CONTEXT"):
            return
    seen = {context.address} if context else set()
    for address in usual:
        if address not in seen:
            seen.add(address)
            yield Candidate(address, USUAL)


def candidates_here(env: Mapping[str, str]) -> Iterator[Candidate]:
    """The candidates of this process, each found when it is asked for."""
    home = find_home()
    return find_candidates(env, lambda: read_docker_context(env, home), _usual_here(env, home))


def _usual_here(env: Mapping[str, str], home: Path | None) -> Iterator[str]:
    yield from usual_addresses(env, home, user_id(), SYSTEM)
    if SYSTEM is not System.LINUX:
        yield from podman_machine_addresses(env)


def find_certificates(env: Mapping[str, str], address: str, home: Path | None) -> str:
    """The folder of the certificates to show and to trust; empty where the address is used as it is."""
    if not env.get("DOCKER_TLS_VERIFY") or not address.startswith("tcp://"):
        return ""
    return env.get("DOCKER_CERT_PATH") or str((home or Path(os.devnull)) / ".docker")


def why_no_address(address: str) -> str:  # noqa: PLR0911  # a list of reasons
    """Reason why no engine can answer at an address; empty where one may."""
    if not address:
        return "there is no such context"
    if address.startswith(PIPE):
        if SYSTEM is not System.WINDOWS:
            return "only Windows has named pipes"
        return "" if has_pipe(address) else "no such pipe"
    if address.startswith("unix://"):
        if not hasattr(socket, "AF_UNIX"):
            return "Python has no Unix sockets on Windows: name a pipe (npipe:////./pipe/NAME), tcp:// or ssh://"
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
        return _why_no_login(address)
    if parts.scheme not in ("tcp", "http", "https") or not host:
        return "not an address of a container engine, which is unix:///a/path, tcp://host:port or ssh://user@host"
    return ""


def _why_no_login(address: str) -> str:
    import shutil  # rarely needed

    from pytest_isolate.engine.docker.transport.ssh import parse_login

    try:
        parse_login(address)
    except ValueError as error:
        return str(error)
    return "" if shutil.which("ssh") else "there is no command ssh here"


def read_docker_context(env: Mapping[str, str], home: Path | None) -> Context | None:
    """The docker context in force, None for the default one; without an address where it is not there.

    Format: Docker's command line reference, "docker context"; the metadata lies in a folder named by the hash of the
    context's name, so all are read.
    """
    folder = Path(env.get("DOCKER_CONFIG") or (home or Path(os.devnull)) / ".docker")
    try:
        name = env.get("DOCKER_CONTEXT") or json.loads(read_text(folder / "config.json")).get("currentContext")
    except (OSError, ValueError, AttributeError):
        return None
    if not name or name == "default":
        return None
    import hashlib  # rarely needed

    found = (_read_meta(path, name) for path in (folder / "contexts" / "meta").glob("*/meta.json"))
    context = next(filter(None, found), Context(name))
    # docker writes a context's certificates into a folder that is named by the hash of the context's name.
    certificates = folder / "contexts" / "tls" / hashlib.sha256(name.encode()).hexdigest() / "docker"
    is_tls = certificates.is_dir() or not context.is_verified
    return replace(context, certificates=str(certificates)) if context.address and is_tls else context


def _read_meta(path: Path, name: str) -> Context | None:
    """A context as its metadata has it; None where it is another one's, or broken."""
    try:
        meta = json.loads(read_text(path))
        docker = meta["Endpoints"]["docker"]
        is_verified = not docker.get("SkipTLSVerify")
        return Context(name, str(docker["Host"]), is_verified=is_verified) if meta["Name"] == name else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
