"""fresh() as written, checked: what is the base, and every wrong declaration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_isolate.declarations.loading import Catalogue, load
from pytest_isolate.errors import DeclarationError, Problem
from pytest_isolate.model.declaration import Declared, RawFresh, RawService
from pytest_isolate.model.fresh import InitCommand, InitFiles, InitFunction
from pytest_isolate.model.probes import Command
from pytest_isolate.model.scope import Scope
from pytest_isolate.planning.placement import ItemPosition
from pytest_isolate.planning.plan import Demand, build_plan, count_copies, place_of_copy
from pytest_isolate.presets.catalogue import PRESETS
from unit.builders import HERE, raw, sid

DB = raw(PRESETS["postgres"]())


def migrate_by_halves(handle: object) -> Iterator[None]:
    """One that a call runs nothing of."""
    yield


def of(base: object = DB, **options: object) -> RawFresh:
    return RawFresh(base=base, options=options, location=HERE)


def declare(*items: tuple[str, str, Any]) -> Catalogue:
    declared = [Declared(name=name, namespace=namespace, raw=given) for name, namespace, given in items]
    return load(declared, exists=lambda path: "missing" not in path)


def problem(fresh: RawFresh, db: RawService = DB) -> Problem:
    with pytest.raises(DeclarationError) as caught:
        declare(("db", "", db), ("orders", "", fresh))
    (found,) = caught.value.problems
    assert found.place == str(HERE)
    return found


def where(test: str, worker: str = "") -> ItemPosition:
    return ItemPosition(test=test, test_class="t.py::C", module="t.py", above=("", "t.py"), worker=worker)


def test_the_base_is_the_service_that_the_fixture_stands_for() -> None:
    catalogue = declare(("db", "", DB), ("orders", "", of()))

    assert catalogue.fresh[sid("orders")].base == sid("db")
    assert set(catalogue.services) == {sid("db")}
    assert catalogue.fresh[sid("orders")].scope is Scope.FUNCTION


def test_of_two_names_for_one_declaration_the_nearest_is_the_base() -> None:
    catalogue = declare(("db", "", DB), ("near", "tests", DB), ("orders", "tests/a", of()), ("stock", "", of()))

    assert catalogue.fresh[sid("orders", namespace="tests/a")].base == sid("near", namespace="tests")
    assert catalogue.fresh[sid("stock")].base == sid("db")


def test_a_base_that_is_no_fixture_becomes_a_hidden_service_that_others_share() -> None:
    catalogue = declare(("orders", "", of()), ("stock", "", of()), ("orders_base", "", raw()))

    assert catalogue.fresh[sid("orders")].base == catalogue.fresh[sid("stock")].base == sid("orders_base_")
    assert catalogue.services[sid("orders_base_")].copies == "postgres"


@pytest.mark.parametrize(
    ("init", "expected"),
    [
        ("schema.sql", InitFiles(path="/project/schema.sql")),
        (Path("sql"), InitFiles(path="/project/sql")),
        (Command(argv=("migrate",)), InitCommand(argv=("migrate",))),
        ({"command": ["migrate", "now"]}, InitCommand(argv=("migrate", "now"))),
        (print, InitFunction(function=print)),
        (None, None),
    ],
)
def test_an_init_is_a_path_a_command_or_a_function(init: object, expected: object) -> None:
    assert declare(("db", "", DB), ("orders", "", of(init=init))).fresh[sid("orders")].init == expected


@pytest.mark.parametrize(
    ("options", "subject", "reason", "valid"),
    [
        ({"int": 1}, "orders.int", "unknown key 'int', did you mean 'init'?", "init, key, scope"),
        ({"init": "missing.sql"}, "orders.init", "there is no file or folder /project/missing.sql", "a file of SQL"),
        ({"init": 5}, "orders.init", "5 cannot initialise a database", "a file of SQL"),
        ({"init": {"comand": 1}}, "orders.init", "unknown key 'comand', did you mean 'command'?", "command"),
        ({"key": 5}, "orders.key", "5 is not a text", "a text"),
        ({"scope": "modul"}, "orders.scope", "'modul' is not a scope, did you mean 'module'?", "function"),
    ],
)
def test_a_wrong_option_names_key_and_value(options: dict[str, Any], subject: str, reason: str, valid: str) -> None:
    found = problem(of(**options))

    assert (found.subject.removesuffix(".comand"), found.reason) == (subject, reason)
    assert valid in found.valid


@pytest.mark.parametrize("base", [5, None, "postgres"])
def test_a_base_that_is_no_service_is_refused(base: object) -> None:
    found = problem(of(base))

    assert (found.subject, found.reason) == ("orders.base", f"{base!r} cannot be the base of fresh copies")


def test_a_service_that_cannot_be_copied_is_told_the_way_out() -> None:
    plain = raw()
    found = problem(of(plain, init="schema.sql"), plain)

    assert found.reason == "service 'db' declares no way to copy its data"
    assert "copies='postgres'" in found.valid
    assert "without init=" in found.hint


@pytest.mark.parametrize(("options", "scope"), [({}, Scope.FUNCTION), ({"scope": "module"}, Scope.MODULE)])
def test_of_a_service_without_a_way_there_are_whole_instances(options: dict[str, Any], scope: Scope) -> None:
    plain = raw()
    loaded = declare(("db", "", plain), ("orders", "", of(plain, **options)))

    assert {s.name: s.scope for s in loaded.services.values()} == {"db": Scope.SESSION, "orders": scope}
    assert loaded.fresh == {}


def test_a_way_needs_to_know_whose_and_which_database() -> None:
    half = raw(copies="mariadb", user="app")

    assert problem(of(half), half).reason == (
        "service 'db' has copies='mariadb', but no password and no database and no port"
    )


def test_a_copy_cannot_outlive_its_base() -> None:
    short = raw(PRESETS["postgres"](), scope="module")
    found = problem(of(short, scope="session"), short)

    assert found.reason == "lives for the session, but its base lives for the module only"
    assert found.valid == "function, class, module"


def test_redis_has_no_sql() -> None:
    cache = raw(copies="redis", port=6379)

    assert problem(of(cache, init="schema.sql"), cache).subject == "orders.init"


def test_a_way_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(DeclarationError, match="'postgress' is not a way to copy data, did you mean 'postgres'"):
        declare(("db", "", raw(copies="postgress")))


def test_copies_are_counted_by_the_places_that_they_live_for() -> None:
    catalogue = declare(("db", "", DB), ("orders", "", of()), ("stock", "", of(scope="module")))
    both = (sid("orders"), sid("stock"))
    requirements = [Demand(where=where(f"t.py::{n}"), services=(sid("db"),), fresh=both) for n in range(5)]

    plan = build_plan(requirements, catalogue)

    (wanted,) = plan.copies.values()
    assert {want.spec.name: want.count for want in wanted} == {"orders": 5, "stock": 1}
    assert list(plan.copies) == [plan.steps[0].instance.key]
    assert count_copies([]) == {}


def test_each_worker_has_copies_of_its_own_whatever_their_scope() -> None:
    catalogue = declare(("db", "", DB), ("orders", "", of(scope="session")))
    spec = catalogue.fresh[sid("orders")]

    one, other = (place_of_copy(spec, sid("orders"), where("t.py::a", worker)) for worker in ("gw0", "gw1"))

    assert one != other
    assert one == place_of_copy(spec, sid("orders"), where("t.py::b", "gw0"))


def test_a_function_that_yields_is_refused_because_a_call_would_run_nothing_of_it() -> None:
    found = problem(of(init=migrate_by_halves))
    assert found.reason.endswith("cannot initialise a database")
    assert "async or not" in found.valid
