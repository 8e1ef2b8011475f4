"""reset= as written, checked; who has a service for himself then; and in which order services are reset."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from pytest_isolate.declarations.fingerprint import fingerprint
from pytest_isolate.declarations.loading import Catalogue
from pytest_isolate.errors import PlanError
from pytest_isolate.model.declaration import RawService
from pytest_isolate.model.endpoint import Endpoint
from pytest_isolate.model.probes import Command, Http, Log
from pytest_isolate.model.reset import Pristine, ResetFunction, describe_reset
from pytest_isolate.planning.placement import Instance, ItemPosition, place_instances
from pytest_isolate.planning.reset_order import check_resets, dependents_of, order_resets
from pytest_isolate.presets.catalogue import PRESETS
from pytest_isolate.running.data.reset import Failed, call
from pytest_isolate.running.images.snapshot_key import snapshot_digest
from unit.builders import declare, load_all, load_one, only_problem, raw, raw_stack, sid, spec
from unit.running.readiness.test_probing import server

CLEAN = Command(argv=("clean",))


def clean(handle: object) -> None:
    """A function of a user's."""


def clean_by_halves(handle: object) -> Iterator[None]:
    """One that a call runs nothing of."""
    yield


async def clean_async(handle: object) -> None:
    """A function that is awaited."""


class Cleaner:
    """Something that can be called."""

    def __call__(self, handle: object) -> None:
        """Clean."""


CLEANER = Cleaner()


def placed(catalogue: Catalogue, *names: str, worker: str = "") -> tuple[Instance, ...]:
    where = ItemPosition(test="t.py::a", test_class="t.py::a", module="t.py", worker=worker)
    return place_instances([sid(name) for name in names], catalogue, where)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (False, None),
        (None, None),
        (CLEAN, CLEAN),
        ({"command": ["clean"]}, CLEAN),
        (Http(path="/reset"), Http(path="/reset")),
        ({"http": "/reset"}, Http(path="/reset")),
        ({"http": {"path": "/reset", "method": "PUT", "status": 204}}, Http(path="/reset", method="PUT", status=204)),
        (clean, ResetFunction(function=clean)),
        (clean_async, ResetFunction(function=clean_async)),
        (CLEANER, ResetFunction(function=CLEANER)),
    ],
)
def test_ways_to_write_it(written: object, meant: object) -> None:
    assert load_one(reset=written, port=80).reset == meant


def test_true_is_the_way_of_a_preset() -> None:
    for name in ("postgres", "mariadb", "mysql", "redis", "valkey"):
        catalogue = load_all(declare(db=raw(PRESETS[name](), reset=True)))
        assert catalogue.services[sid("db")].reset == Pristine()


def test_a_change_can_take_it_away() -> None:
    base = raw(PRESETS["postgres"](), reset=True)
    assert load_all(declare(db=raw(base, reset=None))).services[sid("db")].reset is None


@pytest.mark.parametrize(
    ("values", "subject", "reason"),
    [
        ({"reset": 3}, "svc.reset", "3 cannot reset a service"),
        ({"reset": "psql"}, "svc.reset", "'psql' cannot reset a service"),
        ({"reset": clean_by_halves}, "svc.reset", "... cannot reset a service"),
        ({"reset": Log(pattern="x")}, "svc.reset", "log() asks a service something and changes nothing"),
        ({"reset": {"tcp": 80}, "port": 80}, "svc.reset", "tcp() asks a service something and changes nothing"),
        ({"reset": {"command": []}}, "svc.reset.command", None),
        ({"reset": Http(path="reset")}, "svc.reset.http.path", None),
        ({"reset": Http(path="/"), "port": None}, "svc.reset", "this call needs a port, and the service declares none"),
        ({"reset": Http(path="/", port=81), "port": 80}, "svc.reset", "port 81 is not declared"),
        ({"reset": True}, "svc.reset", "... this service declares no way to copy its data"),
        (
            {"reset": True, "copies": "postgres", "port": 1, "user": "u"},
            "svc.reset",
            "reset=True with copies='postgres', but no database",
        ),
    ],
)
def test_wrong_ones_are_told(values: dict[str, Any], subject: str, reason: str | None) -> None:
    if subject == "svc.reset.command":
        values = {"reset": Command(argv=())}
    problem = only_problem(declare(svc=raw(**values)))
    assert problem.subject == subject
    assert reason is None or problem.reason.endswith(reason.removeprefix("..."))


def test_it_is_no_part_of_what_makes_another_container() -> None:
    plain, reset = spec(), spec(reset=CLEAN)
    assert fingerprint(plain, stack="") == fingerprint(reset, stack="")
    digests = {snapshot_digest(s, "", "image", {}, b"secret") for s in (plain, reset)}
    assert len(digests) == 1


# -- with whom it is shared -----------------------------------------------------------------------------------------


def shares(catalogue: Catalogue) -> dict[str, str]:
    return {str(service): spec.share for service, spec in catalogue.services.items()}


def test_each_worker_has_its_own_of_what_is_reset_and_of_what_needs_it() -> None:
    catalogue = load_all(
        declare(db=raw(reset=CLEAN), auth=raw(needs=["db"]), front=raw(needs=["auth"]), mail=raw())
    )  # fmt: skip

    assert shares(catalogue) == {"db": "worker", "auth": "worker", "front": "worker", "mail": "run"}


def test_a_stack_is_shared_as_a_whole() -> None:
    catalogue = load_all(declare(hr=raw_stack(db=raw(reset=CLEAN), mail=raw()), sales=raw_stack(db=raw())))

    assert shares(catalogue) == {"hr.db": "worker", "hr.mail": "worker", "sales.db": "run"}
    assert {stack.name: stack.share for stack in catalogue.stacks.values()} == {"hr": "worker", "sales": "run"}
    members = next(stack for stack in catalogue.stacks.values() if stack.name == "hr").services
    assert {member.share for member in members} == {"worker"}


def test_what_the_user_says_stays() -> None:
    catalogue = load_all(declare(db=raw(reset=CLEAN, share="run"), auth=raw(needs=["db"])))
    assert shares(catalogue) == {"db": "run", "auth": "run"}

    stack = raw_stack(options={"share": "run"}, db=raw(reset=CLEAN))
    assert shares(load_all(declare(hr=stack))) == {"hr.db": "run"}


def test_who_says_run_cannot_need_what_each_worker_has_for_itself() -> None:
    problem = only_problem(declare(db=raw(reset=CLEAN), auth=raw(needs=["db"], share="run")))

    assert problem.subject == "auth.share"
    assert problem.reason == "is shared by the run but needs db, which each worker has for itself"


def test_what_all_workers_share_cannot_be_reset_by_one() -> None:
    shared = load_all(declare(db=raw(reset=CLEAN, share="run"), mail=raw()))

    check_resets(placed(shared, "db", "mail", worker="gw0"), 1)
    check_resets(placed(shared, "mail", worker="gw0"), 2)
    with pytest.raises(PlanError, match=r"(?s)service 'db' has reset= .* the 2 workers .*leave share='run' out"):
        check_resets(placed(shared, "db", worker="gw0"), 2)


@pytest.mark.parametrize("values", [{}, {"share": "worker"}, {"share": "run", "scope": "module"}])
def test_what_one_worker_has_for_itself_can_be_reset(values: dict[str, Any]) -> None:
    catalogue = load_all(declare(db=raw(reset=CLEAN, **values)))
    instances = placed(catalogue, "db", worker="gw0")

    check_resets(instances, 2)

    assert [instance.key.place.worker for instance in instances] == ["gw0"]


# -- order ----------------------------------------------------------------------------------------------------------


def declared(**needs: tuple[list[str], bool]) -> Catalogue:
    raws: dict[str, RawService] = {
        name: raw(needs=needed, reset=CLEAN if is_reset else None) for name, (needed, is_reset) in needs.items()
    }
    return load_all(declare(**raws))


def ordered(catalogue: Catalogue, *names: str) -> list[set[str]]:
    return [{i.spec.name for i in group} for group in order_resets(placed(catalogue, *names))]


def test_who_needs_others_is_reset_before_them() -> None:
    catalogue = declared(db=([], True), cache=([], True), api=(["db"], False), web=(["api", "cache"], True))

    assert ordered(catalogue, "web") == [{"web"}, {"db", "cache"}]
    assert ordered(catalogue, "api") == [{"db"}]
    assert ordered(catalogue, "cache", "db") == [{"cache", "db"}]


def test_the_longest_way_counts() -> None:
    catalogue = declared(d=([], True), c=(["d"], True), b=(["c"], True), a=(["b", "d"], True))

    assert ordered(catalogue, "a") == [{"a"}, {"b"}, {"c"}, {"d"}]


def test_nothing_is_reset_where_nothing_says_so() -> None:
    assert ordered(declared(a=([], False)), "a") == []


def test_dependents_come_before_what_they_need() -> None:
    catalogue = declared(d=([], False), c=(["d"], False), b=(["c"], False), a=(["b", "d"], False), x=([], False))
    instances = placed(catalogue, "a", "x")
    keys = {i.spec.name: i.key for i in instances}

    assert [i.spec.name for i in dependents_of(keys["d"], instances)] == ["a", "b", "c", "d"]
    assert [i.spec.name for i in dependents_of(keys["b"], instances)] == ["a", "b"]
    assert [i.spec.name for i in dependents_of(keys["x"], instances)] == ["x"]


# -- calls ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "asked"), [(None, "POST"), ("DELETE", "DELETE")])
def test_a_call_is_a_post_unless_it_says_otherwise(method: str | None, asked: str) -> None:
    heard: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        heard.append(connection.recv(4096))
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with server(talk) as port:
        call(Http(path="/reset?all=1", method=method), Endpoint("127.0.0.1", port), 10)

    assert heard[0].startswith(f"{asked} /reset?all=1 HTTP/1.1\r\n".encode())


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (b"HTTP/1.1 409 Conflict\r\nContent-Length: 7\r\n\r\nin use\n", "status 409 Conflict from {0}; in use"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "status 200 OK from {0}; it said nothing"),
        (b"", "no answer from {0} within 0.1 s"),
        (b"220 mail ESMTP\r\n", "no answer from {0}: 220 mail ESMTP"),
    ],
)
def test_any_other_answer_is_a_failure(answer: bytes, found: str) -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(answer)

    with server(talk) as port, pytest.raises(Failed) as caught:
        call(Http(path="/", status=204), Endpoint("127.0.0.1", port), 10 if answer else 0.1)

    assert str(caught.value).strip() == found.format(f"127.0.0.1:{port}")


# -- texts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reset", "text"),
    [
        (Pristine(), "the preset's own way"),
        (CLEAN, "clean in its container"),
        (Http(path="/reset"), "POST /reset"),
        (Http(path="/reset", method="GET", port=81), "GET /reset on port 81"),
        (ResetFunction(function=clean), "clean(...)"),
        (ResetFunction(function=CLEANER), "Cleaner(...)"),
    ],
)
def test_a_reset_is_described_in_few_words(reset: Any, text: str) -> None:
    assert describe_reset(reset) == text


def test_resets_can_be_compared_and_put_into_sets() -> None:
    assert len({Pristine(), Pristine(), CLEAN, replace(CLEAN)}) == 2
