import os

import pytest

from pytest_isolate import http, postgres, service

db = service(postgres(image=os.environ["POSTGRES_IMAGE"]))
auth = service(
    image=os.environ["AUTH_IMAGE"],
    port=8000,
    env={"DATABASE_URL": "{db.url}", "REALM": "head-office"},
    ready=http("/healthz"),
)


@pytest.fixture(scope="session")
def auth_url(auth):
    return auth.url
