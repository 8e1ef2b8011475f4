"""Services of a session that the engine calls: files, secrets, logins to registries, and a sign of life.

Messages: moby/buildkit, session/secrets/secrets.proto and session/auth/auth.proto; grpc.health.v1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pytest_isolate.engine.docker.building.filesync import Folders
from pytest_isolate.engine.docker.building.grpc import NOT_FOUND, CallFailed, Open, Unary
from pytest_isolate.engine.docker.building.protobuf import decode, encode, text_in

_SERVING = encode((1, 1))
_HUB_HOSTS = ("registry-1.docker.io", "index.docker.io")
HEALTH = "/grpc.health.v1.Health/Check"

FindLogin = Callable[[str], Mapping[str, str]]
"""The login for a registry as Docker's configuration has it; empty for none."""


def build_services(folders: Folders, secrets: Mapping[str, bytes], find_login: FindLogin) -> dict[str, Open]:
    """Build what a session serves, by the paths of the methods."""

    def give_secret(message: bytes) -> bytes:
        name = text_in(decode(message), 1)
        if name not in secrets:
            raise CallFailed(NOT_FOUND, f"secret {name}: not found")
        return encode((1, secrets[name]))

    def give_login(message: bytes) -> bytes:
        host = text_in(decode(message), 1)
        login = find_login("docker.io" if host in _HUB_HOSTS else host)
        token = login.get("IdentityToken") or login.get("identitytoken")
        if token:
            return encode((2, token))
        user, password = (login.get(key) or login.get(key.lower()) or "" for key in ("Username", "Password"))
        return encode((1, user), (2, password))

    return {
        HEALTH: lambda _: Unary(lambda _: _SERVING),
        "/moby.filesync.v1.FileSync/DiffCopy": folders.open,
        "/moby.buildkit.secrets.v1.Secrets/GetSecret": lambda _: Unary(give_secret),
        "/moby.filesync.v1.Auth/Credentials": lambda _: Unary(give_login),
    }
