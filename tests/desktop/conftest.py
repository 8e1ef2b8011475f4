"""A stand-in of a desktop: an engine in a virtual machine, and a host whose only way to it is a forwarder.

Both are containers. The machine is the engine of tests/remote. The host has no network but a loopback that is 127.0.0.1
alone, and the folder that it shares with the machine stands for the machine's virtual sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import docker
import pytest
from fakes.programs import IMAGE
from remote.conftest import OPEN, PACKAGE, RIGHTS, SOCKET, TESTS, Machines, Place, open_machines

NEWER = "debian:trixie-slim"  # the examples build on both
STAND_IN = "pytest-isolate-tests/desktop"
FOLDER = "/shared"
ENGINE = "/home/dev/.docker/run/docker.sock"  # as Docker Desktop has it in the home of its user
CLOCK = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
EXAMPLES = TESTS.parent / "examples"


OpenHost = Callable[..., Place]


@pytest.fixture(scope="session")
def machines(docker_client: Any) -> Iterator[Machines]:
    with open_machines(docker_client) as machines:
        yield machines


@pytest.fixture(scope="session")
def machine(machines: Machines, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The virtual machine, by the folder that it shares with hosts."""
    for line in machines.client.build(path=str(Path(__file__).parent), tag=STAND_IN, rm=True, decode=True):
        if "error" in line:
            pytest.fail(line["error"])
    folder = tmp_path_factory.mktemp("shared")
    engine = machines.start(
        *("sh", "-c", f"python3 -m desktop.machine_side {FOLDER} & exec engine {IMAGE} {NEWER}"),
        image=STAND_IN,
        env={"PYTHONPATH": "/tests"},
        more=OPEN,
        cap_add=RIGHTS.split(),
        device_cgroup_rules=["a *:* rwm"],
        binds={
            SOCKET: {"bind": "/around.sock", "mode": "ro"},
            str(folder): {"bind": FOLDER, "mode": "rw"},
            str(TESTS): {"bind": "/tests", "mode": "ro"},
        },
        mounts=[docker.types.Mount("/var/lib/docker", None, type="volume")],
    )
    machines.wait_for_log(engine, "this engine has all it needs")
    return folder


@pytest.fixture(scope="session")
def client(machine: Path) -> Iterator[Any]:
    """The machine's engine as Docker's own library sees it, without the forwarder."""
    client = docker.APIClient(base_url=f"unix://{machine}/docker.sock")
    yield client
    client.close()


@pytest.fixture(scope="session")
def open_host(machines: Machines, machine: Path, client: Any, tmp_path_factory: pytest.TempPathFactory) -> OpenHost:
    """A function that opens a host whose forwarder has these options, and whose clock is as faketime takes it."""
    root = tmp_path_factory.getbasetemp()

    def open_host(*options: str, clock: str = "") -> Place:
        host = machines.start(
            *("python3", "-m", "desktop.host_side", FOLDER, ENGINE, *options),
            image=STAND_IN,
            env={"PYTHONPATH": "/tests"},
            network_mode="none",
            cap_add=["NET_ADMIN"],
            # A port that was served a moment ago can be had: this host's kernel keeps no record of ended connections.
            sysctls={"net.ipv4.tcp_max_tw_buckets": "0"},
            init=True,
            binds={
                str(machine): {"bind": FOLDER, "mode": "rw"},
                str(TESTS): {"bind": "/tests", "mode": "ro"},
                str(EXAMPLES): {"bind": "/examples", "mode": "ro"},
                str(PACKAGE): {"bind": "/usr/lib/python3/dist-packages/pytest_isolate", "mode": "ro"},
                str(root): {"bind": str(root), "mode": "rw"},
            },
        )
        machines.wait_for_log(host, "this host has its engine")
        env = {"PYTHONPATH": "/tests", "PYTHONDONTWRITEBYTECODE": "1", "DOCKER_HOST": f"unix://{ENGINE}"}
        env["PYTEST_PLUGINS"] = "pytest_isolate.plugin.hooks"
        if clock:
            env |= {"LD_PRELOAD": CLOCK, "FAKETIME": clock, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}

        def run(folder: Path, args: Sequence[str]) -> tuple[int, str]:
            words = [word.replace(str(TESTS), "/tests") for word in args]
            command = ["python3", "-m", "pytest", "-c", "/tests/remote/inside.ini", "--rootdir", str(folder), *words]
            made = machines.client.exec_create(host, command, environment=env, workdir=str(folder))
            output = machines.client.exec_start(made).decode(errors="replace")
            return machines.client.exec_inspect(made)["ExitCode"], output

        return Place(" ".join(options), client, run)

    return open_host
