"""Secrets and logins that a build asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_isolate.engine.docker.building.filesync import Folders
from pytest_isolate.engine.docker.building.grpc import NOT_FOUND, CallFailed
from pytest_isolate.engine.docker.building.protobuf import bytes_in, decode, encode, text_in
from pytest_isolate.engine.docker.building.services import build_services

LOGINS = {
    "docker.io": {"Username": "ann", "Password": "pw"},
    "example.org": {"username": "ben", "password": "pw2", "serveraddress": "example.org"},
    "token.example": {"IdentityToken": "t0ken", "Username": "ignored"},
}


def ask(method: str, message: bytes, secrets: Mapping[str, bytes] | None = None) -> Mapping[int, list[int | bytes]]:
    services = build_services(Folders(context=Path(), dockerfile=()), secrets or {}, lambda host: LOGINS.get(host, {}))
    (answer,) = services[method]({}).receive(message)
    return decode(answer)


@pytest.mark.parametrize(
    ("host", "user", "secret"),
    [
        ("registry-1.docker.io", "ann", "pw"),
        ("example.org", "ben", "pw2"),
        ("token.example", "", "t0ken"),
        ("other.example", "", ""),
    ],
)
def test_a_login_is_told_for_the_registry_that_asks(host: str, user: str, secret: str) -> None:
    found = ask("/moby.filesync.v1.Auth/Credentials", encode((1, host)))
    assert (text_in(found, 1), text_in(found, 2)) == (user, secret)


def test_a_secret_is_given_by_its_name_byte_for_byte_and_no_other() -> None:
    method = "/moby.buildkit.secrets.v1.Secrets/GetSecret"
    assert bytes_in(ask(method, encode((1, "key")), {"key": b"\x00\xff\n"}), 1) == b"\x00\xff\n"
    with pytest.raises(CallFailed, match="secret other: not found") as failed:
        ask(method, encode((1, "other")), {"key": b"x"})
    assert failed.value.code == NOT_FOUND
