"""How long a container takes from its creation to its first answer, on several engines in turn.

`python -m benchmarks.engines ADDRESS...`; `scripts/podman rootless` runs it beside a Podman. Each engine must have the
image debian:bookworm-slim.
"""

from __future__ import annotations

import secrets
import socket
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException

from benchmarks.load import LoadMeter
from pytest_isolate.engine.api import ContainerRequest, Engine, PortBinding
from pytest_isolate.engine.connect import connect

ROUNDS = 12
IMAGE = "debian:bookworm-slim"
SERVER = (
    "use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalPort => 8000, Listen => 9) or die;"
    'while (my $c = $s->accept) { <$c>; print $c "HTTP/1.0 200 x\\r\\n\\r\\nhello"; close $c }'
)


def main(addresses: Sequence[str]) -> None:
    """Print the medians of each engine, and how they relate to those of the first."""
    engines = [connect({"DOCKER_HOST": address}) for address in addresses]
    found: dict[str, list[tuple[float, float]]] = {address: [] for address in addresses}
    load = LoadMeter()
    for _ in range(ROUNDS):
        load.sample()
        for engine, address in zip(engines, addresses, strict=True):
            found[address].append(_measure(engine))
    first: list[float] = []
    for engine, address in zip(engines, addresses, strict=True):
        medians = [statistics.median(values) for values in zip(*found[address], strict=True)]
        first = first or medians
        started, answered = medians
        facts = engine.facts()
        print(
            f"{facts.name} {facts.version}: create to started {1000 * started:.0f} ms ({started / first[0]:.2f}), "
            f"to the first answer {1000 * answered:.0f} ms ({answered / first[1]:.2f}); medians of {ROUNDS}"
        )
    print(load.describe())


def _measure(engine: Engine) -> tuple[float, float]:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        request = ContainerRequest(
            name=f"isolate-benchmark-{secrets.token_hex(4)}",
            image=IMAGE,
            labels={},
            command=["perl", "-e", SERVER],
            ports=(PortBinding(inner=8000, host_ip="127.0.0.1", host_port=port),),
        )
        began = time.monotonic()
        container = engine.create_container(request)
        try:
            engine.start_container(container)
            started = time.monotonic()
            while not _answers(port):
                time.sleep(0.001)
            return started - began, time.monotonic() - began
        finally:
            engine.remove_container(container)


def _answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    with suppress(OSError, HTTPException):
        connection.request("GET", "/")
        return connection.getresponse().read() == b"hello"
    connection.close()
    return False


if __name__ == "__main__":
    main(sys.argv[1:])
