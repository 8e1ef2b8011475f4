"""The guardian's small client sees and removes on a real engine what the big one does."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.engine import FakeEngine
from fakes.programs import IMAGE

from engine.test_contract import Bench, bench  # noqa: F401  # a fixture
from pytest_isolate.engine.api import Engine, Removing
from pytest_isolate.engine.docker.remover import Remover
from pytest_isolate.engine.docker.transport.client import open_address
from pytest_isolate.running.cleanup.remove import remove_all


@pytest.fixture
def remover(bench: Bench) -> Removing:  # noqa: F811
    """The small client for a real engine; the fake one has none but itself."""
    if isinstance(bench.engine, FakeEngine):
        return bench.engine
    return Remover(open_address(bench.engine.facts().address, {}))


def test_it_lists_what_the_big_one_lists(bench: Bench, remover: Removing) -> None:  # noqa: F811
    engine, labels = bench.engine, bench.labels
    container, network = bench.start("sleep 60"), bench.network()
    stopped = bench.create("exit 0", labels={**labels, "colour": "red"})
    engine.create_volume(volume := bench.name(), labels)

    assert sorted(remover.list_containers(labels)) == sorted(engine.list_containers(labels))
    assert set(remover.list_containers(labels)) == {container, stopped}
    assert remover.list_containers({**labels, "colour": "red"}) == [stopped]
    assert remover.list_containers({**labels, "colour": "re"}) == []
    assert remover.list_networks(labels) == engine.list_networks(labels) == [network]
    assert remover.list_volumes(labels) == engine.list_volumes(labels) == [volume]


def test_it_removes_everything_with_our_labels_and_nothing_else(
    bench: Bench,  # noqa: F811
    remover: Removing,
    tmp_path: Path,
) -> None:
    engine = bench.engine
    doomed = {**bench.labels, "colour": "red"}
    engine.create_volume(volume := bench.name(), doomed)
    network = bench.network(doomed)
    bench.build(tmp_path, f"FROM {IMAGE}\nVOLUME /anonymous\n")
    bench.start("sleep 60", labels=doomed, network=network, volumes={volume: "/data"})
    bench.start("sleep 60", labels=doomed, image=bench.images[0])
    paused = bench.start("sleep 60", labels=doomed, network=network)
    engine.pause_container(paused)
    stays = bench.start("sleep 60")

    remove_all(remover, doomed)

    assert engine.list_containers(bench.labels) == [stays]
    assert (engine.list_networks(bench.labels), engine.list_volumes(bench.labels)) == ([], [])
    remove_all(remover, doomed)


def test_removing_a_network_takes_off_what_is_still_on_it(bench: Bench, remover: Removing) -> None:  # noqa: F811
    network = bench.network()
    stays = bench.start("sleep 60", network=network)
    remover.remove_network(network)
    assert bench.engine.list_networks(bench.labels) == []
    assert bench.engine.list_containers(bench.labels) == [stays]


@pytest.mark.parametrize("kind", ["container", "network", "volume"])
def test_what_is_gone_is_fine(bench: Bench, remover: Removing, kind: str) -> None:  # noqa: F811
    container, network = bench.start("sleep 60"), bench.network()
    bench.engine.create_volume(volume := bench.name(), bench.labels)

    getattr(remover, f"remove_{kind}")("0" * 64)

    left = [getattr(remover, f"list_{each}s")(bench.labels) for each in ("container", "network", "volume")]
    assert left == [[container], [network], [volume]]


@pytest.mark.engine
def test_check_succeeds_where_an_engine_answers(real_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    address = real_engine.facts().address
    asked: list[str] = []
    http = open_address(address, {})
    ask = http.ask
    monkeypatch.setattr(http, "ask", lambda what, *args, **more: asked.append(args[1]) or ask(what, *args, **more))

    Remover(http).check({"pytest-isolate.run": "none"})

    assert (asked[0], asked[-1], len(asked)) == ("/containers/json", "/volumes", 4)
