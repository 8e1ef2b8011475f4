"""The least that a workload can take: `python -m benchmarks.limit WORKLOAD` prints its seconds as JSON.

It talks to the engine directly, starts all at once, asks every 2 ms whether a service answers, and when all do kills
them without waiting for their removal. What it removes afterwards is not in its time, nor is the start of Python.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace

from benchmarks.engine import Engine, RefusedError
from benchmarks.projects.services.clients import get, ping, select_1

ASK_EVERY_S = 0.002
TIMEOUT_S = 60
_PASSWORD = "sesame"
_DATA = "/var/lib/postgresql/data"  # a volume in the image; tmpfs takes its place
_INITIALISED_DATA = "/var/lib/postgresql/initialised"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A service: its `env` is made from the addresses of what it needs, which must answer before it starts."""

    name: str
    image: str
    port: int
    answers: Callable[[str], object]
    env: Callable[[Mapping[str, str]], list[str]] = lambda _: []
    needs: tuple[str, ...] = ()
    tmpfs: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()


class Started:
    """Where a service is found from inside, known when it has started, and whether it answers yet."""

    def __init__(self) -> None:
        self.address: Future[str] = Future()
        self.answered: Future[None] = Future()


class Limit:
    """One run: what it has started, so that all of it is killed and removed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._containers: list[str] = []

    def run_all(self, stacks: Sequence[Sequence[Wanted]]) -> None:
        """Start everything at once, wait for all of it, kill it."""
        with ThreadPoolExecutor(sum(len(stack) for stack in stacks)) as pool:
            starts: list[Future[str]] = []
            for stack in stacks:
                known = {wanted.name: Started() for wanted in stack}
                starts += [pool.submit(self._start, wanted, known) for wanted in stack]
            containers = [start.result() for start in starts]
            for done in [pool.submit(self._kill, container) for container in containers]:
                done.result()

    def run_one_after_another(self, wanted: Wanted, times: int, ahead: int) -> None:
        """Start one for each of many tests, some ahead, and kill each while the next ones start."""
        with ThreadPoolExecutor(ahead) as starting, ThreadPoolExecutor(times) as killing:
            starts = [starting.submit(self._start, wanted, {wanted.name: Started()}) for _ in range(times)]
            kills = [killing.submit(self._kill, start.result()) for start in starts]
            for done in kills:
                done.result()

    def initialise(self, wanted: Wanted, repo: str, tag: str) -> None:
        """Start it with its data in its own file system, not in the volume; stop it, and keep that as an image."""
        moved = replace(wanted, env=lambda known: [*wanted.env(known), f"PGDATA={_INITIALISED_DATA}"])
        container = self._start(moved, {wanted.name: Started()})
        self._engine.call("POST", f"/containers/{container}/stop", t=60)
        self._engine.call("POST", "/commit", container=container, repo=repo, tag=tag)

    def remove(self) -> None:
        for container in self._containers:
            with suppress(RefusedError):
                self._engine.call("DELETE", f"/containers/{container}", force=1, v=1)

    def _start(self, wanted: Wanted, known: Mapping[str, Started]) -> str:
        here = known[wanted.name]
        try:
            addresses = {name: known[name].address.result(TIMEOUT_S) for name in wanted.needs}
            container = self._create(wanted, wanted.env(addresses))
            for name in wanted.needs:
                known[name].answered.result(TIMEOUT_S)
            self._engine.call("POST", f"/containers/{container}/start")
            facts = self._engine.call("GET", f"/containers/{container}/json")["NetworkSettings"]
            here.address.set_result(facts["IPAddress"])
            _wait_for(wanted, f"127.0.0.1:{facts['Ports'][f'{wanted.port}/tcp'][0]['HostPort']}")
            here.answered.set_result(None)
        except BaseException as error:
            for future in (here.address, here.answered):
                if not future.done():
                    future.set_exception(error)
            raise
        return container

    def _create(self, wanted: Wanted, env: list[str]) -> str:
        port = f"{wanted.port}/tcp"
        body = {
            "Image": wanted.image,
            "Env": env,
            "ExposedPorts": {port: {}},
            "HostConfig": {"PortBindings": {port: [{"HostIp": "127.0.0.1"}]}, "Tmpfs": dict(wanted.tmpfs)},
        }
        if wanted.command:
            body["Cmd"] = list(wanted.command)
        container = str(self._engine.call("POST", "/containers/create", body)["Id"])
        self._containers.append(container)
        return container

    def _kill(self, container: str) -> None:
        self._engine.call("POST", f"/containers/{container}/kill")


def _wait_for(wanted: Wanted, address: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            wanted.answers(address)
        except (OSError, ValueError) as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{wanted.name} does not answer: {error}") from error
            time.sleep(ASK_EVERY_S)
        else:
            return


# -- workloads ------------------------------------------------------------------------------------------------------


def _postgres(image: str, tmpfs: Mapping[str, str]) -> Wanted:
    return Wanted(
        name="db",
        image=image,
        port=5432,
        env=lambda _: [f"POSTGRES_PASSWORD={_PASSWORD}"],
        tmpfs=tmpfs,
        command=("postgres", "-c", "fsync=off"),
        answers=lambda address: select_1(f"postgresql://postgres:{_PASSWORD}@{address}/postgres"),
    )


def _page(name: str) -> Wanted:
    return Wanted(
        name=name, image=os.environ["WEB_IMAGE"], port=8000, answers=lambda address: get(f"http://{address}/")
    )


def _redis() -> Wanted:
    return Wanted(name="memo", image=os.environ["REDIS_IMAGE"], port=6379, answers=_pong)


def _pong(address: str) -> None:
    host, _, port = address.partition(":")
    if not ping((host, int(port))).startswith("+PONG"):
        raise ConnectionError("no answer to PING")


def _auth() -> Wanted:
    return Wanted(
        name="auth",
        image=os.environ["AUTH_IMAGE"],
        port=8000,
        needs=("db",),
        env=lambda at: [f"DATABASE_URL=postgresql://postgres:{_PASSWORD}@{at['db']}:5432/postgres", "REALM=office"],
        answers=lambda address: get(f"http://{address}/healthz"),
    )


def _worker() -> Wanted:
    return Wanted(
        name="worker",
        image=os.environ["WEB_IMAGE"],
        port=8000,
        needs=("db", "memo"),
        env=lambda at: [f"NEEDS={at['db']}:5432 {at['memo']}:6379"],
        answers=lambda address: get(f"http://{address}/"),
    )


def _run(limit: Limit, workload: str, db: Wanted) -> None:
    match workload:
        case "w1" | "w4":
            limit.run_all([[db, _redis(), _auth()]])
        case "w2":
            limit.run_all([[db, _redis(), _auth(), _worker(), _page("web")]])
        case "w3":
            limit.run_one_after_another(db, times=10, ahead=2)
        case _:
            stacks = int(os.environ["STACKS"])
            limit.run_all([[_page("front"), _page("back")] for _ in range(stacks)])


def initialise_postgres(engine: Engine, image: str) -> str:
    """The name of an image whose database is initialised already; made where it is missing."""
    name, _, tag = image.partition(":")
    base = engine.call("GET", f"/images/{image}/json")["Id"].removeprefix("sha256:")[:12]
    target, target_tag = f"{name}-initialised", f"{tag}-{base}"
    with suppress(RefusedError):
        engine.call("GET", f"/images/{target}:{target_tag}/json")
        return f"{target}:{target_tag}"
    limit = Limit(engine)
    try:
        limit.initialise(_postgres(image, {}), target, target_tag)
    finally:
        limit.remove()
    return f"{target}:{target_tag}"


def main() -> None:
    workload, *options = sys.argv[1:]
    is_initialised = "--initialised" in options
    image = os.environ["INITIALISED_IMAGE" if is_initialised else "POSTGRES_IMAGE"]
    db = _postgres(image, {} if is_initialised else {_DATA: "rw"})
    limit = Limit(Engine(os.environ["DOCKER_HOST"]))
    began = time.perf_counter()
    try:
        _run(limit, workload, db)
        print(json.dumps({"seconds": time.perf_counter() - began}))
    finally:
        limit.remove()


if __name__ == "__main__":
    main()
