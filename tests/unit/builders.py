"""Short ways to the values that many tests start from."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping

from pytest_isolate.declarations.loading import Catalogue, load
from pytest_isolate.errors import DeclarationError, Problem
from pytest_isolate.model.declaration import Declared, Layer, Preset, RawService, RawStack
from pytest_isolate.model.identity import Owner, Run
from pytest_isolate.model.location import Location
from pytest_isolate.model.service import ServiceId, ServiceSpec, StackId

HERE = Location(file="/project/conftest.py", line=7)
OWNER = Owner(host="host", boot="boot", pid_namespace="pid:[1]", pid=42, start_time="1.00")


class FakeClock:
    """A clock that only goes on when somebody waits; `after` is called with the time after each wait."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.pauses: list[float] = []
        self.after: Callable[[float], None] = lambda _: None

    def now(self) -> float:
        return self.seconds

    def time(self) -> float:
        return self.seconds + 1_700_000_000

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        if not event.is_set():
            self.pauses.append(timeout_s)
            # Time goes on, also where what is added is less than the number can show.
            self.seconds = max(self.seconds + timeout_s, math.nextafter(self.seconds, math.inf))
            self.after(self.seconds)
        return event.is_set()


def spec(name: str = "svc", **values: object) -> ServiceSpec:
    return ServiceSpec(name=name, **{"location": HERE, "image": "image:1", **values})


def sid(name: str, stack: str = "", namespace: str = "") -> ServiceId:
    return ServiceId(StackId(namespace, stack), name)


def raw(base: Preset | RawService | None = None, *, at: Location = HERE, **values: object) -> RawService:
    """What `service(base, **values)` declares; an image where nothing says one."""
    if base is None:
        values = {"image": "image:1", **values} if "build" not in values else values
    return RawService(layers=(*(base.layers if base else ()), Layer(values=values, location=at)))


def bare(*, at: Location = HERE, **values: object) -> RawService:
    """A service without a default image."""
    return RawService(layers=(Layer(values=values, location=at),))


def raw_stack(*, at: Location = HERE, options: Mapping[str, object] | None = None, **members: object) -> RawStack:
    return RawStack(members=members, options=options or {}, location=at)


def declare(namespace: str = "", **raws: RawService | RawStack) -> list[Declared]:
    return [Declared(name=name, namespace=namespace, raw=value) for name, value in raws.items()]


def load_all(
    *declared: Iterable[Declared], reserved: Iterable[str] = (), exists: Callable[[str], bool] = lambda _: True
) -> Catalogue:
    return load([d for group in declared for d in group], reserved=frozenset(reserved), exists=exists)


def problems_of(*declared: Iterable[Declared], **options: object) -> tuple[Problem, ...]:
    """What is wrong with these declarations; empty when nothing is."""
    try:
        load_all(*declared, **options)
    except DeclarationError as error:
        return error.problems
    return ()


def only_problem(*declared: Iterable[Declared], **options: object) -> Problem:
    """The one thing that is wrong with these declarations."""
    (problem,) = problems_of(*declared, **options)
    return problem


def load_one(name: str = "svc", /, **values: object) -> ServiceSpec:
    """The checked service that these values declare."""
    return load_all(declare(**{name: raw(**values)})).services[sid(name)]


def make_run(*, run_id: str = "abcd1234", secret: bytes = b"secret", worker: str = "") -> Run:
    return Run(run_id=run_id, owner=OWNER, secret=secret, worker=worker)
