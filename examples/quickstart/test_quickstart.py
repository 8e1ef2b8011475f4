"""An auth service and its Postgres, each in a container of its own, as two fixtures."""

import httpx

from pytest_isolate import Service, http, postgres, service

TIMEOUT_S = 60  # for a busy machine

db = service(postgres(build={"context": "../services/postgres", "network": "host"}))
auth = service(
    build={"context": "../services/auth", "network": "host"},
    port=8000,
    env={"DATABASE_URL": "{db.url}", "REALM": "head-office"},
    ready=http("/healthz"),
)


def test_who_registers_can_log_in(auth: Service) -> None:
    ann = {"name": "ann", "password": "correct horse"}
    httpx.post(f"{auth.url}/register", json=ann, timeout=TIMEOUT_S).raise_for_status()

    token = httpx.post(f"{auth.url}/login", json=ann, timeout=TIMEOUT_S).json()["token"]

    me = httpx.get(f"{auth.url}/me", headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT_S)
    assert me.json() == {"name": "ann", "realm": "head-office"}


def test_a_wrong_password_is_refused(auth: Service) -> None:
    bob = {"name": "bob", "password": "correct horse"}
    httpx.post(f"{auth.url}/register", json=bob, timeout=TIMEOUT_S).raise_for_status()

    answer = httpx.post(f"{auth.url}/login", json={**bob, "password": "wrong"}, timeout=TIMEOUT_S)

    assert answer.status_code == 401
