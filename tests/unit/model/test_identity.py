"""Fingerprints, labels, names and passwords."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields, replace

from pytest_isolate.declarations.keys import fingerprint
from pytest_isolate.model.declaration import Secret
from pytest_isolate.model.endpoint import ExternalService
from pytest_isolate.model.fresh import COPY_METHODS
from pytest_isolate.model.identity import (
    LABEL_FINGERPRINT,
    LABEL_INSTANCE,
    LABEL_OWNER,
    LABEL_REUSE,
    LABEL_RUN,
    LABEL_SERVICE,
    LABEL_STACK,
    LABEL_WORKER,
    Owner,
    parse_owner,
)
from pytest_isolate.model.location import Location
from pytest_isolate.model.probes import Command, Ended, Http, Log, Tcp
from pytest_isolate.model.service import UNLIMITED, Build, ContainerSettings, File, Pristine, Scope, ServiceSpec
from pytest_isolate.running.testcontainers.declared import DeclaredModule
from unit.builders import HERE, OWNER, declare, load_all, make_run, raw, sid, spec

words = st.text(max_size=8)
names = st.text(min_size=1, max_size=8)
ports = st.integers(1, 65535)
optional_words = st.none() | words
pairs = st.dictionaries(names, words, max_size=3).map(lambda d: tuple(sorted(d.items())))
argv = st.none() | st.lists(words, max_size=3).map(tuple)
probes = st.one_of(
    st.builds(Tcp, port=st.none() | ports, send=st.binary(max_size=4), expect=optional_words),
    st.builds(Http, path=words, port=st.none() | ports, status=st.none() | st.integers(100, 599)),
    st.builds(Log, pattern=words, times=st.integers(1, 9)),
    st.builds(Command, argv=st.lists(words, min_size=1, max_size=3).map(tuple)),
    st.just(Ended()),
)
values_of = {
    "name": names,
    "image": optional_words,
    "build": st.none()
    | st.builds(Build, context=words, dockerfile=words, args=pairs, target=optional_words, network=optional_words),
    "pull": optional_words,
    "platform": optional_words,
    "ports": st.lists(ports, max_size=3).map(tuple),
    "udp_ports": st.lists(ports.map("{}/udp".format), max_size=2).map(tuple),
    "env": pairs,
    "command": argv,
    "entrypoint": argv,
    "files": st.lists(
        st.builds(
            File,
            target=words,
            text=optional_words,
            data=st.none() | st.binary(max_size=4),
            source=optional_words,
            mode=st.integers(0, 0o7777),
        ),
        max_size=2,
    ).map(tuple),
    "volumes": pairs,
    "snapshot": names,
    "in_memory": names,
    "ready": st.lists(probes, max_size=2).map(tuple),
    "timeout_s": st.floats(0.1, 100),
    "memory_bytes": st.just(UNLIMITED) | st.integers(1, 2**40),
    "shm_bytes": st.none() | st.integers(1, 2**40),
    "cpus": st.none() | st.floats(0.01, 64),
    "pids": st.just(UNLIMITED) | st.integers(1, 9999),
    "cap_add": st.lists(words, max_size=2).map(tuple),
    "new_privileges": st.booleans(),
    "container": st.builds(ContainerSettings, aliases=st.tuples(words), init=st.booleans(), user=words),
    "needs": st.lists(names, max_size=2).map(tuple),
    "url": optional_words,
    "user": optional_words,
    "password": st.just(Secret.RANDOM) | optional_words,
    "database": optional_words,
    "copies": st.none() | st.sampled_from([*COPY_METHODS]),
    "reset": st.none() | st.just(Pristine()) | words.map(lambda word: Command(argv=(word,))),
    "module": st.none() | st.builds(DeclaredModule, st.just(print)),
    "scope": st.sampled_from(Scope),
    "share": st.sampled_from(["run", "worker"]),
    "external": st.none() | st.builds(ExternalService, url=words, host=words, port=ports, given_by=words),
    "location": st.builds(Location, file=words, line=st.integers(0, 999)),
}
specs = st.builds(ServiceSpec, **values_of)
NOT_COUNTED = {"location", "timeout_s", "pull", "reset", "module", "scope", "share"}


def digest(of: ServiceSpec) -> str:
    return fingerprint(of, stack="")


def test_every_field_of_a_service_is_drawn_by_these_tests() -> None:
    assert values_of.keys() == {f.name for f in fields(ServiceSpec)}


@given(specs)
def test_equal_services_have_equal_fingerprints(service: ServiceSpec) -> None:
    assert digest(service) == digest(replace(service))


@given(specs, st.sampled_from(sorted(values_of.keys() - NOT_COUNTED)), st.data())
def test_any_changed_field_gives_another_fingerprint(service: ServiceSpec, name: str, data: st.DataObject) -> None:
    other = replace(service, **{name: data.draw(values_of[name].filter(lambda v: v != getattr(service, name)))})

    assert digest(service) != digest(other)


@given(specs, st.sampled_from(sorted(NOT_COUNTED)), st.data())
def test_what_does_not_change_the_container_does_not_count(
    service: ServiceSpec, name: str, data: st.DataObject
) -> None:
    other = replace(service, **{name: data.draw(values_of[name])})

    assert digest(service) == digest(other)


@given(specs, specs)
def test_services_with_one_fingerprint_are_equal_but_for_what_does_not_count(a: ServiceSpec, b: ServiceSpec) -> None:
    counted = [f.name for f in fields(ServiceSpec) if f.name not in NOT_COUNTED]

    assert (digest(a) == digest(b)) == all(getattr(a, name) == getattr(b, name) for name in counted)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"command": ("ab", "c")}, {"command": ("a", "bc")}, id="words"),
        pytest.param({"env": (("A", "B=C"),)}, {"env": (("A=B", "C"),)}, id="pairs"),
        pytest.param({"user": "ab", "database": "c"}, {"user": "a", "database": "bc"}, id="neighbouring fields"),
        pytest.param({"command": ("a",)}, {"entrypoint": ("a",)}, id="the same value in another field"),
        pytest.param({"command": ()}, {"command": None}, id="empty and absent"),
        pytest.param({"password": "Secret.RANDOM"}, {"password": Secret.RANDOM}, id="a text that looks like a mark"),
        pytest.param({"ready": (Tcp(),)}, {"ready": (Http(path="/"),)}, id="kinds of probes"),
        pytest.param({"ready": (Tcp(expect="61"),)}, {"ready": (Tcp(send=b"a"),)}, id="bytes and text"),
        pytest.param({"env": (("A", "1"), ("B", "2"))}, {"env": (("A", "1"),)}, id="one entry less"),
    ],
)
def test_nothing_collides_by_running_into_its_neighbour(one: dict[str, object], other: dict[str, object]) -> None:
    assert digest(spec(**one)) != digest(spec(**other))


def test_the_stack_counts() -> None:
    assert fingerprint(spec(), stack="hr") != fingerprint(spec(), stack="sales")


def test_the_image_id_counts() -> None:
    assert fingerprint(spec(), stack="", image_id="sha256:1") != fingerprint(spec(), stack="", image_id="sha256:2")


def test_the_image_id_stands_for_the_build() -> None:
    built = [spec(build=Build(context=folder, dockerfile=f"{folder}/Dockerfile")) for folder in ("/a", "/b")]

    assert len({fingerprint(s, stack="", image_id="sha256:1") for s in built}) == 1
    assert len({fingerprint(s, stack="") for s in built}) == 2


def test_what_a_dependency_is_counts() -> None:
    one, other = (fingerprint(spec(), stack="", dependencies={"db": digest}) for digest in ("1", "2"))

    assert one != other


def test_the_alias_of_a_dependency_counts() -> None:
    one, other = (fingerprint(spec(), stack="", dependencies={alias: "1"}) for alias in ("db", "cache"))

    assert one != other


def test_the_order_of_dependencies_does_not_count() -> None:
    one = fingerprint(spec(), stack="", dependencies={"a": "1", "b": "2"})
    other = fingerprint(spec(), stack="", dependencies={"b": "2", "a": "1"})

    assert one == other


@given(st.dictionaries(st.from_regex(r"[A-Z]{1,4}", fullmatch=True), words, min_size=2), st.randoms())
def test_the_order_in_which_a_table_is_written_does_not_count(env: dict[str, str], rng: object) -> None:
    items = list(env.items())
    rng.shuffle(items)
    specs = [load_all(declare(svc=raw(env=table))).services[sid("svc")] for table in (env, dict(items))]

    assert digest(specs[0]) == digest(specs[1])


def test_defaults_may_be_written_down() -> None:
    plain, explicit = (
        load_all(declare(svc=raw(**values))).services[sid("svc")]
        for values in ({}, {"pids": 1024, "share": "run", "new_privileges": False, "env": {}})
    )

    assert digest(plain) == digest(explicit)


def test_a_fingerprint_is_short_and_plain() -> None:
    assert re.fullmatch("[0-9a-f]{32}", digest(spec()))


# -- owners and labels ------------------------------------------------------------------------------------------------


@given(st.builds(Owner, host=words, boot=words, pid_namespace=words, pid=st.integers(), start_time=words))
def test_an_owner_survives_being_written_into_a_label(owner: Owner) -> None:
    assert parse_owner(owner.encode()) == owner


@pytest.mark.parametrize(
    "text",
    ["", "garbage", "{}", "[]", "null", "1", '{"host": "h"}', OWNER.encode()[:-1], '{"pid": 1, "x": 2}', '"text"'],
)
def test_what_is_no_owner_is_none(text: str) -> None:
    assert parse_owner(text) is None


@given(st.text())
def test_garbage_never_raises(text: str) -> None:
    assert parse_owner(text) is None


def test_every_object_carries_run_and_owner() -> None:
    assert make_run().labels() == {LABEL_RUN: "abcd1234", LABEL_OWNER: OWNER.encode()}


def test_a_container_carries_its_stack_service_fingerprint_and_instance() -> None:
    labels = make_run().container_labels(sid("auth", "hr"), "f00", "1a2b")

    expected = {LABEL_STACK: "hr", LABEL_SERVICE: "auth", LABEL_FINGERPRINT: "f00", LABEL_INSTANCE: "1a2b"}
    assert labels.items() >= expected.items()
    assert labels.items() >= make_run().labels().items()


def test_the_default_stack_is_named_in_labels() -> None:
    assert make_run().container_labels(sid("auth"), "f00", "1a2b")[LABEL_STACK] == "default"


def test_labels_of_what_is_kept_are_on_every_object() -> None:
    run = replace(make_run(), extra_labels=((LABEL_REUSE, "project"),))

    assert run.labels()[LABEL_REUSE] == "project"
    assert run.container_labels(sid("auth"), "f00", "1a2b")[LABEL_REUSE] == "project"


def test_no_label_holds_the_secret_or_a_password() -> None:
    run = make_run(secret=b"very secret")
    labels = json.dumps(run.container_labels(sid("auth"), "f00", "1a2b"))

    assert "very secret" not in labels
    assert run.secret.hex() not in labels
    assert run.password("auth") not in labels


def test_a_worker_marks_what_is_its_own() -> None:
    run = make_run(worker="gw1")

    assert run.labels()[LABEL_WORKER] == "gw1"
    assert run.own_labels() == {LABEL_RUN: "abcd1234", LABEL_WORKER: "gw1"}


def test_outside_xdist_the_whole_run_is_its_own() -> None:
    assert make_run().own_labels() == {LABEL_RUN: "abcd1234"}


# -- names and passwords ----------------------------------------------------------------------------------------------


@given(st.lists(st.text(), max_size=4), st.sampled_from(["", "gw0", "gw11"]))
def test_a_name_is_valid_for_the_engine_whatever_it_is_made_of(parts: list[str], worker: str) -> None:
    name = make_run(worker=worker).resource_name(*parts)

    assert re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", name)


def test_a_name_is_readable() -> None:
    assert make_run(worker="gw1").resource_name("hr", "auth", "3") == "isolate-abcd1234-gw1-hr-auth-3"


def test_empty_parts_leave_no_trace_in_a_name() -> None:
    assert make_run().resource_name("", "auth") == "isolate-abcd1234-auth"


def test_two_runs_have_different_names() -> None:
    assert make_run(run_id="1").resource_name("a") != make_run(run_id="2").resource_name("a")


@given(st.lists(words, max_size=3))
def test_a_password_stays_the_same_within_a_run(parts: list[str]) -> None:
    assert make_run().password(*parts) == make_run(worker="gw1").password(*parts)


def test_another_run_has_other_passwords() -> None:
    assert make_run(secret=b"1").password("db") != make_run(secret=b"2").password("db")


@pytest.mark.parametrize(("one", "other"), [(["db"], ["auth"]), (["a", "bc"], ["ab", "c"]), (["a"], ["a", ""])])
def test_another_instance_has_another_password(one: list[str], other: list[str]) -> None:
    assert make_run().password(*one) != make_run().password(*other)


def test_a_password_needs_no_quoting_anywhere() -> None:
    assert re.fullmatch("[0-9a-f]{32}", make_run().password("db"))


def test_scopes_are_ordered_from_narrow_to_wide() -> None:
    assert [s.word for s in sorted(Scope)] == ["function", "class", "module", "package", "session"]


@pytest.mark.parametrize(
    ("location", "text"), [(HERE, "/project/conftest.py:7"), (Location(file="preset postgres"), "preset postgres")]
)
def test_a_location_shows_its_line_where_it_is_known(location: Location, text: str) -> None:
    assert str(location) == text
