"""Raw declarations into checked ones: layers, whole services, stacks, names; and everything that can be wrong."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest
from msgspec.structs import replace

from pytest_isolate.declarations.keys import SERVICE_KEYS, fingerprint
from pytest_isolate.declarations.service import merge_layers
from pytest_isolate.errors import DeclarationError, Problem
from pytest_isolate.model.declaration import Layer, RawService
from pytest_isolate.model.location import Location
from pytest_isolate.model.probes import Command, Http, Log, Tcp
from pytest_isolate.model.service import File, Scope, ServiceSpec, StackId
from pytest_isolate.plugin.declaring.configuration import Source
from pytest_isolate.plugin.declaring.declare import DECLARATION
from pytest_isolate.plugin.declaring.toml import TomlReader, build_plugin
from pytest_isolate.presets.postgres import postgres
from unit.builders import (
    HERE,
    bare,
    declare,
    load_all,
    load_one,
    only_problem,
    problems_of,
    raw,
    raw_stack,
    sid,
)

THERE = Location(file="/project/sub/conftest.py", line=9)
ALL_KEYS = ", ".join(sorted(SERVICE_KEYS))


def merged(*tables: dict[str, object]) -> dict[str, object]:
    settings = merge_layers(Layer(values=table, location=HERE) for table in tables)
    return {key: setting.value for key, setting in settings.items()}


# -- layers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tables", "result"),
    [
        pytest.param([{"user": "a"}, {"user": "b"}], {"user": "b"}, id="the last value wins"),
        pytest.param([{"user": "a"}, {}], {"user": "a"}, id="what is not named stays"),
        pytest.param([{"user": "a"}, {"user": None}], {}, id="None takes out"),
        pytest.param([{"user": None}], {}, id="None alone is nothing"),
        pytest.param([{"user": "a"}, {"user": None}, {"user": "c"}], {"user": "c"}, id="and may be set again"),
        pytest.param([{"command": ["a"]}, {"command": ["b"]}], {"command": ["b"]}, id="a list is replaced"),
        pytest.param([{"build": {"context": "a"}}, {"build": {"args": {}}}], {"build": {"args": {}}}, id="build too"),
        pytest.param([{"image": "a"}, {"build": "b"}], {"build": "b"}, id="build replaces image"),
        pytest.param([{"build": "b"}, {"image": "a"}], {"image": "a"}, id="image replaces build"),
        pytest.param([{"image": "a", "build": "b"}], {"image": "a", "build": "b"}, id="both at once are both"),
        pytest.param([{"image": "a", "build": "b"}, {"image": "c"}], {"image": "c"}, id="image replaces both"),
        pytest.param([{"port": 1}, {"ports": [2, 3]}], {"ports": [2, 3]}, id="ports replaces port"),
        pytest.param([{"ports": [2, 3]}, {"port": 1}], {"port": 1}, id="port replaces ports"),
        pytest.param([{"port": 1, "ports": [2]}], {"port": 1, "ports": [2]}, id="port and ports at once are both"),
        pytest.param([{"port": 1}, {"port": None}], {}, id="a port is taken out"),
    ],
)
def test_layers_are_laid_over_each_other(tables: list[dict[str, object]], result: dict[str, object]) -> None:
    assert merged(*tables) == result


@pytest.mark.parametrize("key", ["env", "files", "volumes"])
@pytest.mark.parametrize(
    ("tables", "result"),
    [
        pytest.param([{"a": "1"}, {"b": "2"}], {"a": "1", "b": "2"}, id="entries are added"),
        pytest.param([{"a": "1"}, {"a": "2"}], {"a": "2"}, id="entries are replaced"),
        pytest.param([{"a": "1", "b": "2"}, {"a": None}], {"b": "2"}, id="None takes an entry out"),
        pytest.param([{"a": None}], {}, id="None alone is nothing"),
        pytest.param([{"a": "1"}, None], None, id="None takes the table out"),
        pytest.param([{"a": "1"}, None, {"b": "2"}], {"b": "2"}, id="after which it begins anew"),
        pytest.param([{"a": "1"}, "wrong"], "wrong", id="what is no table is left to the parser"),
    ],
)
def test_tables_are_merged_entry_by_entry(key: str, tables: list[object], result: object) -> None:
    assert merged(*({key: table} for table in tables)).get(key) == result


def test_a_value_keeps_the_place_that_set_it() -> None:
    settings = merge_layers(
        [
            Layer(values={"user": "a", "database": "d"}, location=HERE),
            Layer(values={"user": "b"}, location=THERE),
        ]
    )

    assert (settings["user"].location, settings["database"].location) == (THERE, HERE)


def test_paths_are_relative_to_the_file_that_declares_them() -> None:
    base = raw(at=HERE, build="auth", files={"/a": PurePath("a.conf"), "/b": {"path": "b.conf"}})
    changed = raw(base, at=THERE, files={"/c": PurePath("c.conf")})

    service = load_all(declare(auth=changed)).services[sid("auth")]

    assert service.build is not None
    assert service.build.context == "/project/auth"
    assert [f.source for f in service.files] == ["/project/a.conf", "/project/b.conf", "/project/sub/c.conf"]


def test_a_changed_copy_leaves_the_original_alone() -> None:
    base = raw(env={"REALM": "head-office"})

    services = load_all(declare(one=base, other=raw(base, env={"REALM": "hr"}))).services

    assert services[sid("one")].env == (("REALM", "head-office"),)
    assert services[sid("other")].env == (("REALM", "hr"),)


# -- whole services ---------------------------------------------------------------------------------------------------


def test_every_key_has_its_place_in_a_service() -> None:
    service = load_one(
        image="auth:1",
        build={"context": "/auth"},
        pull="always",
        platform="linux/arm64",
        port=80,
        ports=[443, 80],
        env={"A": 1},
        command=["run"],
        entrypoint=["sh"],
        files={"/x": "y"},
        volumes={"v": "/v"},
        ready=[Http(port=443), Log(pattern="x")],
        timeout="2m",
        memory="64m",
        shm_size="1m",
        cpus=2,
        pids=9,
        cap_add=["NET_RAW"],
        new_privileges=True,
        needs=[],
        url="http://{host}",
        user="u",
        password="p",
        database="d",
        scope="module",
        share="worker",
    )

    assert replace(service, build=None) == ServiceSpec(
        name="svc",
        image="auth:1",
        pull="always",
        platform="linux/arm64",
        ports=(80, 443),
        env=(("A", "1"),),
        command=("run",),
        entrypoint=("sh",),
        files=(File(target="/x", text="y"),),
        volumes=(("v", "/v"),),
        ready=(Http(port=443), Log(pattern="x")),
        timeout_s=120.0,
        memory_bytes=64 * 1024**2,
        shm_bytes=1024**2,
        cpus=2.0,
        pids=9,
        cap_add=("NET_RAW",),
        new_privileges=True,
        url="http://{host}",
        user="u",
        password="p",
        database="d",
        scope=Scope.MODULE,
        share="worker",
        location=HERE,
    )


def test_a_service_is_declared_where_it_was_changed_last() -> None:
    assert load_all(declare(db=raw(raw(), at=THERE))).services[sid("db")].location == THERE


@pytest.mark.parametrize(
    ("values", "ports"),
    [({"port": 80}, (80,)), ({"ports": [25, 143]}, (25, 143)), ({"port": 143, "ports": [25, 143]}, (143, 25))],
)
def test_the_main_port_comes_first(values: dict[str, object], ports: tuple[int, ...]) -> None:
    assert load_one(**values).ports == ports


def test_python_and_toml_declare_the_same_thing(tmp_path: Path) -> None:
    text = """
        [services.db]
        use = "postgres"
        image = "postgres:15"

        [services.auth]
        build = "auth"
        port = 8000
        env = { DATABASE_URL = "{db.url}", DEBUG = true }
        files = { "/etc/auth.conf" = { path = "auth.conf", mode = "0600" } }
        ready = [{ http = { path = "/healthz", status = 204 } }, { tcp = { send = "x", expect = "y" } }]
        memory = "256m"
        timeout = "5s"
    """
    module = build_plugin(TomlReader(Source(tmp_path / "isolate.toml", text, ())))
    from_toml = {
        name: getattr(fixture, DECLARATION) for name, fixture in vars(module).items() if name in ("db", "auth")
    }
    at = Location(file=str(tmp_path / "conftest.py"), line=1)
    in_python = {
        "db": raw(RawService(layers=postgres().layers), at=at, image="postgres:15"),
        "auth": bare(
            at=at,
            timeout=5,
            memory=256 * 1024**2,
            ready=[Http(path="/healthz", status=204), Tcp(send=b"x", expect="y")],
            files={"/etc/auth.conf": {"mode": 0o600, "path": PurePath("auth.conf")}},
            env={"DEBUG": "true", "DATABASE_URL": "{db.url}"},
            port=8000,
            build={"context": PurePath("auth")},
        ),
    }

    digests = [
        {str(key): fingerprint(spec, stack="") for key, spec in load_all(declare(**raws)).services.items()}
        for raws in (from_toml, in_python)
    ]

    assert digests[0] == digests[1]


# -- what is wrong with one service -----------------------------------------------------------------------------------


def missing(path: str) -> bool:
    return "missing" not in path


@pytest.mark.parametrize(
    ("service", "subject", "reason", "valid"),
    [
        (raw(prot=80), "db.prot", "unknown key 'prot', did you mean 'port'?", ALL_KEYS),
        (raw(xyz=80), "db.xyz", "unknown key 'xyz'", ALL_KEYS),
        (
            raw(memory="lots"),
            "db.memory",
            "'lots' is not a size",
            "a number of bytes, or a text such as '256m' or '1.5g'",
        ),
        (raw(env={"A": []}), "db.env.A", "[] is not a text", "a text, a number, true or false"),
        (raw(ready={"tcp": 0}), "db.ready.tcp.port", "0 is not a port", "a whole number from 1 to 65535"),
        (bare(), "db", "no image and no build", "image='name:tag' or build='folder with a Dockerfile'"),
        (
            raw(build="missing"),
            "db.build",
            "there is no Dockerfile at /project/missing/Dockerfile",
            "a folder with a Dockerfile in it",
        ),
        (raw(ready=Http()), "db.ready", "this probe needs a port, and the service declares none", "port=..."),
        (raw(port=80, ready=Tcp(port=81)), "db.ready", "port 81 is not declared", "80"),
        (raw(ports=[25, 143], ready=Tcp(port=81)), "db.ready", "port 81 is not declared", "25, 143"),
        (
            raw(files={"/etc/x": PurePath("missing.conf")}),
            "db.files./etc/x",
            "there is no file or folder /project/missing.conf",
            "a path that exists",
        ),
        *(
            (raw(url=url), "db.url", f"{url!r} is not a URL template", "{host}, {port}, {user}, {password}, {database}")
            for url in ("http://{hots}", "http://{", "{}", "{0}", "{host.x.y}", "{port[0]}", "{self.host}")
        ),
        (
            RawService(layers=(Layer(values={}, location=HERE),), bad_base=("5 cannot be it", "a preset")),
            "db",
            "5 cannot be it",
            "a preset",
        ),
    ],
)
def test_what_is_wrong_with_a_service_is_named(service: RawService, subject: str, reason: str, valid: str) -> None:
    expected = Problem(place=str(HERE), subject=subject, reason=reason, valid=valid)

    assert only_problem(declare(db=service), exists=missing) == expected


@pytest.mark.parametrize("probe", [Log(pattern="x"), Command(argv=("x",))])
def test_a_probe_that_asks_no_port_needs_none(probe: object) -> None:
    assert load_one(ready=probe).ready == (probe,)


def test_a_problem_is_placed_where_the_wrong_value_stands() -> None:
    problem = only_problem(declare(db=raw(raw(at=THERE, memory="lots"), at=HERE, user="x")))

    assert problem.place == str(THERE)


def test_everything_wrong_is_told_at_once_in_reading_order() -> None:
    early, late = Location(file="/project/conftest.py", line=9), Location(file="/project/conftest.py", line=10)

    problems = problems_of(
        declare(
            a=raw(at=late, memory="x", port=0),
            b=raw(at=early, env={"X": "{nobody.host}"}),
            c=bare(at=THERE),
        )
    )

    assert [(p.place, p.subject) for p in problems] == [
        ("/project/conftest.py:9", "b.env.X"),
        ("/project/conftest.py:10", "a.memory"),
        ("/project/conftest.py:10", "a.port"),
        ("/project/sub/conftest.py:9", "c"),
    ]


def test_a_wrong_key_hides_only_what_follows_from_it() -> None:
    assert [p.subject for p in problems_of(declare(db=bare(image="", ready=Tcp())))] == ["db.image", "db.ready"]


def test_the_same_problem_seen_through_two_copies_is_told_once() -> None:
    auth = raw(memory="lots")

    assert len(problems_of(declare(hr=raw_stack(auth=auth), sales=raw_stack(auth=auth)))) == 1


# -- names ------------------------------------------------------------------------------------------------------------


def test_two_services_with_one_name_are_refused() -> None:
    problem = only_problem([*declare(db=raw(at=HERE)), *declare(db=raw(at=THERE))])

    assert problem == Problem(
        place=str(THERE),
        subject="db",
        reason=f"two services with one name; the other is declared at {HERE}",
        hint="rename one of them",
    )


def test_a_service_of_an_installed_plugin_may_be_overridden() -> None:
    plugin = Location(file="/lib/site-packages/plugin.py", line=1)

    catalogue = load_all([*declare(db=raw(at=plugin, image="a")), *declare(db=raw(at=HERE, image="b"))])

    assert catalogue.services[sid("db")].image == "b"


def test_a_name_may_be_declared_again_further_down() -> None:
    catalogue = load_all(declare(db=raw(image="a")), declare("tests/sub", db=raw(image="b")))

    assert {key.stack.namespace: spec.image for key, spec in catalogue.services.items()} == {"": "a", "tests/sub": "b"}


@pytest.mark.parametrize(
    ("name", "reason", "hint", "valid"),
    [
        (
            "request",
            "the fixture name 'request' is reserved by pytest or pytest-django",
            "choose another name, such as request_service",
            "",
        ),
        ("self", "the name 'self' is reserved", "choose another name, such as self_service", ""),
        ("orders-db", "'orders-db' cannot be the name of a fixture", "", "a Python name, such as orders_db"),
        ("1db", "'1db' cannot be the name of a fixture", "", "a Python name, such as orders_db"),
        ("class", "'class' cannot be the name of a fixture", "", "a Python name, such as orders_db"),
    ],
)
def test_a_name_that_cannot_be_is_refused(name: str, reason: str, hint: str, valid: str) -> None:
    problem = only_problem(declare(**{name: raw()}), reserved=["request", "tmp_path"])

    assert problem == Problem(place=str(HERE), subject=name, reason=reason, hint=hint, valid=valid)


def test_a_member_of_a_stack_may_have_the_name_of_a_fixture_of_pytest() -> None:
    assert problems_of(declare(hr=raw_stack(cache=raw())), reserved=["cache"]) == ()


@pytest.mark.parametrize("member", ["self", "a-b", "for"])
def test_a_member_of_a_stack_must_have_a_usable_name(member: str) -> None:
    problem = only_problem(declare(hr=raw_stack(**{member: raw()})))

    assert problem.subject == "hr"
    assert repr(member) in problem.reason


def test_a_service_in_a_class_is_refused() -> None:
    problem = only_problem(declare("tests/test_a.py::TestX", db=raw()))

    assert problem == Problem(
        place=str(HERE),
        subject="db",
        reason="declared in the class TestX",
        hint="declare it in the module or a conftest.py",
    )


# -- stacks -----------------------------------------------------------------------------------------------------------


def test_a_stack_has_its_members_as_services_of_its_own() -> None:
    catalogue = load_all(declare(hr=raw_stack(db=raw(), auth=raw(env={"A": "{db.host}"}))))

    assert set(catalogue.services) == {sid("db", "hr"), sid("auth", "hr")}
    assert catalogue.dependencies[sid("auth", "hr")] == (sid("db", "hr"),)


def test_members_live_as_long_and_are_shared_as_widely_as_their_stack_says() -> None:
    options = {"scope": "module", "share": "worker"}

    catalogue = load_all(declare(hr=raw_stack(options=options, db=raw())))

    stack = catalogue.stacks[StackId("", "hr")]
    assert [(m.scope, m.share) for m in (stack, *stack.services)] == 2 * [(Scope.MODULE, "worker")]
    assert catalogue.services[sid("db", "hr")] == stack.services[0]


@pytest.mark.parametrize(("ports", "native"), [("native", True), ("held", False)])
def test_a_stack_says_how_its_ports_are_published(ports: str, native: bool) -> None:
    catalogue = load_all(declare(hr=raw_stack(options={"ports": ports}, db=raw())))

    assert catalogue.stacks[StackId("", "hr")].native_ports is native


@pytest.mark.parametrize(
    ("stack", "subject", "reason", "valid"),
    [
        (raw_stack(), "hr", "a stack without services", "name=service(...)"),
        (
            raw_stack(db=raw(), options={"ports": "natve"}),
            "hr.ports",
            "'natve' is not a way to publish ports, did you mean 'native'?",
            "native, held",
        ),
        (
            raw_stack(db=raw(), options={"scope": "sesion"}),
            "hr.scope",
            "'sesion' is not a scope, did you mean 'session'?",
            "function, class, module, package, session",
        ),
        (raw_stack(db=raw(), options={"share": 1}), "hr.share", "1 is not a way to share", "run, worker"),
        (raw_stack(db=raw(), auth=5), "hr.auth", "5 is not a service", "service(...)"),
        (
            raw_stack(db=raw(), port="native"),
            "hr.port",
            "'native' is not a service, did you mean 'ports'?",
            "service(...)",
        ),
        (raw_stack(db=raw(scope="module")), "hr.db.scope", "belongs to the whole stack", "scope= of stack()"),
        (raw_stack(db=raw(share="run")), "hr.db.share", "belongs to the whole stack", "share= of stack()"),
        (raw_stack(db=raw(prot=1)), "db.prot", "unknown key 'prot', did you mean 'port'?", ALL_KEYS),
    ],
)
def test_what_is_wrong_with_a_stack_is_named(stack: object, subject: str, reason: str, valid: str) -> None:
    expected = Problem(place=str(HERE), subject=subject, reason=reason, valid=valid)

    assert only_problem(declare(hr=stack)) == expected


# -- references -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        {"env": {"A": "x{db.host}y"}},
        {"command": ["run", "{db.host}"]},
        {"entrypoint": ["{db.host}"]},
        {"files": {"/x": "{db.host}"}},
        {"files": {"/x": {"text": "{db.host}"}}},
        {"needs": ["db"]},
    ],
)
def test_a_reference_anywhere_is_a_dependency(values: dict[str, object]) -> None:
    catalogue = load_all(declare(auth=raw(**values), db=raw()))

    assert catalogue.dependencies == {sid("auth"): (sid("db"),), sid("db"): ()}


def test_dependencies_come_once_and_sorted() -> None:
    auth = raw(env={"A": "{z.host} {a.host}", "B": "{z.host}"}, needs=["a"])

    assert load_all(declare(auth=auth, a=raw(), z=raw())).dependencies[sid("auth")] == (sid("a"), sid("z"))


@pytest.mark.parametrize("values", [{"env": {"A": "{self.host}"}}, {"env": {"A": "{{db.host}}"}}, {"url": "{host}"}])
def test_what_refers_to_no_other_service_is_no_dependency(values: dict[str, object]) -> None:
    assert load_all(declare(auth=raw(**values))).dependencies == {sid("auth"): ()}


def test_the_nearest_service_of_a_name_is_referred_to() -> None:
    auth = raw(env={"A": "{db.host}"})

    dependencies = load_all(
        declare(db=raw(), auth=auth),
        declare("tests/sub", db=raw(), auth=auth),
        declare("tests/sub/test_a.py", auth=auth),
    ).dependencies

    assert dependencies[sid("auth")] == (sid("db"),)
    assert dependencies[sid("auth", namespace="tests/sub")] == (sid("db", namespace="tests/sub"),)
    assert dependencies[sid("auth", namespace="tests/sub/test_a.py")] == (sid("db", namespace="tests/sub"),)


@pytest.mark.parametrize("elsewhere", ["tests/other", "tests/su", "tests/sub/test_a.py"])
def test_what_pytest_would_not_show_is_not_referred_to(elsewhere: str) -> None:
    problem = only_problem(declare(elsewhere, db=raw()), declare("tests/sub", auth=raw(needs=["db"])))

    assert problem.reason == "unknown service 'db'"


def test_a_stack_sees_its_own_members_only() -> None:
    stack = raw_stack(auth=raw(env={"A": "{db.host}"}), cache=raw())

    problem = only_problem(declare(db=raw(), hr=stack))

    assert problem == Problem(
        place=str(HERE),
        subject="hr.auth.env.A",
        reason="unknown service 'db' in {db.host}",
        valid="cache, self; for the literal text double the braces",
    )


@pytest.mark.parametrize(
    ("values", "subject", "reason", "valid"),
    [
        (
            {"env": {"A": "{dbs.host}"}},
            "auth.env.A",
            "unknown service 'dbs' in {dbs.host}, did you mean 'db'?",
            "db, self; for the literal text double the braces",
        ),
        ({"needs": ["dbs"]}, "auth.needs", "unknown service 'dbs', did you mean 'db'?", "db"),
        ({"needs": ["self"]}, "auth.needs", "unknown service 'self'", "db"),
        (
            {"command": ["{db.hots}"]},
            "auth.command",
            "unknown placeholder {db.hots}, did you mean 'host'?",
            "host, port, address, url, user, env.REALM; for the literal text double the braces",
        ),
        (
            {"files": {"/x": "{db.password}"}},
            "auth.files./x",
            "unknown placeholder {db.password}",
            "host, port, address, url, user, env.REALM; for the literal text double the braces",
        ),
        (
            {"entrypoint": ["{db.external_port}"]},
            "auth.entrypoint",
            "unknown placeholder {db.external_port}: only 'db' itself knows it, as {self.external_port}",
            "host, port, address, url, user, env.REALM; for the literal text double the braces",
        ),
        (
            {"env": {"A": "{self.external_host}"}},
            "auth.env.A",
            "unknown placeholder {self.external_host}",
            "host; for the literal text double the braces",
        ),
        (
            {"url": "x://{host}", "env": {"A": "{self.url}"}},
            "auth.env.A",
            "unknown placeholder {self.url}",
            "host; for the literal text double the braces",
        ),
        (
            {"ports": [80, 443], "env": {"A": "{self.external_port.8080}"}},
            "auth.env.A",
            "unknown placeholder {self.external_port.8080}, did you mean 'external_port.80'?",
            "host, port, address, url, external_host, external_port, external_address, external_port.80, "
            "external_port.443; for the literal text double the braces",
        ),
        (
            {"env": {"A": "{self.env.B}", "B": "x"}},
            "auth.env.A",
            "unknown placeholder {self.env.B}",
            "host; for the literal text double the braces",
        ),
    ],
)
def test_a_wrong_reference_is_told_with_what_would_be_right(
    values: dict[str, object], subject: str, reason: str, valid: str
) -> None:
    db = raw(port=5432, user="app", env={"REALM": "x"})

    problem = only_problem(declare(auth=raw(**values), db=db))

    assert problem == Problem(place=str(HERE), subject=subject, reason=reason, valid=valid)


def test_a_need_where_there_is_nothing_to_need() -> None:
    assert only_problem(declare(auth=raw(needs=["db"]))).valid == "none: no other service is declared where this one is"


@pytest.mark.parametrize(
    ("web", "auth", "db", "circle"),
    [
        ("{auth.host}", "{db.host}", "{web.host}", "web -> auth -> db -> web -> auth -> db"),
        ("", "{db.host}", "{auth.host}", "auth -> db -> auth -> db"),
        ("", "", "{db.host}", "db -> db"),
    ],
)
def test_a_circle_is_shown_in_the_direction_of_need(web: str, auth: str, db: str, circle: str) -> None:
    texts = {"web": web, "auth": auth, "db": db}

    problem = only_problem(declare(**{name: raw(env={"A": text}) for name, text in texts.items()}))

    before, _, shown = problem.reason.partition(": ")
    assert before == "the services need each other in a circle"
    assert shown in circle
    assert shown.split(" -> ")[0] == shown.split(" -> ")[-1] == problem.subject
    assert problem.hint == "take one of these references out"


def test_a_circle_within_a_stack_is_shown_with_its_name() -> None:
    problem = only_problem(declare(hr=raw_stack(a=raw(needs=["b"]), b=raw(needs=["a"]))))

    assert problem.reason.partition(": ")[2] in "hr.a -> hr.b -> hr.a -> hr.b"


# -- how long, and with whom ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", [s for s in Scope if s < Scope.SESSION])
def test_what_lives_longer_cannot_need_what_lives_shorter(scope: Scope) -> None:
    problem = only_problem(declare(auth=raw(needs=["db"]), db=raw(scope=scope.word)))

    assert problem == Problem(
        place=str(HERE),
        subject="auth.scope",
        reason=f"lives for the session but needs db, which lives for the {scope.word} only",
        hint=f"scope={scope.word!r} here, or a wider one there",
    )


def test_what_lives_shorter_may_need_what_lives_longer() -> None:
    assert problems_of(declare(auth=raw(needs=["db"], scope="function"), db=raw())) == ()


def test_what_all_workers_share_cannot_need_what_each_has_for_itself() -> None:
    problem = only_problem(declare(auth=raw(needs=["db"]), db=raw(share="worker")))

    assert problem == Problem(
        place=str(HERE),
        subject="auth.share",
        reason="is shared by the run but needs db, which each worker has for itself",
        hint="share='worker' here too",
    )


@pytest.mark.parametrize("values", [{"share": "worker"}, {"scope": "module"}])
def test_what_a_worker_has_for_itself_may_need_the_same(values: dict[str, object]) -> None:
    assert problems_of(declare(auth=raw(needs=["db"], **values), db=raw(share="worker"))) == ()


def test_nothing_declared_is_nothing_wrong() -> None:
    assert load_all().services == {}


def test_problems_come_as_one_error() -> None:
    with pytest.raises(DeclarationError, match="2 wrong declarations"):
        load_all(declare(a=raw(memory="x"), b=raw(memory="y")))


def test_two_services_with_one_port_cannot_be_native_on_one_address() -> None:
    stack = raw_stack(one=raw(port=8000), two=raw(ports=[25, 8000]), options={"ports": "native"})

    assert only_problem(declare(hr=stack)) == Problem(
        place=str(HERE),
        subject="hr.two.ports",
        reason="port 8000 is taken by 'one', and ports='native' gives both one address",
        valid="held",
    )


def test_a_change_to_no_image_leaves_the_build() -> None:
    merged = merge_layers(
        [Layer(values={"build": "here"}, location=HERE), Layer(values={"image": None}, location=HERE)]
    )

    assert merged["build"].value == "here"


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ({}, ("shop-web",)),
        ({"db": raw(container={"aliases": ["shop-web"]})}, ()),
        ({"db": raw(container={"aliases": ["web"]})}, ("shop-web",)),
    ],
)
def test_a_name_with_an_underscore_has_an_alias_without_unless_another_is_called_so(
    others: dict[str, RawService], expected: tuple[str, ...]
) -> None:
    hr = raw_stack(shop_web=raw(container={"aliases": ["shop-web"]}))
    catalogue = load_all(declare(shop_web=raw(port=80), hr=hr, **others))
    assert catalogue.services[sid("shop_web")].container.aliases == expected
    assert catalogue.services[sid("shop_web", "hr")].container.aliases == ("shop-web",)


@pytest.mark.parametrize("name", ["web", "_web", "web_", "_7zip"])
def test_a_name_that_no_host_could_have_with_hyphens_stays_alone(name: str) -> None:
    assert load_all(declare(**{name: raw()})).services[sid(name)].container.aliases == ()


def test_a_service_with_the_network_of_another_has_no_name_of_its_own() -> None:
    found = load_all(declare(hr=raw_stack(a_b=raw(container={"network": "service:web"}), web=raw())))
    assert found.services[sid("a_b", "hr")].container.aliases == ()


def test_ports_of_udp_stand_apart_from_those_of_tcp() -> None:
    found = load_all(declare(a=raw(ports=["8125/UDP", 80, "053/udp", "8125/udp"]), b=raw(port=80, ports=["80/udp"])))
    assert (found.services[sid("a")].ports, found.services[sid("a")].udp_ports) == ((80,), ("8125/udp", "53/udp"))
    assert (found.services[sid("b")].ports, found.services[sid("b")].udp_ports) == ((80,), ("80/udp",))


def test_one_address_has_a_port_of_udp_once_and_the_same_of_tcp_beside_it() -> None:
    twice = declare(hr=raw_stack(a=raw(ports=[53, "53/udp"]), b=raw(ports=["53/udp"]), options={"ports": "native"}))
    assert "port 53/udp is taken by 'a'" in only_problem(twice).reason
