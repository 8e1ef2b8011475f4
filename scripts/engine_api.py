"""Asks a container engine a few things before anything is installed.

find, has IMAGE, pull IMAGE, import IMAGE FILE.

Standard library only: neither the docker command nor this project's own engine layer can be assumed yet.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import SplitResult, urlencode, urlsplit

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from typing import BinaryIO

# A socket that systemd holds answers only once its daemon is up.
ANSWER_TIMEOUT_S = 10
# A registry that can be reached names the image at once; the engine may wait minutes for one that cannot.
REGISTRY_TIMEOUT_S = 15
TRANSFER_TIMEOUT_S = 120


class Candidate(NamedTuple):
    address: str
    certificates: Path | None = None


def main(arguments: list[str]) -> int:
    found, answers = find()
    if arguments == ["find"] or found is None:
        return report(found, answers)
    try:
        match arguments:
            case ["has", image]:
                return 0 if has_image(found, image) else 1
            case ["pull", image]:
                pull_image(found, image)
            case ["import", image, file]:
                import_image(found, image, file)
            case _:
                raise ValueError(__doc__)
    except (OSError, ValueError) as error:
        print(reason_of(error), file=sys.stderr)
        return 1
    return 0


# --- which engine ---


def find() -> tuple[Candidate | None, list[str]]:
    answers = []
    for candidate in candidates():
        try:
            answers.append(f"{candidate.address} ({ping(candidate)})")
        except (OSError, ValueError) as error:
            answers.append(f"{candidate.address}: {reason_of(error)}")
        else:
            return candidate, answers
    return None, answers


def report(found: Candidate | None, answers: list[str]) -> int:
    """0: one answers. 1: none does. 2: the one that the user named does not, and another must not take its place."""
    if found:
        print(f"engine: {answers[-1]}")
        return 0
    if named := named_by_user():
        print(f"{named} is set, but no container engine answers there ({answers[0]})", file=sys.stderr)
        return 2
    print("no container engine answers (" + "; ".join(answers) + ")", file=sys.stderr)
    return 1


def named_by_user() -> str | None:
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        value = os.environ.get(name)
        if value and (name, value) != ("DOCKER_CONTEXT", "default"):
            return f"{name}={value}"
    return None


def candidates() -> Iterator[Candidate]:
    named = named_by_user()
    if named and named.startswith("DOCKER_HOST"):
        verify = os.environ.get("DOCKER_TLS_VERIFY")
        folder = Path(os.environ.get("DOCKER_CERT_PATH") or config_folder())
        yield Candidate(os.environ["DOCKER_HOST"], folder if verify else None)
    elif named:
        yield context_endpoint(os.environ["DOCKER_CONTEXT"])
    else:
        current = current_context()
        if current and os.environ.get("DOCKER_CONTEXT") != "default":
            yield context_endpoint(current)
        for path in usual_sockets():
            yield Candidate(f"unix://{path}")


def config_folder() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def current_context() -> str | None:
    try:
        name = json.loads((config_folder() / "config.json").read_text()).get("currentContext")
    except (OSError, ValueError):
        return None
    return name if name != "default" else None


def context_endpoint(name: str) -> Candidate:
    folder, key = config_folder() / "contexts", hashlib.sha256(name.encode()).hexdigest()
    try:
        meta = json.loads((folder / "meta" / key / "meta.json").read_text())
        address = meta["Endpoints"]["docker"]["Host"]
    except (OSError, ValueError, KeyError):
        return Candidate(f"docker context {name}")
    certificates = folder / "tls" / key / "docker"
    return Candidate(address, certificates if certificates.is_dir() else None)


def usual_sockets() -> list[str]:
    own = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return ["/var/run/docker.sock", f"{own}/docker.sock", f"{own}/podman/podman.sock", "/run/podman/podman.sock"]


# --- talking to it ---


def ping(candidate: Candidate) -> str:
    """The engine's name and version. By hand, because http.client takes longer to import than all the rest."""
    with connect(candidate) as connection:
        connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
        answer = b""
        while b"\r\n\r\n" not in answer and len(answer) < 65536 and (received := connection.recv(4096)):
            answer += received
    status, _, rest = answer.decode("latin-1").partition("\r\n")
    if status.split(" ")[1:2] != ["200"]:
        raise ValueError(f"not a container engine, it answered {status[:60]!r}")
    headers = dict(line.split(": ", 1) for line in rest.split("\r\n") if ": " in line)
    return headers.get("Server", "unknown server")


def connect(candidate: Candidate) -> socket.socket:
    address, certificates = candidate
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    if parts.scheme == "unix":
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(ANSWER_TIMEOUT_S)
        connection.connect(parts.path)
        return connection
    if parts.scheme == "ssh":
        return connect_by_ssh(parts)
    if parts.scheme not in ("tcp", "http", "https") or not parts.hostname or " " in parts.hostname:
        raise ValueError("not an address of a container engine")
    is_encrypted = certificates is not None or parts.scheme == "https"
    port = parts.port or (2376 if is_encrypted else 2375)
    connection = socket.create_connection((parts.hostname, port), ANSWER_TIMEOUT_S)
    return encrypt(connection, parts.hostname, certificates) if is_encrypted else connection


def encrypt(connection: socket.socket, host: str, certificates: Path | None) -> socket.socket:
    import ssl  # slow to import, and rarely needed

    trust = ssl.create_default_context()
    if certificates and (certificates / "ca.pem").exists():
        trust.load_verify_locations(certificates / "ca.pem")
    if certificates and (certificates / "cert.pem").exists():
        trust.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    return trust.wrap_socket(connection, server_hostname=host)


def connect_by_ssh(parts: SplitResult) -> socket.socket:
    """As the docker command does it: the docker on the other side hands through its own socket."""
    import subprocess

    ours, theirs = socket.socketpair()
    port = ["-p", str(parts.port)] if parts.port else []
    target = parts.netloc.rsplit(":", 1)[0] if parts.port else parts.netloc
    options = ["-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={ANSWER_TIMEOUT_S}"]
    command = ["ssh", *options, *port, "--", target, "docker", "system", "dial-stdio"]
    with theirs:
        subprocess.Popen(command, stdin=theirs.fileno(), stdout=theirs.fileno())
    ours.settimeout(2 * ANSWER_TIMEOUT_S)
    return ours


def request(connection: socket.socket, method: str, path: str, body: BinaryIO | None = None) -> HTTPResponse:
    from http.client import HTTPConnection

    client = HTTPConnection("docker")
    client.sock = connection
    headers = {"Content-Length": str(os.fstat(body.fileno()).st_size)} if body else {}
    client.request(method, path, body=body, headers=headers)
    return client.getresponse()


def reason_of(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


# --- images ---


def has_image(engine: Candidate, image: str) -> bool:
    with connect(engine) as connection:
        return request(connection, "GET", f"/images/{image}/json").status == 200


def pull_image(engine: Candidate, image: str) -> None:
    name, _, tag = image.partition(":")
    with connect(engine) as connection:
        connection.settimeout(REGISTRY_TIMEOUT_S)
        for status in progress_of(request(connection, "POST", f"/images/create?fromImage={name}&tag={tag}")):
            if status.startswith("Pulling from"):
                connection.settimeout(TRANSFER_TIMEOUT_S)


def import_image(engine: Candidate, image: str, file: str) -> None:
    name, _, tag = image.partition(":")
    query = urlencode({"fromSrc": "-", "repo": name, "tag": tag, "changes": 'CMD ["bash"]'})
    with connect(engine) as connection, open(file, "rb") as tar:
        connection.settimeout(TRANSFER_TIMEOUT_S)
        for _status in progress_of(request(connection, "POST", f"/images/create?{query}", tar)):
            pass


def progress_of(answer: HTTPResponse) -> Iterator[str]:
    """Each status line, until the work is done. An error may come in the middle of what began as a success."""
    if answer.status != 200:
        raise ValueError(json.loads(answer.read() or b"{}").get("message", f"status {answer.status}"))
    while line := answer.readline():
        progress = json.loads(line)
        if "error" in progress:
            raise ValueError(progress["error"])
        yield str(progress.get("status", ""))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
