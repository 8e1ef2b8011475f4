"""An engine that cannot do everything: what is declared is refused with a way out, what is only speed goes without."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from pytest_isolate.engine.api import Capability, ContainerState, ImageFacts, PublishAddress
from pytest_isolate.errors import EngineError, StartError
from pytest_isolate.model.service import Build, ContainerSettings, Scope
from pytest_isolate.planning.placement import Instance, InstanceKey, Place
from pytest_isolate.plugin.run.opening import in_memory_bytes
from pytest_isolate.running.containers.controls import ContainerControls
from pytest_isolate.running.containers.launcher import Launcher
from pytest_isolate.running.context import RunContext
from pytest_isolate.running.data.backends.client import Client, run_to_end
from pytest_isolate.running.faults.network import Target
from pytest_isolate.running.images.images import Images
from pytest_isolate.running.images.snapshots import Snapshots
from pytest_isolate.running.instances.client_containers import ClientContainers
from pytest_isolate.running.network.addresses import Addresses
from pytest_isolate.running.testcontainers.sdk_container import ContainerView
from pytest_isolate.running.timeline import Timeline
from pytest_isolate.sharing.board import Board
from pytest_isolate.sharing.folders import Usage

from .builders import FakeClock, make_run, sid, spec
from .stub_engine import StubEngine

BUILT = spec("auth", image=None, build=Build(context="/srv/auth", dockerfile="/srv/auth/Dockerfile"))


@pytest.fixture
def engine() -> Any:
    engine = StubEngine()
    engine.inspect_container = lambda _: ContainerState(is_running=True)
    return engine


def context_of(engine: Any) -> RunContext:
    clock = FakeClock()
    return RunContext(engine=engine, run=make_run(), clock=clock, timeline=Timeline(clock))


def instance(**values: object) -> Instance:
    key = InstanceKey(sid("web"), Place(Scope.SESSION), "")
    declared = spec("web", **values)
    return Instance(key=key, spec=declared, native_ports=True, dependencies=(), network_capacity=1, stack_depth=0)


def faults(engine: Any) -> ContainerControls:
    target = Target(service="db", engine=engine, container_id="c1", image="i", labels={}, name_helper=str)
    return ContainerControls(target, lambda: None, lambda: None)


def pause(engine: Any, _: Path) -> None:
    with faults(engine).paused():
        pass


def disconnect(engine: Any, _: Path) -> None:
    with faults(engine).disconnected():
        pass


def build(engine: Any, folder: Path) -> None:
    Images(engine, lambda _: nullcontext(), Board(folder / "a"), Board(folder / "b"), print).ensure(BUILT)


def talk(engine: Any, _: Path) -> None:
    Client(engine, "c1", ["psql"], {})


def run(engine: Any, _: Path) -> None:
    run_to_end(engine, "c1", ["psql"], {})


def copy_out(engine: Any, _: Path) -> None:
    view = SimpleNamespace(_engine=engine, _service="web", id="c1", _refuse_options=lambda *_: None)
    ContainerView.get_archive(view, "/srv")  # type: ignore[arg-type]


def know_hosts(engine: Any, _: Path) -> None:
    hosts = ContainerSettings(extra_hosts=(("db", "10.0.0.1"),))
    start = SimpleNamespace(instance=instance(container=hosts), needed={})
    Launcher(context_of(engine), None, None, None, None)._extra_hosts(start)  # type: ignore[arg-type]


def run_clients(engine: Any, _: Path) -> None:
    running = SimpleNamespace(instance=instance(), spec=spec("web"))
    ClientContainers(context_of(engine), None, lambda _: True, lambda: None).attach(running)  # type: ignore[arg-type]


def native_ports(engine: Any, _: Path) -> None:
    Addresses(random.Random(1), facts=engine.facts()).hold(instance(ports=(5432,)), "'web'")


@pytest.mark.parametrize(
    ("capability", "act", "told"),
    [
        (Capability.PAUSE, pause, "service 'db' cannot be paused"),
        (Capability.NETWORK_FAULTS, disconnect, "service 'db' cannot be given a fault of its network"),
        (Capability.BUILD, build, "cannot be built of /srv/auth"),
        (Capability.TALK, talk, "psql in a container cannot be talked to"),
        (Capability.TALK, run, "psql in a container cannot be talked to"),
        (Capability.FILES_OUT, copy_out, "get_archive('/srv') cannot be had"),
        (Capability.EXTRA_HOSTS, know_hosts, "cannot know db"),
        (Capability.HOST_NETWORK, run_clients, "service 'web' runs already, and cannot be copied from here"),
        (Capability.NATIVE_PORTS, native_ports, "service 'web' cannot have its native ports"),
    ],
)
def test_what_is_declared_and_cannot_be_done_is_told_with_a_way_out(
    engine: Any, tmp_path: Path, capability: Capability, act: Callable[[Any, Path], None], told: str
) -> None:
    engine.lacks = {capability}

    with pytest.raises(EngineError) as caught:
        act(engine, tmp_path)

    what, found, do = str(caught.value).splitlines()
    assert told in what
    assert found == f"  found  Stub 1 cannot {capability.value}"
    assert do.startswith("  do     ")
    assert engine.calls == []


def test_native_ports_of_an_engine_elsewhere_are_refused_as_before(engine: Any) -> None:
    addresses = Addresses(random.Random(1), reach=PublishAddress(host="box", is_local=False), facts=engine.facts())

    with pytest.raises(StartError, match="the engine publishes ports at box"):
        addresses.hold(instance(ports=(5432,)), "'web'")


@pytest.mark.parametrize("capability", [Capability.PAUSE, Capability.FILES_OUT, Capability.BUILD])
def test_without_what_snapshots_need_there_are_none(engine: Any, tmp_path: Path, capability: Capability) -> None:
    database, image = spec("db", snapshot=("/srv/data",)), ImageFacts(image_id="sha256:1")
    snapshots = Snapshots(engine, b"", Usage(tmp_path), lambda _: nullcontext())
    assert snapshots.identify(database, "", image)

    engine.lacks = {capability}

    assert snapshots.identify(database, "", image) is None


def test_a_cluster_whose_images_are_built_elsewhere_has_no_snapshots(engine: Any, tmp_path: Path) -> None:
    facts = replace(engine.facts(), nodes_pull=True)
    engine.facts = lambda: facts
    database, image = spec("db", snapshot=("/srv/data",)), ImageFacts(image_id="sha256:1")
    assert Snapshots(engine, b"", Usage(tmp_path), lambda _: nullcontext()).identify(database, "", image) is None


def test_without_folders_in_memory_data_is_on_disk(engine: Any) -> None:
    settings: Any = SimpleNamespace(in_memory_bytes=0)
    engine.lacks = {Capability.MEMORY_FOLDERS}

    assert in_memory_bytes(engine, settings) == 0

    settings.in_memory_bytes = 1 << 20
    with pytest.raises(EngineError, match="Stub 1 keeps no data of services in memory"):
        in_memory_bytes(engine, settings)
