import os

import pytest

from pytest_isolate import http, postgres, service

SERVICES = os.environ["SERVICES"]

db = service(postgres(build={"context": f"{SERVICES}/postgres", "network": "host"}))
auth = service(
    build={"context": f"{SERVICES}/auth", "network": "host"},
    port=8000,
    env={"DATABASE_URL": "{db.url}", "REALM": "head-office"},
    ready=http("/healthz"),
)


@pytest.fixture(scope="session")
def auth_url(auth):
    return auth.url
