"""Logins, TLS and proxies on the way to an API server."""

from __future__ import annotations

import base64
import json
import socket
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from pytest_isolate.engine.kubernetes.cluster_client import ApiError, ClusterClient
from pytest_isolate.engine.kubernetes.kube_config import Cluster, ExecPlugin
from pytest_isolate.engine.kubernetes.transport.proxies import find_proxy
from pytest_isolate.errors import EngineError, EngineUnreachable

from .served import Certificates, Request, Served, ServedSocket, answer, read_exactly, refusal
from .test_exec_stream import SUCCESS, V5, run, say

STATUS = {"ok": 1}


def ask(cluster: Cluster, env: dict[str, str] | None = None) -> Any:
    with closing(ClusterClient(cluster, env or {})) as client:
        return client.get("/version")


def asking(server: Served, **more: Any) -> closing[ClusterClient]:
    return closing(ClusterClient(Cluster(server=server.address, **more), {}))


# -- TLS ---------------------------------------------------------------------------------------------------------------


def test_the_authority_of_the_kubeconfig_is_trusted_and_no_other(certificates: Certificates) -> None:
    with Served(lambda _: answer(STATUS), certificates.server_trust()) as server:
        assert ask(Cluster(server=server.address, authority=certificates.text("ca.pem"))) == STATUS
        with pytest.raises(EngineUnreachable, match="its certificate is not trusted"):
            ask(Cluster(server=server.address))
        with pytest.raises(EngineUnreachable, match="its certificate is not trusted"):
            ask(Cluster(server=server.address, authority=certificates.text("client.pem")))
        assert ask(Cluster(server=server.address, is_verified=False)) == STATUS


def test_the_name_in_the_certificate_may_be_another(certificates: Certificates) -> None:
    named = {"authority": certificates.text("ca.pem"), "server_name": "api.example"}
    with Served(lambda _: answer(STATUS), certificates.server_trust()) as server:
        assert ask(Cluster(server=server.address, **named)) == STATUS
        with pytest.raises(EngineUnreachable, match="not trusted"):
            ask(Cluster(server=server.address, **{**named, "server_name": "other.example"}))


def test_a_client_certificate_is_shown_by_requests_and_by_lines(certificates: Certificates) -> None:
    shown: list[Any] = []

    def say_who(request: Request) -> Any:
        shown.append(request.sock.getpeercert()["subject"])
        return answer(STATUS) if request.target == "/version" else lambda r: say(ServedSocket(r, V5), SUCCESS)

    pair = {"certificate": certificates.text("client.pem"), "key": certificates.text("client-key.pem")}
    with Served(say_who, certificates.server_trust(asks_for_certificate=True)) as server:
        cluster = Cluster(server=server.address, authority=certificates.text("ca.pem"), **pair)
        with closing(ClusterClient(cluster, {})) as client:
            assert client.get("/version") == STATUS
            assert run(client)[0] == 0
        with pytest.raises(EngineUnreachable):
            ask(Cluster(server=server.address, authority=certificates.text("ca.pem")))
    assert shown == [((("commonName", "client"),),)] * 2


def test_a_certificate_that_is_none_is_told(certificates: Certificates) -> None:
    for wrong in ({"authority": "no PEM"}, {"certificate": "no PEM", "key": "no PEM"}):
        with pytest.raises(EngineError, match="certificate of the test is wrong"):
            ask(Cluster(server="https://127.0.0.1:1", source="the test", **wrong))


def test_a_server_that_never_says_a_word_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_isolate.engine.kubernetes.transport.dial.CONNECT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(EngineUnreachable, match="timed out"):
        ask(Cluster(server=f"https://127.0.0.1:{silent.getsockname()[1]}"))


# -- tokens ------------------------------------------------------------------------------------------------------------


def shown(server: Served) -> list[str | None]:
    return [request.headers.get("authorization") for request in server.requests]


def test_a_token_in_a_file_is_read_anew(tmp_path: Path) -> None:
    token = tmp_path / "token"
    with Served(lambda _: answer(STATUS)) as server, asking(server, token_file=str(token)) as client:
        for text in ("one\n", "two"):
            token.write_text(text)
            client.get("/version")
        token.unlink()
        with pytest.raises(EngineError, match=r"token in .* could not be read"):
            client.get("/version")
    assert shown(server) == ["Bearer one", "Bearer two"]


def test_a_name_and_a_password_are_shown_and_groups_one_by_one() -> None:
    with Served(lambda _: answer(STATUS)) as server:
        impersonates = {"Impersonate-User": ("ci",), "Impersonate-Group": ("a",)}
        ask(Cluster(server=server.address, user="me", password="p:w", impersonates=impersonates))
    assert shown(server) == [f"Basic {base64.b64encode(b'me:p:w').decode()}"]
    assert server.requests[0].headers["impersonate-group"] == "a"


# -- exec plugins ------------------------------------------------------------------------------------------------------


class Plugin:
    """A program that prints what is in a file, and keeps what it was given."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.program = folder / "login"
        self.program.write_text(
            f"#!{sys.executable}\n"
            "import os, pathlib, sys\n"
            f"folder = pathlib.Path({str(folder)!r})\n"
            "with (folder / 'runs').open('a') as runs:\n"
            "    print(repr([sys.argv[1:], os.environ.get('PROFILE'), os.environ['KUBERNETES_EXEC_INFO'],"
            " sys.stdin.read()]), file=runs)\n"
            "print('a word to the user', file=sys.stderr)\n"
            "print((folder / 'printed').read_text())\n"
            "sys.exit(int((folder / 'code').read_text()))\n"
        )
        self.program.chmod(0o755)
        self.prints("first")

    def prints(self, token: str, code: int = 0, expires: str = "", **more: str) -> None:
        status = {"token": token, **({"expirationTimestamp": expires} if expires else {}), **more}
        self.says(json.dumps({"kind": "ExecCredential", "status": status}), code)

    def says(self, text: str, code: int = 0) -> None:
        (self._folder / "printed").write_text(text)
        (self._folder / "code").write_text(str(code))

    def declared(self, **more: Any) -> ExecPlugin:
        return ExecPlugin(command=str(self.program), args=("get", "token"), env={"PROFILE": "dev"}, **more)

    @property
    def runs(self) -> list[Any]:
        path = self._folder / "runs"
        return [eval(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return Plugin(tmp_path)


def test_a_plugin_is_run_once_with_all_that_it_may_ask_for(plugin: Plugin) -> None:
    with Served(lambda _: answer(STATUS)) as server:
        declared = plugin.declared(wants_cluster=True, config={"audience": "x"})
        cluster = Cluster(server=server.address, plugin=declared, server_name="api")
        with closing(ClusterClient(cluster, {})) as client:
            threads = [threading.Thread(target=client.get, args=("/version",)) for _ in range(5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
    assert set(shown(server)) == {"Bearer first"}
    [(argv, profile, given, stdin)] = plugin.runs
    assert (argv, profile, stdin) == (["get", "token"], "dev", "")
    assert json.loads(given) == {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "spec": {
            "interactive": False,
            "cluster": {"server": server.address, "tls-server-name": "api", "config": {"audience": "x"}},
        },
    }


@pytest.mark.parametrize("fraction", ["", ".123456789"])
def test_what_a_plugin_prints_is_kept_until_it_expires(plugin: Plugin, fraction: str) -> None:
    def moment(after_s: float) -> str:
        return time.strftime(f"%Y-%m-%dT%H:%M:%S{fraction}Z", time.gmtime(time.time() + after_s))

    with Served(lambda _: answer(STATUS)) as server, asking(server, plugin=plugin.declared()) as client:
        plugin.prints("short", expires=moment(5))
        client.get("/version")
        plugin.prints("long", expires=moment(3600))
        client.get("/version")
        client.get("/version")
    assert shown(server) == ["Bearer short", "Bearer long", "Bearer long"]
    assert len(plugin.runs) == 2


def test_a_login_that_is_refused_is_made_once_more(plugin: Plugin) -> None:
    def say_no(request: Request) -> Any:
        if request.headers["authorization"] == "Bearer first":
            plugin.prints("second")
            return refusal(401, "Unauthorized", "Unauthorized")
        return answer(STATUS) if request.target == "/version" else lambda r: say(ServedSocket(r, V5), SUCCESS)

    cluster = {"plugin": plugin.declared()}
    with Served(say_no) as server:
        assert ask(Cluster(server=server.address, **cluster)) == STATUS
    assert shown(server) == ["Bearer first", "Bearer second"]
    plugin.prints("first")
    with Served(say_no) as server, closing(ClusterClient(Cluster(server=server.address, **cluster), {})) as client:
        assert run(client)[0] == 0
    assert shown(server) == ["Bearer first", "Bearer second"]


def test_a_login_that_is_refused_again_is_an_error(plugin: Plugin) -> None:
    with Served(lambda _: refusal(401, "Unauthorized", "Unauthorized")) as server:
        cluster = Cluster(server=server.address, plugin=plugin.declared())
        with closing(ClusterClient(cluster, {})) as client:
            for work in (lambda: client.get("/version"), lambda: client.open_exec("a", "b", ["c"], stdin=True)):
                with pytest.raises(ApiError, match="log in to the cluster again"):
                    work()
    assert len(server.requests) == 4


def test_a_plugin_may_print_a_certificate(plugin: Plugin, certificates: Certificates) -> None:
    pem = {"clientCertificateData": certificates.text("client.pem")}
    plugin.prints("", **pem, clientKeyData=certificates.text("client-key.pem"))
    with Served(lambda _: answer(STATUS), certificates.server_trust(asks_for_certificate=True)) as server:
        authority = certificates.text("ca.pem")
        assert ask(Cluster(server=server.address, authority=authority, plugin=plugin.declared())) == STATUS


@pytest.mark.parametrize(
    ("printed", "code", "words"),
    [
        ("secret-text", 0, "no ExecCredential"),
        ("{}", 0, "no ExecCredential"),
        ('{"status": {"secret-text": 1}}', 0, "no ExecCredential"),
        ('["secret-text"]', 0, "no ExecCredential"),
        ('{"status": {"token": "secret-text", "expirationTimestamp": "tomorrow"}}', 0, "no ExecCredential"),
        ("secret-text", 3, "ended with code 3"),
    ],
)
def test_a_plugin_that_gives_no_login_is_told_in_its_own_words(
    plugin: Plugin, printed: str, code: int, words: str
) -> None:
    plugin.says(printed, code)
    with pytest.raises(EngineError, match=words) as caught:
        ask(Cluster(server="http://127.0.0.1:1", plugin=plugin.declared()))
    assert "a word to the user" in str(caught.value)
    assert "secret-text" not in str(caught.value)


def test_a_plugin_that_is_not_there_is_answered_with_its_own_hint() -> None:
    plugin = ExecPlugin(command="isolate-no-such-login", install_hint="brew install login")
    with pytest.raises(EngineError, match="brew install login"):
        ask(Cluster(server="http://127.0.0.1:1", plugin=plugin))


def test_a_plugin_that_wants_a_terminal_is_refused(plugin: Plugin) -> None:
    with pytest.raises(EngineError, match="interactiveMode"):
        ask(Cluster(server="http://127.0.0.1:1", plugin=plugin.declared(needs_terminal=True)))


# -- proxies -----------------------------------------------------------------------------------------------------------


class Proxy:
    """A proxy of either kind, which connects to one place, whatever it is asked for. `asked` is what it was."""

    def __init__(self, target: int, says: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> None:
        self.asked: list[bytes] = []
        self._target = target
        self._says = says
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client = self._listening.accept()[0]
            except OSError:
                return
            with client, suppress(OSError):
                first = client.recv(1)
                (self._socks if first == b"\x05" else self._http)(client, first)

    def _http(self, client: socket.socket, head: bytes) -> None:
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(1)
        self.asked.append(head)
        self._carry(client, self._says)

    def _socks(self, client: socket.socket, _: bytes) -> None:
        methods = read_exactly(client, read_exactly(client, 1)[0])
        client.sendall(b"\x05" + (b"\x02" if 2 in methods else b"\x00"))
        if 2 in methods:
            read_exactly(client, 1)
            user = read_exactly(client, read_exactly(client, 1)[0])
            password = read_exactly(client, read_exactly(client, 1)[0])
            self.asked.append(user + b":" + password)
            client.sendall(b"\x01\x00")
        kind = read_exactly(client, 4)[3]
        size = {1: 4, 4: 16}.get(kind) or read_exactly(client, 1)[0]
        self.asked.append(read_exactly(client, size + 2))
        self._carry(client, self._says)

    def _carry(self, client: socket.socket, says: bytes) -> None:
        client.sendall(says)
        with socket.create_connection(("127.0.0.1", self._target)) as server:
            back = threading.Thread(target=_pump, args=(server, client))
            back.start()
            _pump(client, server)
            back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(1 << 16):
            sink.sendall(piece)
    for sock in (source, sink):
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


SOCKS_DONE = b"\x05\x00\x00\x01" + bytes(6)


def test_requests_and_lines_go_through_a_proxy(certificates: Certificates) -> None:
    def serve(request: Request) -> Any:
        return answer(STATUS) if request.target == "/version" else lambda r: say(ServedSocket(r, V5), SUCCESS)

    with Served(serve, certificates.server_trust()) as server, Proxy(server.port) as proxy:
        cluster = Cluster(
            server="https://api.example:6443",
            authority=certificates.text("ca.pem"),
            proxy=f"http://u:p%40@{proxy.address}",
        )
        with closing(ClusterClient(cluster, {})) as client:
            assert client.get("/version") == STATUS
        with closing(ClusterClient(cluster, {})) as client:
            assert run(client)[0] == 0
    login = base64.b64encode(b"u:p@")
    head = b"CONNECT api.example:6443 HTTP/1.1\r\nHost: api.example:6443\r\nProxy-Authorization: Basic " + login
    assert proxy.asked == [head + b"\r\n\r\n"] * 2


@pytest.mark.parametrize(
    ("host", "asked"),
    [("api.example", b"api.example\x19+"), ("10.1.2.3", b"\x0a\x01\x02\x03\x19+"), ("[fd00::1]", None)],
)
def test_socks_is_spoken(certificates: Certificates, host: str, asked: bytes | None) -> None:
    with (
        Served(lambda _: answer(STATUS), certificates.server_trust()) as server,
        Proxy(server.port, SOCKS_DONE) as proxy,
    ):
        cluster = Cluster(
            server=f"https://{host}:6443",
            server_name="api.example",
            authority=certificates.text("ca.pem"),
            proxy=f"socks5://me:pass@{proxy.address}",
        )
        assert ask(cluster) == STATUS
    assert proxy.asked == [b"me:pass", asked or socket.inet_pton(socket.AF_INET6, "fd00::1") + b"\x19+"]


@pytest.mark.parametrize(
    ("scheme", "says", "words"),
    [
        ("http", b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "407 Proxy Authentication"),
        ("http", b"", "ended the connection"),
        ("socks5", b"\x05\x05\x00\x01" + bytes(6), "connection refused"),
    ],
)
def test_a_proxy_that_refuses_says_why(scheme: str, says: bytes, words: str) -> None:
    with Proxy(9, says) as proxy, pytest.raises(EngineUnreachable, match=words):
        ask(Cluster(server="https://api.example", proxy=f"{scheme}://{proxy.address}"))


@pytest.mark.parametrize(
    ("env", "is_used"),
    [
        ({"HTTPS_PROXY": "proxy:8080"}, True),
        ({"https_proxy": "http://proxy:8080"}, True),
        ({"HTTP_PROXY": "proxy:8080"}, False),
        ({"HTTPS_PROXY": "proxy:8080", "NO_PROXY": "other,api.example"}, False),
        ({"HTTPS_PROXY": "proxy:8080", "NO_PROXY": ".example"}, False),
        ({"HTTPS_PROXY": "proxy:8080", "NO_PROXY": "*.example"}, False),
        ({"HTTPS_PROXY": "proxy:8080", "NO_PROXY": "example:6443"}, False),
        ({"HTTPS_PROXY": "proxy:8080", "NO_PROXY": "example:443"}, True),
        ({"HTTPS_PROXY": "proxy:8080", "NO_PROXY": "pi.example, 10.0.0.0/8"}, True),
        ({"HTTPS_PROXY": "proxy:8080", "no_proxy": "*"}, False),
        ({}, False),
    ],
)
def test_the_environment_names_a_proxy_as_for_programs_in_go(env: dict[str, str], is_used: bool) -> None:
    assert bool(find_proxy("https://api.example:6443", "", "", env)) is is_used


def test_networks_are_excepted_and_this_host_always_is() -> None:
    env = {"HTTPS_PROXY": "proxy:8080", "NO_PROXY": "10.0.0.0/8,fd00::/8"}
    assert find_proxy("https://10.1.2.3:6443", "", "", env) is None
    assert find_proxy("https://[fd00::1]", "", "", env) is None
    assert find_proxy("https://11.1.2.3", "", "", env)
    for host in ("127.0.0.1", "localhost", "[::1]"):
        assert find_proxy(f"https://{host}:6443", "", "", {"HTTPS_PROXY": "proxy:8080"}) is None
        assert find_proxy(f"https://{host}:6443", "http://proxy:8080", "", {})


def test_a_proxy_that_cannot_be_used_is_refused_by_name() -> None:
    with pytest.raises(EngineError, match="https://proxy"):
        ask(Cluster(server="https://api.example", proxy="https://user:pass@proxy:8080"))


def test_an_address_that_is_none_is_told() -> None:
    for address in ("api.example", "ftp://x", ""):
        with pytest.raises(EngineError, match="address of the API server is wrong"):
            ask(Cluster(server=address))
