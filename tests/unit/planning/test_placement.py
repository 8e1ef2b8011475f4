"""Which tests share which instance, and the plan that follows."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from pytest_isolate.declarations.loading import Catalogue
from pytest_isolate.model.service import Change, Scope, ServiceId
from pytest_isolate.planning.placement import (
    Instance,
    InstanceKey,
    ItemPosition,
    NetworkKey,
    Place,
    place_instances,
    places_of,
)
from pytest_isolate.planning.plan import Demand, Plan, build_plan, describe_plan
from unit.builders import declare, load_all, raw, raw_stack, sid

ORDER = ["function", "class", "module", "package", "session"]


def where(test: str, worker: str = "") -> ItemPosition:
    """The position of `folder/module.py::Class::test` or `folder/module.py::test`."""
    module, _, inner = test.partition("::")
    folders = module.split("/")[:-1]
    above = ["", *("/".join(folders[: n + 1]) for n in range(len(folders))), module]
    test_class = test.rpartition("::")[0] if "::" in inner else test
    above += [test_class] if test_class != test else []
    return ItemPosition(test=test, test_class=test_class, module=module, above=tuple(above), worker=worker)


def place(test: str, catalogue: Catalogue, service: ServiceId, worker: str = "") -> InstanceKey:
    return place_instances([service], catalogue, where(test, worker))[-1].key


# From one test of package `p` to others: the narrowest thing that both are in.
PAIRS = [
    ("p/a.py::C::t", "p/a.py::C::t", "function"),
    ("p/a.py::C::t", "p/a.py::C::u", "class"),
    ("p/a.py::C::t", "p/a.py::D::t", "module"),
    ("p/a.py::C::t", "p/a.py::t", "module"),
    ("p/a.py::t", "p/a.py::u", "module"),
    ("p/a.py::C::t", "p/b.py::C::t", "package"),
    ("p/a.py::C::t", "p/q/b.py::C::t", "package"),
    ("p/a.py::C::t", "r/b.py::C::t", "session"),
]


@pytest.mark.parametrize("scope", ORDER)
@pytest.mark.parametrize(("one", "other", "common"), PAIRS)
def test_tests_share_what_lives_at_least_as_long_as_they_are_together(
    scope: str, one: str, other: str, common: str
) -> None:
    # A package's fixtures are seen in the package only; the other scopes are declared at the top.
    namespace = "p" if scope == "package" and not other.startswith("r/") else ""
    catalogue = load_all(declare(namespace, db=raw(scope=scope)))
    db = sid("db", namespace=namespace)

    shared = place(one, catalogue, db) == place(other, catalogue, db)

    assert shared == (ORDER.index(scope) >= ORDER.index(common) or (scope == "package" and not namespace))


def in_two_workers(scope: str, share: str, namespace: str = "") -> tuple[InstanceKey, InstanceKey]:
    catalogue = load_all(declare(namespace, db=raw(scope=scope, share=share)))
    db = sid("db", namespace=namespace)
    return place("p/a.py::t", catalogue, db, "gw0"), place("p/a.py::t", catalogue, db, "gw1")


@pytest.mark.parametrize("share", ["run", "worker"])
@pytest.mark.parametrize("scope", ORDER[:-1])
def test_each_worker_has_its_own_of_what_is_narrower_than_the_run(scope: str, share: str) -> None:
    one, other = in_two_workers(scope, share, namespace="p")

    assert one != other
    assert one.fingerprint == other.fingerprint


def test_workers_share_what_lives_for_the_run() -> None:
    one, other = in_two_workers("session", "run")

    assert one == other


def test_each_worker_has_its_own_when_it_is_declared_so() -> None:
    one, other = in_two_workers("session", "worker")

    assert one != other
    assert one.fingerprint == other.fingerprint


@pytest.mark.parametrize("share", ["run", "worker"])
def test_workers_do_or_do_not_share_a_stack_as_it_says(share: str) -> None:
    catalogue = load_all(declare(hr=raw_stack(options={"share": share}, db=raw())))
    keys = {place("p/a.py::t", catalogue, sid("db", "hr"), worker) for worker in ("gw0", "gw1")}

    assert len(keys) == (1 if share == "run" else 2)


@pytest.mark.parametrize(
    ("namespace", "expected"),
    [
        ("p", Place(Scope.PACKAGE, "p")),
        ("p/q", Place(Scope.PACKAGE, "p/q")),
        ("", Place(Scope.SESSION)),
    ],
)
def test_the_package_is_that_of_the_conftest_which_declares(namespace: str, expected: Place) -> None:
    catalogue = load_all(declare(namespace, db=raw(scope="package")))

    assert place("p/q/a.py::t", catalogue, sid("db", namespace=namespace)).place == expected


@pytest.mark.parametrize(
    ("scope", "node"),
    [("module", "p/a.py"), ("class", "p/a.py::C"), ("function", "p/a.py::C::t"), ("session", "")],
)
def test_a_place_names_what_it_belongs_to(scope: str, node: str) -> None:
    catalogue = load_all(declare(db=raw(scope=scope)))

    assert place("p/a.py::C::t", catalogue, sid("db")).place == Place(Scope[scope.upper()], node)


@pytest.mark.parametrize("scope", ORDER)
def test_a_place_is_in_use_while_its_test_runs(scope: str) -> None:
    catalogue = load_all(declare("p", db=raw(scope=scope)))
    key = place("p/a.py::C::t", catalogue, sid("db", namespace="p"), "gw1")

    assert key.place.scope is Scope.SESSION or key.place in places_of(where("p/a.py::C::t", "gw1"), ["", "p"])


@pytest.mark.parametrize(
    ("scope", "after"),
    [("function", "p/a.py::C::u"), ("class", "p/a.py::t"), ("module", "p/b.py::t"), ("package", "r/a.py::t")],
)
def test_a_place_is_left_with_its_last_test(scope: str, after: str) -> None:
    catalogue = load_all(declare("p", db=raw(scope=scope)))
    key = place("p/a.py::C::t", catalogue, sid("db", namespace="p"))

    assert key.place not in places_of(where(after), ["", "p"])


# -- instances --------------------------------------------------------------------------------------------------------


def names(instances: Iterable[Instance]) -> list[str]:
    return [str(i.key.service) for i in instances]


def test_an_instance_comes_behind_what_it_needs() -> None:
    catalogue = load_all(declare(web=raw(needs=["auth"]), auth=raw(needs=["db"]), db=raw(), mail=raw()))

    instances = place_instances([sid("web"), sid("mail"), sid("db")], catalogue, where("a.py::t"))

    assert names(instances) == ["db", "auth", "web", "mail"]


def test_an_instance_knows_what_it_needs_by_plain_name() -> None:
    catalogue = load_all(declare(hr=raw_stack(auth=raw(needs=["db"]), db=raw())))

    db, auth = place_instances([sid("auth", "hr")], catalogue, where("a.py::t"))

    assert auth.dependencies == (("db", db.key),)


def test_what_is_needed_may_live_longer() -> None:
    catalogue = load_all(declare(auth=raw(needs=["db"], scope="function"), db=raw()))
    keys = [i.key for t in ("a.py::t", "a.py::u") for i in place_instances([sid("auth")], catalogue, where(t))]

    assert keys[0] == keys[2]
    assert keys[1] != keys[3]


def test_a_changed_dependency_makes_another_instance() -> None:
    one, other = (
        place("a.py::t", load_all(declare(auth=raw(needs=["db"]), db=raw(env={"A": value}))), sid("auth"))
        for value in ("1", "2")
    )

    assert one.fingerprint != other.fingerprint


def test_the_same_service_in_two_stacks_is_two_instances_on_two_networks() -> None:
    auth = raw()
    catalogue = load_all(declare(hr=raw_stack(auth=auth), sales=raw_stack(auth=auth)))

    hr, sales = place_instances([sid("auth", "hr"), sid("auth", "sales")], catalogue, where("a.py::t"))

    assert hr.key.fingerprint != sales.key.fingerprint
    assert hr.network != sales.network


def test_a_stack_ranks_above_all_that_it_builds_on() -> None:
    catalogue = load_all(
        declare(db=raw()),
        declare(namespace="p", auth=raw(needs=["db"])),
        declare(namespace="p/q", web=raw(needs=["auth"]), lone=raw()),
    )

    found = place_instances([sid("web", namespace="p/q")], catalogue, where("p/q/a.py::t"))

    assert [(i.spec.name, i.stack_depth) for i in found] == [("db", 0), ("auth", 1), ("web", 2)]


def test_services_of_one_stack_and_place_are_on_one_network() -> None:
    catalogue = load_all(declare(a=raw(), b=raw(), c=raw(scope="module")))

    a, b, c = place_instances([sid("a"), sid("b"), sid("c")], catalogue, where("a.py::t"))

    assert a.network == b.network == NetworkKey(sid("a").stack, Place(Scope.SESSION))
    assert c.network == NetworkKey(sid("a").stack, Place(Scope.MODULE, "a.py"))


@pytest.mark.parametrize(("ports", "native"), [("native", True), ("held", False)])
def test_an_instance_knows_whether_its_ports_are_native(ports: str, native: bool) -> None:
    catalogue = load_all(declare(hr=raw_stack(options={"ports": ports}, db=raw(port=1))))

    assert place_instances([sid("db", "hr")], catalogue, where("a.py::t"))[0].native_ports is native


# -- the plan ---------------------------------------------------------------------------------------------------------


def plan(catalogue: Catalogue, requirements: dict[str, list[str]]) -> Plan:
    return build_plan(
        (Demand(where=where(test), services=tuple(map(sid, wanted))) for test, wanted in requirements.items()),
        catalogue,
    )


def test_the_plan_is_in_the_order_of_first_need() -> None:
    catalogue = load_all(declare(auth=raw(needs=["db"]), db=raw(), mail=raw(), idle=raw()))

    steps = plan(catalogue, {"a.py::t": [], "a.py::u": ["mail"], "a.py::v": ["auth", "mail"], "a.py::w": ["db"]}).steps

    assert [(str(s.instance.key.service), s.tests, s.first_test) for s in steps] == [
        ("mail", 2, "a.py::u"),
        ("db", 2, "a.py::v"),
        ("auth", 1, "a.py::v"),
    ]


def test_what_lives_for_the_run_can_start_at_once() -> None:
    catalogue = load_all(declare(web=raw(scope="module", needs=["db"]), db=raw(), mail=raw()))

    assert names(plan(catalogue, {"a.py::t": ["web", "mail"]}).first_wave) == ["db", "mail"]


def test_a_narrow_scope_is_planned_once_for_each_place() -> None:
    catalogue = load_all(declare(db=raw(scope="module")))
    requirements = {test: ["db"] for test in ("a.py::t", "a.py::u", "b.py::t")}

    assert [(s.instance.key.place.node, s.tests) for s in plan(catalogue, requirements).steps] == [
        ("a.py", 2),
        ("b.py", 1),
    ]


def test_the_plan_is_told_as_a_table() -> None:
    catalogue = load_all(
        declare(
            db=raw(image="postgres:16"),
            auth=raw(build="services/auth", needs=["db"], scope="module"),
        )
    )

    assert describe_plan(plan(catalogue, {"a.py::t": ["auth"], "a.py::u": ["db"]})) == [
        "service  image                            lives for    needs  tests  first needed by",
        "db       postgres:16                      session      -      2      a.py::t",
        "auth     build of /project/services/auth  module a.py  db     1      a.py::t",
    ]


def test_a_plan_without_services_says_so() -> None:
    assert describe_plan(Plan()) == ["no selected test needs a service"]


@pytest.mark.parametrize(
    ("service", "changes", "words"),
    [
        (sid("db"), (), "db"),
        (sid("db"), (Change(sid("db"), "=postgres-16"),), "db[postgres-16]"),
        (sid("web"), (Change(sid("db"), "=postgres-16"),), "web[db=postgres-16]"),
        (sid("db", "hr"), (Change(sid("db", "hr"), "=16", "a"), Change(sid("mail", "hr"), "=2")), "hr.db[16,mail=2]"),
        (sid("web"), (Change(sid("db", "hr"), "=16"),), "web[hr.db=16]"),
        (sid("db"), (Change(sid("db"), "=16~0123abcd"),), "db[16]"),
        (sid("db"), (Change(sid("db"), "~0123abcd"),), "db"),
    ],
)
def test_words_for_an_instance_tell_its_alternatives(
    service: ServiceId, changes: tuple[Change, ...], words: str
) -> None:
    assert InstanceKey(service, Place(Scope.SESSION), "f00", changes).words == words
