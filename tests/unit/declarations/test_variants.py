"""Alternatives, what the command line makes of them, and what a test has of them: pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_isolate.declarations.loading import Catalogue, read
from pytest_isolate.declarations.variants import image_name
from pytest_isolate.errors import Problem
from pytest_isolate.model.declaration import Declared, RawOverride, RawService, RawStack, RawVariants
from pytest_isolate.model.service import ServiceId
from pytest_isolate.planning.overrides import resolve_overrides
from pytest_isolate.planning.per_test import catalogue_with
from pytest_isolate.planning.placement import Instance, ItemPosition, place_instances
from pytest_isolate.planning.variant_rows import Row, Variant, choose_row, expand, visible_rows
from pytest_isolate.presets.postgres import postgres
from pytest_isolate.running.network.networks import network_order
from unit.builders import HERE, declare, raw, raw_stack, sid


def vary(
    namespace: str = "", *, mode: object = "product", name: str = "versions", **services: object
) -> list[Declared]:
    """What `versions = variants(...)` declares."""
    return [Declared(name=name, namespace=namespace, raw=RawVariants(services=services, mode=mode, location=HERE))]


def named(*names: str) -> dict[str, object]:
    return {name: {"env": {"N": name}} for name in names}


def understand(
    *declared: Iterable[Declared], chosen: Mapping[str, list[str]] | None = None
) -> tuple[Catalogue, list[Problem]]:
    problems: list[Problem] = []
    every = [d for group in declared for d in group]
    return read(every, problems, exists=lambda _: True, chosen=chosen), problems


def catalogue_of(*declared: Iterable[Declared], chosen: Mapping[str, list[str]] | None = None) -> Catalogue:
    catalogue, problems = understand(*declared, chosen=chosen)
    assert not problems
    return catalogue


def with_row(catalogue: Catalogue, row: Row) -> Catalogue:
    problems: list[Problem] = []
    adapted = catalogue_with(catalogue, row, {}, problems, lambda _: True)
    assert not problems
    return adapted


def names_of(rows: Iterable[Row]) -> list[dict[str, str]]:
    return [{service.name: alternative.name for service, (alternative, _) in row.items()} for row in rows]


def ids(catalogue: Catalogue, *services: ServiceId, node: str = "a.py::t") -> list[str]:
    rows = visible_rows(catalogue.groups, node)
    return [str(v) for v in expand(rows, services, lambda row: with_row(catalogue, row))]


# -- alternatives -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("postgres:16", "postgres-16"),
        ("postgres", "postgres"),
        ("registry.example:5000/team/auth:1.4", "auth-1.4"),
        (f"auth@sha256:{'ab' * 32}", "auth-abababab"),
        ("a:b c", "a-b-c"),
    ],
)
def test_an_images_name_is_readable_in_an_id(image: str, name: str) -> None:
    assert image_name(image) == name


def env_of(catalogue: Catalogue, service: ServiceId) -> dict[str, str]:
    return dict(catalogue.services[service].env)


def in_first_row(*declared: Iterable[Declared]) -> Catalogue:
    catalogue = catalogue_of(*declared)
    return with_row(catalogue, visible_rows(catalogue.groups, "")[0])


def test_a_table_changes_the_service() -> None:
    catalogue = in_first_row(declare(db=raw(env={"A": 1, "B": 1})), vary(db=[{"env": {"B": 2}}]))

    assert env_of(catalogue, sid("db")) == {"A": "1", "B": "2"}


def test_an_image_changes_nothing_else() -> None:
    catalogue = in_first_row(declare(db=raw(env={"A": 1}, build="x")), vary(db=["other:2"]))

    assert (catalogue.services[sid("db")].image, catalogue.services[sid("db")].build) == ("other:2", None)
    assert env_of(catalogue, sid("db")) == {"A": "1"}


def test_another_service_takes_its_place_as_a_whole() -> None:
    other = raw(image="other:1", env={"B": 1})
    catalogue = in_first_row(declare(db=raw(env={"A": 1}), other=other), vary(db=[other]))

    assert catalogue.services[sid("db")].image == "other:1"
    assert env_of(catalogue, sid("db")) == {"B": "1"}


def test_a_preset_takes_the_place_of_the_base_and_own_changes_stay() -> None:
    base = raw(RawService(layers=postgres("14", database="orders").layers), image="mine:14", memory="64m")
    catalogue = in_first_row(declare(db=base), vary(db=[postgres("16")]))
    spec = catalogue.services[sid("db")]

    assert (spec.image, spec.database, spec.memory_bytes) == ("postgres:16", "orders", 64 * 1024**2)


def test_life_is_the_declared_one() -> None:
    other = raw(image="other:1", scope="module", share="worker")
    catalogue = in_first_row(declare(db=raw(scope="class"), other=other), vary(db=[other]))

    assert (catalogue.services[sid("db")].scope.word, catalogue.services[sid("db")].share) == ("class", "run")


def test_members_of_stacks_that_are_copies_change_too_and_keep_their_differences() -> None:
    db = raw(env={"A": 1, "B": 1})
    stack = raw_stack(db=raw(db, env={"B": 5, "C": 5}), other=raw())
    catalogue = in_first_row(declare(db=db, hr=stack), vary(db=[{"env": {"A": 2, "B": 2}}]))

    assert env_of(catalogue, sid("db", "hr")) == {"A": "2", "B": "5", "C": "5"}
    assert not catalogue.variation(sid("other", "hr"))
    assert [str(c) for c in catalogue.variation(sid("db", "hr"))] == ["hr.db=A-2+B-2"]


# -- rows -------------------------------------------------------------------------------------------------------------


def test_rows_are_the_product_or_the_pairs() -> None:
    two = declare(db=raw(), web=raw())
    product = catalogue_of(two, vary(db=named("a", "b"), web=named("x", "y")))
    pairs = catalogue_of(two, vary(db=named("a", "b"), web=named("x", "y"), mode="zip"))

    assert names_of(visible_rows(product.groups, "a.py")) == [
        {"db": d, "web": w} for d, w in itertools.product("ab", "xy")
    ]
    assert names_of(visible_rows(pairs.groups, "a.py")) == [{"db": "a", "web": "x"}, {"db": "b", "web": "y"}]


def test_rows_are_for_tests_at_or_below_their_place() -> None:
    catalogue = catalogue_of(declare(db=raw()), vary("shop", db=named("a", "b")))

    assert ids(catalogue, sid("db"), node="shop/a.py::t") == ["db=a", "db=b"]
    assert ids(catalogue, sid("db"), node="shopping/a.py::t") == []


def test_nearest_declaration_counts_for_each_service() -> None:
    outer = vary(db=named("a", "b"), web=named("x", "y"), mode="zip")
    catalogue = catalogue_of(declare(db=raw(), web=raw()), outer, vary("shop", db=named("c")))

    assert names_of(visible_rows(catalogue.groups, "shop/a.py")) == [
        {"web": "x", "db": "c"},
        {"web": "y", "db": "c"},
    ]


def test_a_test_runs_for_what_it_reaches_only() -> None:
    catalogue = catalogue_of(
        declare(db=raw(), web=raw(needs=["db"]), mail=raw(), lone=raw()),
        vary(db=named("a", "b"), mail=named("x", "y")),
    )

    assert ids(catalogue, sid("lone")) == []
    assert ids(catalogue, sid("web")) == ["db=a", "db=b"]
    assert len(ids(catalogue, sid("web"), sid("mail"))) == 4


def test_what_an_alternative_does_not_need_does_not_multiply_it() -> None:
    catalogue = catalogue_of(
        declare(db=raw(), web=raw()), vary(db=named("a", "b"), web={"lone": {}, "bound": {"needs": ["db"]}})
    )

    assert ids(catalogue, sid("web")) == ["web=lone", "db=a,web=bound", "db=b,web=bound"]


def test_a_chosen_row_has_the_first_of_what_the_variant_does_not_name() -> None:
    catalogue = catalogue_of(declare(db=raw(), web=raw()), vary(db=named("a", "b"), web=named("x", "y")))
    rows = visible_rows(catalogue.groups, "a.py")

    assert names_of([choose_row(rows, None)]) == [{"db": "a", "web": "x"}]
    assert names_of([choose_row(rows, Variant(((sid("web"), "y"),)))]) == [{"db": "a", "web": "y"}]
    assert choose_row((), None) == {}


# -- the command line -------------------------------------------------------------------------------------------------

BASE = declare(db=raw(image="db:1"), web=raw())


@pytest.mark.parametrize("mode", ["product", "zip"])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["b"], [("b", "y")]),
        (["db:2"], [("b", "y")]),
        (["b", "a"], [("a", "x"), ("b", "y")]),
        (["db:9"], [("db-9", "x"), ("db-9", "y")]),
        (["a", "db:9"], [("a", "x"), ("db-9", "x"), ("db-9", "y")]),
    ],
)
def test_the_command_line_chooses_among_rows(mode: str, values: list[str], expected: list[tuple[str, str]]) -> None:
    versions = vary(db={"a": "db:1", "b": "db:2"}, web=named("x", "y"), mode=mode)
    rows = names_of(visible_rows(catalogue_of(BASE, versions, chosen={"db": values}).groups, "a.py"))

    found = [(row["db"], row["web"]) for row in rows]
    if mode == "zip":
        assert found == expected
    else:
        assert {d for d, _ in found} == {d for d, _ in expected}
        assert len(found) == 2 * len({d for d, _ in expected})


def test_the_command_line_varies_what_is_not_varied() -> None:
    assert ids(catalogue_of(BASE, chosen={"db": ["db:8", "db:9"]}), sid("db")) == ["db=db-8", "db=db-9"]


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ({"dbb": ["x:1"]}, "unknown service 'dbb', did you mean 'db'?"),
        ({"db": ["aa"]}, "'db' has no alternative 'aa', did you mean 'a'?"),
        ({"web": ["x"]}, "'web' has no alternative 'x'"),
    ],
)
def test_the_command_line_is_checked(chosen: Mapping[str, list[str]], reason: str) -> None:
    _, problems = understand(BASE, vary(db=named("a", "b")), chosen=chosen)

    assert [p.reason for p in problems] == [reason]
    assert problems[0].place == "--isolate-variant"


# -- overrides --------------------------------------------------------------------------------------------------------


def override(catalogue: Catalogue, *tables: Mapping[str, object], test: str = "a.py::t") -> Catalogue:
    problems: list[Problem] = []
    markers = [RawOverride(values=table, stray=(), location=HERE) for table in tables]
    found = resolve_overrides(markers, catalogue, test, problems)
    adapted = catalogue_with(catalogue, {}, found, problems, lambda _: True)
    assert not problems
    return adapted


def test_later_overrides_lie_on_top() -> None:
    catalogue = catalogue_of(declare(db=raw(env={"A": 1})))
    changed = override(catalogue, {"db": {"env": {"B": 1, "C": 1}}}, {"db": {"env": {"A": None, "C": 2}}})

    assert env_of(changed, sid("db")) == {"B": "1", "C": "2"}


def test_equal_overrides_are_equal_changes_however_they_are_written() -> None:
    catalogue = catalogue_of(declare(db=raw()))
    variations = {
        override(catalogue, {"db": {"memory": memory}}).variation(sid("db")) for memory in ("64m", 64 * 1024**2)
    }

    assert len(variations) == 1
    assert variations != {override(catalogue, {"db": {"memory": "65m"}}).variation(sid("db"))}


def test_an_override_that_changes_nothing_is_no_change() -> None:
    catalogue = catalogue_of(declare(db=raw(env={"A": 1})))

    assert not override(catalogue, {"db": {"env": {"A": "1"}}}).variation(sid("db"))


def test_an_override_of_how_long_to_wait_is_a_change() -> None:
    catalogue = catalogue_of(declare(db=raw()))

    assert override(catalogue, {"db": {"timeout": 1}}).variation(sid("db"))


def test_an_override_names_the_nearest_service() -> None:
    catalogue = catalogue_of(declare(db=raw()), declare("shop", db=raw()))
    changed = override(catalogue, {"db": {"cpus": 1}}, test="shop/a.py::t")

    assert changed.services[sid("db", namespace="shop")].cpus == 1
    assert changed.services[sid("db")].cpus is None


# -- instances side by side -------------------------------------------------------------------------------------------

NAMES = ["a", "b", "c", "d", "e"]
FOLDERS = ["", "p", "p/q"]
WHERE = ItemPosition(
    test="p/q/t.py::t", test_class="p/q/t.py::t", module="p/q/t.py", above=("", "p", "p/q"), worker="gw0"
)
SCOPES = ["function", "module", "package", "session"]
# Each is a whole project, loaded once for each variant: 40 of them take as long as all other tests of the file.
EACH = settings(max_examples=40)


@st.composite
def projects(draw: st.DrawFn) -> Catalogue:
    """Some services, of which later ones need earlier ones, a stack of copies, and variants of some of them."""
    raws: dict[str, RawService] = {}
    placed: dict[str, tuple[str, str]] = {}
    other_needs: dict[str, list[str]] = {}
    declared: list[Declared] = []
    for name in NAMES:
        folder = draw(st.sampled_from(FOLDERS))
        scope = draw(st.sampled_from(SCOPES))
        can_need = [
            n
            for n in raws
            if FOLDERS.index(placed[n][0]) <= FOLDERS.index(folder)
            and SCOPES.index(placed[n][1]) >= SCOPES.index(scope)
        ]
        needs = draw(st.lists(st.sampled_from(can_need), unique=True)) if can_need else []
        volumes = draw(st.sampled_from([{}, {"v": "/v"}]))
        raws[name] = raw(scope=scope, needs=needs, volumes=volumes)
        other_needs[name] = draw(st.lists(st.sampled_from(can_need), unique=True)) if can_need else []
        placed[name] = (folder, scope)
        declared += declare(folder, **{name: raws[name]})
    members = {n: raw(raws[n], scope=None) for n in NAMES}
    options = {"ports": draw(st.sampled_from(["native", "held"]))}
    declared.append(Declared(name="s", namespace="", raw=RawStack(members=members, options=options, location=HERE)))
    for number, folder in enumerate(FOLDERS):
        visible = [n for n in NAMES if FOLDERS.index(placed[n][0]) <= number]
        varied = draw(st.lists(st.sampled_from(visible), unique=True, max_size=2)) if visible else []
        if varied:
            mode = draw(st.sampled_from(["product", "zip"]))
            declared += vary(
                folder, mode=mode, name=f"v{number}", **{n: [{"cpus": 1}, {"needs": other_needs[n]}] for n in varied}
            )
    return catalogue_of(declared)


def instances_of_all_variants(catalogue: Catalogue) -> dict[Variant, tuple[Instance, ...]]:
    rows = visible_rows(catalogue.groups, WHERE.test)
    wanted = sorted(catalogue.services)
    variants = expand(rows, wanted, lambda row: with_row(catalogue, row)) or (Variant(()),)
    return {v: place_instances(wanted, with_row(catalogue, choose_row(rows, v)), WHERE) for v in variants}


@EACH
@given(projects())
def test_on_each_network_every_name_is_one_instance(catalogue: Catalogue) -> None:
    names: dict[object, dict[str, object]] = {}
    for instances in instances_of_all_variants(catalogue).values():
        for instance in instances:
            on_network = names.setdefault(instance.network, {})
            for alias, key in [(instance.spec.name, instance.key), *instance.dependencies]:
                assert on_network.setdefault(alias, key) == key


@EACH
@given(projects())
def test_what_is_attached_comes_from_a_network_that_sorts_before(catalogue: Catalogue) -> None:
    for instances in instances_of_all_variants(catalogue).values():
        by_key = {instance.key: instance for instance in instances}
        for instance in instances:
            for _, key in instance.dependencies:
                needed = by_key[key]
                if needed.network != instance.network:
                    assert network_order(needed, is_kept=False) < network_order(instance, is_kept=False)


@EACH
@given(projects())
def test_who_shares_a_network_agrees_on_its_size_and_order(catalogue: Catalogue) -> None:
    facts: dict[object, tuple[int, int]] = {}
    sizes: dict[object, set[str]] = {}
    for instances in instances_of_all_variants(catalogue).values():
        for instance in instances:
            assert facts.setdefault(instance.network, (instance.network_capacity, instance.stack_depth)) == (
                instance.network_capacity,
                instance.stack_depth,
            )
            sizes.setdefault(instance.network, set()).update(
                [instance.spec.name, *(a for a, _ in instance.dependencies)]
            )
    assert all(len(found) <= facts[network][0] for network, found in sizes.items())


@EACH
@given(projects())
def test_what_no_alternative_reaches_is_shared_by_all_variants(catalogue: Catalogue) -> None:
    every = list(instances_of_all_variants(catalogue).values())
    plain = place_instances(sorted(catalogue.services), catalogue, WHERE)
    unreached = {i.key.service for i in plain} - {i.key.service for found in every for i in found if i.key.variation}

    for service in unreached:
        keys = {i.key for found in every for i in found if i.key.service == service}
        assert keys == {i.key for i in plain if i.key.service == service}


@EACH
@given(projects(), st.data())
def test_each_alternative_of_what_a_test_reaches_is_run_once(catalogue: Catalogue, data: st.DataObject) -> None:
    rows = visible_rows(catalogue.groups, WHERE.test)
    wanted = data.draw(st.lists(st.sampled_from(sorted(catalogue.services)), min_size=1, max_size=2))
    variants = expand(rows, wanted, lambda row: with_row(catalogue, row))
    used = [
        frozenset(i.key for i in place_instances(wanted, with_row(catalogue, choose_row(rows, v)), WHERE))
        for v in variants
    ]

    assert len(set(map(str, variants))) == len(variants)
    for row in rows:
        keys = frozenset(i.key for i in place_instances(wanted, with_row(catalogue, row), WHERE))
        assert keys in used or not any(key.variation for key in keys)
