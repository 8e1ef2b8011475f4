"""Each key's parser: what it takes, what it makes of it, and what it says about the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_isolate.declarations import values
from pytest_isolate.declarations.build import BUILD_KEYS
from pytest_isolate.declarations.keys import KEYS, SERVICE_KEYS
from pytest_isolate.declarations.values import InvalidValue
from pytest_isolate.model.declaration import Secret
from pytest_isolate.model.location import Location
from pytest_isolate.model.probes import Command, Http, Log, Tcp
from pytest_isolate.model.service import UNLIMITED, Build, BuildSecret, File, Scope

HERE = Location(file="/project/tests/conftest.py", line=3)
SIZES = "a number of bytes, or a text such as '256m' or '1.5g'"
DURATIONS = "a number of seconds, or a text such as '500ms', '30s' or '2m'"
TARGETS = "an absolute path such as '/etc/app.conf'"
PROBES = (
    "http('/path'), tcp(), log('pattern'), command('word', ...), ended(); in TOML {http = '/path'} and so on; or a list"
)
MIB = 1024 * 1024


def parse(key: str, value: object) -> object:
    place = (HERE,) if KEYS[key].is_located else ()
    return KEYS[key].parse(value, *place)


def refusal(key: str, value: object) -> tuple[str, str, str]:
    """Reason, valid values and sub-key of what is said about a wrong value."""
    with pytest.raises(InvalidValue) as caught:
        parse(key, value)
    return caught.value.reason, caught.value.valid, caught.value.key


@pytest.mark.parametrize(
    ("key", "value", "parsed"),
    [
        ("image", "postgres:16", "postgres:16"),
        ("image", Path("a/b"), "a/b"),
        ("port", 1, 1),
        ("port", 65535, 65535),
        ("ports", [25, 143], (25, 143)),
        ("ports", (25, 143, 25), (25, 143)),
        ("ports", [], ()),
        ("env", {}, ()),
        ("env", {"B": "2", "A": "1"}, (("A", "1"), ("B", "2"))),
        ("env", {"N": 1, "F": 0.5, "T": True, "O": False}, (("F", "0.5"), ("N", "1"), ("O", "false"), ("T", "true"))),
        ("env", {"discovery.type": "single-node", "E": ""}, (("E", ""), ("discovery.type", "single-node"))),
        ("command", ["sleep", 1.5], ("sleep", "1.5")),
        ("command", [], ()),
        ("entrypoint", ("sh", "-c", "exit 1"), ("sh", "-c", "exit 1")),
        ("volumes", {"mail": "/var/mail", "db": "/data"}, (("db", "/data"), ("mail", "/var/mail"))),
        ("snapshot", "/srv/data", ("/srv/data",)),
        ("snapshot", ["/srv/data", "/etc/app"], ("/srv/data", "/etc/app")),
        ("snapshot", [], ()),
        ("timeout", 30, 30.0),
        ("timeout", 0.5, 0.5),
        ("timeout", "500ms", 0.5),
        ("timeout", "30s", 30.0),
        ("timeout", "1m30s", 90.0),
        ("timeout", " 2 M ", 120.0),
        ("timeout", "1.5h", 5400.0),
        ("timeout", "7", 7.0),
        ("memory", 64 * MIB, 64 * MIB),
        ("memory", "256m", 256 * MIB),
        ("memory", "256M", 256 * MIB),
        ("memory", "256MiB", 256 * MIB),
        ("memory", "256 mb", 256 * MIB),
        ("memory", "1.5g", 1536 * MIB),
        ("memory", "6m", 6 * MIB),
        ("memory", "unlimited", UNLIMITED),
        ("shm_size", "64k", 65536),
        ("shm_size", "10b", 10),
        ("shm_size", "10", 10),
        ("cpus", 1, 1.0),
        ("cpus", 0.01, 0.01),
        ("pids", 1, 1),
        ("pids", "unlimited", UNLIMITED),
        ("cap_add", ["net_admin", "CAP_SYS_PTRACE", "ALL"], ("NET_ADMIN", "SYS_PTRACE", "ALL")),
        ("new_privileges", True, True),
        ("needs", ["db"], ("db",)),
        ("url", "http://{host}:{port}/x", "http://{host}:{port}/x"),
        ("user", "app", "app"),
        ("password", "s3cret", "s3cret"),
        ("password", Secret.RANDOM, Secret.RANDOM),
        ("database", "app", "app"),
        ("share", "run", "run"),
        ("share", "worker", "worker"),
    ],
)
def test_a_good_value_is_taken(key: str, value: object, parsed: object) -> None:
    assert parse(key, value) == parsed


@pytest.mark.parametrize("scope", list(Scope))
def test_each_of_pytests_scopes_is_taken(scope: Scope) -> None:
    assert parse("scope", scope.word) is scope


SECRET = "{env = 'NAME'}, a variable of the environment, or {file = 'path'}"
NO_TEXT = "a text that is not empty"
NO_PORT = "a whole number from 1 to 65535"
NO_PORTS = "a list such as [25, 143]; ports='native' belongs to a stack"
NO_LISTED_PORT = f'{NO_PORT}, or one of UDP such as "8125/udp"'
NO_STATUS = "a whole number from 100 to 599"
FROM_ONE = "a whole number from 1"
NO_MAPPING = "a mapping with texts as keys"
SCOPE_WORDS = "function, class, module, package, session"


@pytest.mark.parametrize(
    ("key", "value", "reason", "valid"),
    [
        ("image", "", "'' is not a text", NO_TEXT),
        ("image", "  ", "'  ' is not a text", NO_TEXT),
        ("image", 3, "3 is not a text", NO_TEXT),
        ("image", b"x", "b'x' is not a text", NO_TEXT),
        ("port", 0, "0 is not a port", NO_PORT),
        ("port", 65536, "65536 is not a port", NO_PORT),
        ("port", -1, "-1 is not a port", NO_PORT),
        ("port", "80", "'80' is not a port", NO_PORT),
        (
            "port",
            "8125/udp",
            "'8125/udp' is a port of UDP, and this one is of TCP",
            f'{NO_PORT}; ports=[..., "8125/udp"] publishes one of UDP',
        ),
        ("port", True, "True is not a port", NO_PORT),
        ("port", 80.0, "80.0 is not a port", NO_PORT),
        ("ports", "native", "'native' is not a list of ports", NO_PORTS),
        ("ports", 80, "80 is not a list of ports", NO_PORTS),
        ("ports", b"PZ", "b'PZ' is not a list of ports", NO_PORTS),
        ("ports", [80, 0], "0 is not a port", NO_LISTED_PORT),
        ("ports", ["0/udp"], "'0/udp' is not a port", NO_LISTED_PORT),
        ("ports", ["65536/udp"], "'65536/udp' is not a port", NO_LISTED_PORT),
        ("ports", ["/udp"], "'/udp' is not a port", NO_LISTED_PORT),
        ("ports", ["1 /udp"], "'1 /udp' is not a port", NO_LISTED_PORT),
        ("ports", ["80/sctp"], "'80/sctp' is not a port", NO_LISTED_PORT),
        ("env", "A=1", "'A=1' is not a table", NO_MAPPING),
        ("env", {1: "x"}, "{1: 'x'} is not a table", NO_MAPPING),
        ("command", "sleep 1", "'sleep 1' is one text", "a list of words; for a shell: ['sh', '-c', '...']"),
        ("command", 5, "5 is not a command", "a list of words"),
        ("command", b"ls", "b'ls' is not a command", "a list of words"),
        ("command", ["ls", None], "['ls', None] is not a command", "a list of words"),
        ("volumes", ["/data"], "['/data'] is not a table", NO_MAPPING),
        ("timeout", 0, "0 is not a duration", DURATIONS),
        ("timeout", -1, "-1 is not a duration", DURATIONS),
        ("timeout", "30s1", "'30s1' is not a duration", DURATIONS),
        ("timeout", "soon", "'soon' is not a duration", DURATIONS),
        ("timeout", "3 days", "'3 days' is not a duration", DURATIONS),
        ("timeout", True, "True is not a duration", DURATIONS),
        ("timeout", float("inf"), "inf is not a duration", DURATIONS),
        ("timeout", float("nan"), "nan is not a duration", DURATIONS),
        ("memory", "lots", "'lots' is not a size", SIZES),
        ("memory", "256q", "'256q' is not a size", SIZES),
        ("memory", "-5m", "'-5m' is not a size", SIZES),
        ("memory", 0, "0 is not a size", SIZES),
        ("memory", 1.5, "1.5 is not a size", SIZES),
        ("memory", None, "None is not a size", SIZES),
        (
            "memory",
            "256",
            "'256' is less than a container can start with (6 MiB)",
            f"{SIZES}; or 'unlimited'",
        ),
        ("shm_size", "unlimited", "'unlimited' is not a size", SIZES),
        ("cpus", 0, "0 is not a share of processors", "a number from 0.01, such as 0.5 or 2"),
        ("cpus", "half", "'half' is not a share of processors", "a number from 0.01, such as 0.5 or 2"),
        ("cpus", True, "True is not a share of processors", "a number from 0.01, such as 0.5 or 2"),
        ("cpus", float("nan"), "nan is not a share of processors", "a number from 0.01, such as 0.5 or 2"),
        ("pids", 0, "0 is not a number of processes", "a whole number from 1, or 'unlimited'"),
        ("pids", True, "True is not a number of processes", "a whole number from 1, or 'unlimited'"),
        ("pids", "many", "'many' is not a number of processes", "a whole number from 1, or 'unlimited'"),
        ("cap_add", "NET_ADMIN", "'NET_ADMIN' is not a list of names", "a list of texts"),
        ("cap_add", b"", "b'' is not a list of names", "a list of texts"),
        (
            "cap_add",
            ["NET_ADMN"],
            "'NET_ADMN' is not a capability, did you mean 'NET_ADMIN'?",
            ", ".join(values.CAPABILITIES),
        ),
        ("new_privileges", "yes", "'yes' is neither true nor false", "true, false"),
        ("new_privileges", 1, "1 is neither true nor false", "true, false"),
        ("needs", "db", "'db' is not a list of names", "a list of texts"),
        ("needs", [1], "[1] is not a list of names", "a list of texts"),
        ("password", "", "'' is not a text", NO_TEXT),
        ("scope", "sesion", "'sesion' is not a scope, did you mean 'session'?", SCOPE_WORDS),
        ("scope", "test", "'test' is not a scope", SCOPE_WORDS),
        ("scope", ["session"], "['session'] is not a scope, did you mean 'session'?", SCOPE_WORDS),
        ("share", "workers", "'workers' is not a way to share, did you mean 'worker'?", "run, worker"),
        ("share", 1, "1 is not a way to share", "run, worker"),
        ("ready", "/healthz", "'/healthz' is not a probe", PROBES),
        ("ready", b"/", "b'/' is not a probe", PROBES),
        ("ready", 80, "80 is not a probe", PROBES),
        ("ready", {"http": "/", "tcp": 80}, "{'http': '/', 'tcp': 80} is not one probe", PROBES),
        ("ready", {"htttp": "/"}, "'htttp' is not a kind of probe, did you mean 'http'?", PROBES),
        ("ready", {"comand": ["x"]}, "'comand' is not a kind of probe, did you mean 'command'?", PROBES),
        ("ready", Command(argv=("ok", b"x")), "('ok', b'x') is not a command", "a list of words"),
    ],
)
def test_a_wrong_value_is_told_with_what_would_be_right(key: str, value: object, reason: str, valid: str) -> None:
    assert refusal(key, value) == (reason, valid, "")


@pytest.mark.parametrize(
    ("key", "value", "reason", "valid", "part"),
    [
        ("env", {"A=B": "1"}, "'A=B' is not the name of an environment variable", "a name without '='", "A=B"),
        ("env", {"": "1"}, "'' is not the name of an environment variable", "a name without '='", ""),
        ("env", {"A": ["x"]}, "['x'] is not a text", "a text, a number, true or false", "A"),
        ("volumes", {"mail": "var/mail"}, "'var/mail' is not a path inside the container", TARGETS, "mail"),
        ("volumes", {"mail": "/"}, "'/' is not a path inside the container", TARGETS, "mail"),
        ("volumes", {"mail": 1}, "1 is not a path inside the container", TARGETS, "mail"),
        ("files", {"etc/x": "y"}, "'etc/x' is not a path inside the container", TARGETS, "etc/x"),
        ("files", {"/x": 1}, "1 is not a table", NO_MAPPING, ""),
        ("files", {"/x": {"txt": "y"}}, "unknown key 'txt', did you mean 'text'?", "text, path, mode, owner", "/x"),
        ("files", {"/x": {"mode": "0600"}}, "needs either text or path", "{text = '...'} or {path = '...'}", "/x"),
        (
            "files",
            {"/x": {"text": "a", "path": "b"}},
            "needs either text or path",
            "{text = '...'} or {path = '...'}",
            "/x",
        ),
        ("files", {"/x": {"text": "", "mode": "rw"}}, "'rw' is not a file mode", "such as '0600'", "/x.mode"),
        ("files", {"/x": {"text": "", "mode": 0o10000}}, "4096 is not a file mode", "such as '0600'", "/x.mode"),
        ("files", {"/x": {"text": 1}}, "1 is not a text", "a text", "/x.text"),
        ("build", {}, "needs a context", "the folder that holds the Dockerfile", "context"),
        ("ready", {"tcp": 0}, "0 is not a port", NO_PORT, "tcp.port"),
        ("ready", {"tcp": True}, "True is not a port", NO_PORT, "tcp.port"),
        ("ready", {"tcp": {"prt": 1}}, "unknown key 'prt', did you mean 'port'?", "port, send, expect", "tcp"),
        ("ready", {"http": {"port": 99999}}, "99999 is not a port", NO_PORT, "http.port"),
        ("ready", {"http": {"status": 42}}, "42 is not an HTTP status", NO_STATUS, "http.status"),
        ("ready", {"log": {}}, "needs a pattern", "a regular expression", "log.pattern"),
        ("ready", {"log": 5}, "5 is not a regular expression", "a text", "log.pattern"),
        ("ready", {"log": {"pattern": "x", "times": 0}}, "0 is not a number of times", FROM_ONE, "log.times"),
        ("ready", {"command": []}, "the command is empty", "a list of words", "command"),
        ("ready", Tcp(send="x"), "'x' is not a byte string", "bytes", "tcp.send"),
        ("ready", Log(pattern="x", times=True), "True is not a number of times", FROM_ONE, "log.times"),
    ],
)
def test_a_wrong_part_is_named(key: str, value: object, reason: str, valid: str, part: str) -> None:
    assert refusal(key, value) == (reason, valid, part)


@pytest.mark.parametrize("key", ["ready", "log"])
def test_a_wrong_regular_expression_is_told_with_its_fault(key: str) -> None:
    probe = Tcp(expect="(") if key == "ready" else Log(pattern="(")

    reason, valid, part = refusal("ready", probe)

    assert reason == "'(' is not a regular expression: missing ), unterminated subpattern at position 0"
    assert (valid, part) == ("Python's syntax of them", "tcp.expect" if key == "ready" else "log.pattern")


@pytest.mark.parametrize("expect", ["→", r"\u2192", "(?u)x"])
def test_a_pattern_that_cannot_match_bytes_is_refused_before_anything_starts(expect: str) -> None:
    reason, valid, part = refusal("ready", {"tcp": {"expect": expect}})

    assert reason == f"{expect!r} cannot be matched against bytes"
    assert valid == r"one for bytes: ASCII, and other characters as the bytes that are sent, such as '\xc3\xa9'"
    assert part == "tcp.expect"


@pytest.mark.parametrize("path", ["healthz", "", "/a b", "/größe", "/a\r\nX: y", 5])
def test_a_path_that_no_request_can_carry_is_refused_before_anything_starts(path: object) -> None:
    reason, valid, part = refusal("ready", {"http": path})

    assert reason == f"{path!r} is not a path of a URL"
    assert valid.startswith("a text that begins with '/'")
    assert part == "http.path"


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        ({"http": "/healthz"}, (Http(path="/healthz"),)),
        ({"http": {}}, (Http(),)),
        ({"http": {"path": "/a?b=c%20d", "port": 81, "status": 401}}, (Http(path="/a?b=c%20d", port=81, status=401),)),
        ({"tcp": 25}, (Tcp(port=25),)),
        ({"tcp": {}}, (Tcp(),)),
        ({"tcp": {"send": "é\r\n", "expect": "^220"}}, (Tcp(send=b"\xc3\xa9\r\n", expect="^220"),)),
        ({"log": "ready"}, (Log(pattern="ready"),)),
        ({"log": {"pattern": "ready", "times": 2}}, (Log(pattern="ready", times=2),)),
        ({"command": ["pg_isready", "-p", 5432]}, (Command(argv=("pg_isready", "-p", "5432")),)),
        (Command(argv=("sleep", 1)), (Command(argv=("sleep", "1")),)),
        (Http(path="/"), (Http(path="/"),)),
        ([Http(path="/"), {"tcp": 25}, [Log(pattern="x")]], (Http(path="/"), Tcp(port=25), Log(pattern="x"))),
        ([], ()),
    ],
)
def test_probes_are_taken_in_every_way_of_writing(value: object, parsed: object) -> None:
    assert parse("ready", value) == parsed


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        ("text", File(target="/x", text="text")),
        ("", File(target="/x", text="")),
        (b"\xff", File(target="/x", data=b"\xff")),
        ({"text": b"\xff", "mode": 0o600}, File(target="/x", data=b"\xff", mode=0o600)),
        (Path("a.conf"), File(target="/x", source="/project/tests/a.conf")),
        (Path("/etc/hosts"), File(target="/x", source="/etc/hosts")),
        ({"path": "sub/a.conf"}, File(target="/x", source="/project/tests/sub/a.conf")),
        ({"path": Path("a"), "mode": "0755"}, File(target="/x", source="/project/tests/a", mode=0o755)),
        ({"text": "t", "mode": "600"}, File(target="/x", text="t", mode=0o600)),
        ({"text": "t", "mode": 0o600}, File(target="/x", text="t", mode=0o600)),
        ({"text": "t", "mode": "4755"}, File(target="/x", text="t", mode=0o4755)),
    ],
)
def test_files_are_taken_in_every_way_of_writing(value: object, parsed: File) -> None:
    assert parse("files", {"/x": value}) == (parsed,)


def test_files_come_in_the_order_of_their_paths() -> None:
    assert parse("files", {"/b": "", "/a": ""}) == (File(target="/a", text=""), File(target="/b", text=""))


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        ("auth", Build(context="/project/tests/auth", dockerfile="/project/tests/auth/Dockerfile")),
        (Path("/srv/auth"), Build(context="/srv/auth", dockerfile="/srv/auth/Dockerfile")),
        (
            {"context": "auth", "dockerfile": "dev/Dockerfile", "args": {"N": 1}, "target": "t", "network": "host"},
            Build(
                context="/project/tests/auth",
                dockerfile="/project/tests/auth/dev/Dockerfile",
                args=(("N", "1"),),
                target="t",
                network="host",
            ),
        ),
        ({"context": "a", "target": None}, Build(context="/project/tests/a", dockerfile="/project/tests/a/Dockerfile")),
    ],
)
def test_a_build_is_relative_to_the_file_that_declares_it(value: object, parsed: Build) -> None:
    assert parse("build", value) == parsed


@pytest.mark.parametrize(
    ("value", "reason", "valid"),
    [
        (5, "5 is not a text", NO_TEXT),
        (
            {"context": "a", "dockerfil": "b"},
            "unknown key 'dockerfil', did you mean 'dockerfile'?",
            ", ".join(BUILD_KEYS),
        ),
        ({"context": "a", "target": 1}, "1 is not a text", NO_TEXT),
        ({"context": None}, "None is not a text", NO_TEXT),
        (
            {"context": "a", "dockerfile": "b", "dockerfile_inline": "FROM x"},
            "goes with no dockerfile",
            "one of the two",
        ),
        ({"context": "a", "secrets": {"t": "s3cr3t"}}, "is not the place of a secret", SECRET),
        ({"context": "a", "secrets": {"t": {"env": "A", "file": "b"}}}, "needs either env or file", SECRET),
        ({"context": "a", "secrets": {"t": {"env": ""}}}, "'' is not a text", NO_TEXT),
        ({"context": "a", "secrets": {"t,u": {"env": "A"}}}, "'t,u' is not the name of a secret", None),
        ({"context": "a", "ssh": ["=x"]}, "'=x' names no key", None),
        ({"context": "a", "cache_from": ["ref=x"]}, "'ref=x' is not a cache", None),
        ({"context": "a", "contexts": {"b": 1}}, "1 is not a context", None),
        ({"context": "a", "labels": {"pytest-isolate.run": "x"}}, "the label 'pytest-isolate.run' is one of", None),
        ({"context": "a", "shm_size": "much"}, "'much' is not a size", None),
    ],
)
def test_a_wrong_build_is_told_with_what_would_be_right(value: object, reason: str, valid: str) -> None:
    found, right, *_ = refusal("build", value)
    assert found.startswith(reason)
    assert valid in (None, right)
    assert "s3cr3t" not in found + right


def test_a_build_with_every_key_is_taken() -> None:
    value = {
        "context": "auth",
        "dockerfile_inline": "FROM x",
        "secrets": {"token": {"env": "TOKEN"}, "key": {"file": "key.pem"}},
        "ssh": True,
        "cache_from": "auth:main",
        "cache_to": ["type=inline", "type=local,dest=/c"],
        "builder": "b",
        "contexts": {"lib": "../lib", "base": "docker-image://debian"},
        "labels": {"a": 1},
        "extra_hosts": {"h": "10.0.0.1"},
        "shm_size": "64m",
    }
    assert parse("build", value) == Build(
        context="/project/tests/auth",
        dockerfile="/project/tests/auth/Dockerfile",
        inline="FROM x",
        secrets=(BuildSecret(name="key", file="/project/tests/key.pem"), BuildSecret(name="token", env="TOKEN")),
        ssh=("default",),
        cache_from=("auth:main",),
        cache_to=("type=inline", "type=local,dest=/c"),
        builder="b",
        contexts=(("base", "docker-image://debian"), ("lib", "/project/tests/../lib")),
        labels=(("a", "1"),),
        extra_hosts=(("h", "10.0.0.1"),),
        shm_bytes=64 << 20,
    )


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.integers(), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("key", SERVICE_KEYS)
@given(value=anything)
def test_any_value_is_either_taken_or_refused(key: str, value: object) -> None:
    try:
        taken = parse(key, value)
    except InvalidValue as wrong:
        taken = (wrong.reason, wrong.valid)

    assert isinstance(hash(taken), int)


@given(st.integers(1, 10**6), st.sampled_from(["b", "k", "m", "g"]))
def test_a_size_is_its_number_times_its_unit(number: int, unit: str) -> None:
    factor = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30}[unit]

    assert values.parse_size(f"{number}{unit}") == number * factor


@given(st.lists(st.integers(1, 65535)))
def test_ports_keep_their_order_and_come_once(ports: list[int]) -> None:
    assert values.parse_ports(ports) == tuple(sorted(set(ports), key=ports.index))


@pytest.mark.parametrize("parser", [values.parse_text, values.parse_mapping, values.parse_port])
def test_what_is_refused_is_a_value_error(parser: Callable[[object], object]) -> None:
    with pytest.raises(ValueError, match="is not"):
        parser(None)
