"""Facts of images, read from a registry on a socket; logins as pull secrets have them."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pytest_isolate.engine.kubernetes.registry.image_registry import ImageRegistry, RemoteImage
from pytest_isolate.engine.kubernetes.registry.pull_secrets import RegistryLogin, find_login, read_pull_secrets
from pytest_isolate.errors import EngineError, EngineUnreachable, ImageNotFound

from .served import Answer, Certificates, Request, Served, answer

OCI = "application/vnd.oci.image"
CONFIG = {
    "os": "linux",
    "architecture": "amd64",
    "config": {
        "Entrypoint": ["docker-entrypoint.sh"],
        "Cmd": ["postgres"],
        "Env": ["PATH=/bin", "EMPTY=", "SUM=1+1=2"],
        "ExposedPorts": {"5432/tcp": {}},
        "User": "postgres",
        "Volumes": {"/var/lib/postgresql/data": {}},
        "WorkingDir": "/srv",
        "Healthcheck": {"Test": ["CMD", "pg_isready"]},
        "Labels": {"a": "b"},
    },
}


def digest(content: object) -> str:
    return f"sha256:{hashlib.sha256(json.dumps(content).encode()).hexdigest()}"


class Registry:
    """What a registry says: one image of one repository, for two platforms."""

    def __init__(self, repository: str = "team/db") -> None:
        self.manifest = {
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": {"digest": digest(CONFIG)},
            "layers": [{"size": 30}, {"size": 12}],
        }
        platforms = [("linux", "arm64", "v8", "sha256:0"), ("linux", "amd64", None, digest(self.manifest))]
        self.index = {
            "mediaType": f"{OCI}.index.v1+json",
            "manifests": [
                {
                    "digest": found,
                    "platform": {"os": system, "architecture": machine, **({"variant": v} if v else {})},
                }
                for system, machine, v, found in platforms
            ],
        }
        self._paths = {
            f"/v2/{repository}/manifests/16": (self.index, digest(self.index)),
            f"/v2/{repository}/manifests/plain": (self.manifest, digest(self.manifest)),
            f"/v2/{repository}/manifests/{digest(self.manifest)}": (self.manifest, digest(self.manifest)),
            f"/v2/{repository}/manifests/old": ({"schemaVersion": 1}, ""),
            f"/v2/{repository}/blobs/{digest(CONFIG)}": (CONFIG, ""),
        }
        self.guard: Callable[[Request], Answer | None] = lambda _: None

    def __call__(self, request: Request) -> Answer:
        said = self.guard(request)
        if said is not None:
            return said
        content, name = self._paths.get(request.target, (None, ""))
        if content is None:
            errors = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
            return answer(errors, 404)
        return answer(content, **({"Docker_Content_Digest": name} if name else {}))


@pytest.fixture
def registry() -> Registry:
    return Registry()


def read(server: Served, name: str = "team/db:16", platform: str = "linux/amd64", **logins: Any) -> RemoteImage:
    given = {f"127.0.0.1:{server.port}": RegistryLogin(**logins)} if logins else {}
    return ImageRegistry(given, {}).read_image(f"127.0.0.1:{server.port}/{name}", platform)


# -- images ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["team/db:16", "team/db:plain"])
def test_all_that_kubernetes_does_not_tell_is_read(registry: Registry, name: str) -> None:
    with Served(registry) as server:
        found = read(server, name)
    assert found == RemoteImage(
        digest=digest(registry.index if name.endswith("16") else registry.manifest),
        platform="linux/amd64",
        entrypoint=("docker-entrypoint.sh",),
        command=("postgres",),
        env={"PATH": "/bin", "EMPTY": "", "SUM": "1+1=2"},
        ports=("5432/tcp",),
        user="postgres",
        volumes=("/var/lib/postgresql/data",),
        folder="/srv",
        health_command=("CMD", "pg_isready"),
        labels={"a": "b"},
        layer_bytes=42,
    )
    accepted = server.requests[0].headers["accept"]
    assert "oci.image.index" in accepted
    assert "docker.distribution.manifest.list" in accepted


def test_an_image_by_its_digest_is_that_one(registry: Registry) -> None:
    name = digest(registry.manifest)
    with Served(registry) as server:
        assert read(server, f"team/db@{name}").digest == name
        assert read(server, f"team/db:ignored@{name}").digest == name


def test_another_platform_is_told_with_those_that_are_there(registry: Registry) -> None:
    with Served(registry) as server, pytest.raises(ImageNotFound) as caught:
        read(server, platform="linux/s390x")
    assert "is there for linux/amd64, linux/arm64/v8" in str(caught.value)


def test_a_variant_is_found_by_its_machine(registry: Registry) -> None:
    with Served(registry) as server:
        with pytest.raises(ImageNotFound, match="no such image"):  # the manifest of arm64 is not there: it was chosen
            read(server, platform="linux/arm64")
        assert "GET /v2/team/db/manifests/sha256:0" in server.asked
        assert read(server, platform="linux/amd64/v2").platform == "linux/amd64"


def test_an_image_that_is_not_there_is_told_in_the_words_of_the_registry(registry: Registry) -> None:
    with Served(registry) as server, pytest.raises(ImageNotFound, match="manifest unknown") as caught:
        read(server, "team/db:99")
    assert "has no such image" in str(caught.value)


@pytest.mark.parametrize("said", [answer(b"<html>"), answer([]), answer({}), answer({"manifests": [1]})])
def test_what_is_no_registry_is_told(registry: Registry, said: bytes) -> None:
    registry.guard = lambda _: said
    with Served(registry) as server, pytest.raises(EngineError, match="is no registry"):
        read(server)
    registry.guard = lambda _: None
    with Served(registry) as server, pytest.raises(EngineError, match="is no registry"):
        read(server, "team/db:old")


def test_a_registry_that_is_out_of_reach_says_nothing_of_the_nodes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(EngineUnreachable, match="declare entrypoint="):
        ImageRegistry({}, {}).read_image(f"127.0.0.1:{port}/db")


def test_a_busy_registry_is_asked_again_but_not_for_long(registry: Registry) -> None:
    answers = [answer(b"", 503), answer(b"", 429, Retry_After="0")]
    registry.guard = lambda _: answers.pop() if answers else None
    with Served(registry) as server:
        assert read(server).user == "postgres"
    registry.guard = lambda _: answer({"errors": [{"code": "TOOMANYREQUESTS"}]}, 429, Retry_After="3600")
    with Served(registry) as server, pytest.raises(EngineUnreachable, match="TOOMANYREQUESTS"):
        read(server)
    assert len([asked for asked in server.asked if asked.startswith("GET")]) == 1


def test_a_blob_may_be_elsewhere_and_the_login_is_not_shown_there(registry: Registry) -> None:
    with Served(lambda _: answer(CONFIG)) as store, Served(registry) as server:

        def move(request: Request) -> Answer | None:
            if "authorization" not in request.headers:
                return answer(b"", 401, WWW_Authenticate='Basic realm="x"')
            if "/blobs/" in request.target:
                return answer(b"", 307, Location=f"{store.address}/config?signature=a%2Bb")
            return None

        registry.guard = move
        assert read(server, user="me", password="pass").user == "postgres"
    assert store.asked == ["GET /config?signature=a%2Bb"]
    assert "authorization" not in store.requests[0].headers


def test_redirects_have_an_end(registry: Registry) -> None:
    registry.guard = lambda _: answer(b"", 302, Location="/again")
    with Served(registry) as server, pytest.raises(EngineUnreachable, match="redirects"):
        read(server)


def test_tls_is_spoken_and_trusted_as_the_system_does(
    registry: Registry, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Served(registry, certificates.server_trust()) as server:
        with pytest.raises(EngineError):
            read(server)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.folder / "ca.pem"))
        assert read(server).user == "postgres"


# -- logins ------------------------------------------------------------------------------------------------------------


def test_a_token_is_fetched_with_the_login_once_for_a_repository(registry: Registry) -> None:
    def guard(request: Request) -> Answer | None:
        if request.target.startswith("/token"):
            login = request.headers.get("authorization", "").removeprefix("Basic ")
            is_right = base64.b64decode(login) == b"me:pass"
            return answer({"token": "t1"}) if is_right else answer(b"", 401)
        if request.headers.get("authorization") != "Bearer t1":
            challenge = f'Bearer realm="http://{request.headers["host"]}/token",service="reg",scope="repository:x:pull"'
            return answer(
                {"errors": [{"code": "UNAUTHORIZED", "message": "who are you"}]}, 401, WWW_Authenticate=challenge
            )
        return None

    registry.guard = guard
    with Served(registry) as server:
        host = f"127.0.0.1:{server.port}"
        images = ImageRegistry({host: RegistryLogin(user="me", password="pass")}, {})
        images.read_image(f"{host}/team/db:16")
        images.read_image(f"{host}/team/db:plain")
        tokens = [urlsplit(request.target) for request in server.requests if request.target.startswith("/token")]
        assert [parse_qs(token.query) for token in tokens] == [
            {"service": ["reg"], "scope": ["repository:team/db:pull"]}
        ]
        with pytest.raises(ImageNotFound, match="gives no access, or has no such image"):
            ImageRegistry({}, {}).read_image(f"{host}/team/db:16")


def test_an_identity_token_is_changed_for_one(registry: Registry) -> None:
    def guard(request: Request) -> Answer | None:
        if request.method == "POST":
            form = parse_qs(request.body.decode())
            assert form["grant_type"] == ["refresh_token"]
            assert form["refresh_token"] == ["id"]
            return answer({"access_token": "t2"})
        if request.headers.get("authorization") != "Bearer t2":
            challenge = f'Bearer realm="http://{request.headers["host"]}/oauth2/token",service="reg"'
            return answer(b"", 401, WWW_Authenticate=challenge)
        return None

    registry.guard = guard
    with Served(registry) as server:
        assert read(server, identity_token="id").user == "postgres"


def test_a_login_that_is_refused_is_told(registry: Registry) -> None:
    registry.guard = lambda _: answer({"errors": [{"code": "DENIED"}]}, 401, WWW_Authenticate='Basic realm="x"')
    with Served(registry) as server, pytest.raises(ImageNotFound, match="DENIED") as caught:
        read(server, user="me", password="wrong-pass")
    assert "wrong-pass" not in str(caught.value)


def secret(entries: dict[str, Any], *, is_old: bool = False) -> dict[str, Any]:
    content = json.dumps(entries if is_old else {"auths": entries}).encode()
    return {"data": {".dockercfg" if is_old else ".dockerconfigjson": base64.b64encode(content).decode()}}


def test_pull_secrets_of_both_kinds_are_read_and_broken_ones_passed_over() -> None:
    auth = base64.b64encode(b"me:pa:ss").decode()
    found = read_pull_secrets(
        [
            secret({"https://index.docker.io/v1/": {"auth": auth}, "ghcr.io": {"username": "u", "password": "p"}}),
            secret({"old.example": {"identitytoken": "id"}}, is_old=True),
            {"data": {".dockerconfigjson": "no base64"}},
            {"data": {"other": "x"}},
            {},
        ]
    )
    assert found == {
        "index.docker.io/v1": RegistryLogin(user="me", password="pa:ss"),
        "ghcr.io": RegistryLogin(user="u", password="p"),
        "old.example": RegistryLogin(identity_token="id"),
    }


@pytest.mark.parametrize(
    ("host", "repository", "user"),
    [
        ("registry-1.docker.io", "library/postgres", "hub"),
        ("ghcr.io", "team/db", "team"),
        ("ghcr.io", "team/db/x", "db"),
        ("ghcr.io", "teams/db", "all"),
        ("a.azurecr.io", "x", "star"),
        ("a.b.azurecr.io", "x", None),
        ("quay.io", "x", None),
    ],
)
def test_the_login_that_fits_best_is_shown(host: str, repository: str, user: str | None) -> None:
    names = {
        "index.docker.io/v1": "hub",
        "ghcr.io": "all",
        "ghcr.io/team": "team",
        "ghcr.io/team/db/x": "db",
        "*.azurecr.io": "star",
    }
    found = find_login({key: RegistryLogin(user=name) for key, name in names.items()}, host, repository)
    assert (found.user if found else None) == user
