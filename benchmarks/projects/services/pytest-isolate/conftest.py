import os

import pytest

from pytest_isolate import fresh, http, postgres, service, tcp

db = service(postgres(image=os.environ["POSTGRES_IMAGE"]))
memo = service(image=os.environ["REDIS_IMAGE"], port=6379, ready=tcp(send=b"PING\r\n", expect=r"\A\+PONG"))
auth = service(
    image=os.environ["AUTH_IMAGE"],
    port=8000,
    env={"DATABASE_URL": "{db.url}", "REALM": "head-office"},
    ready=http("/healthz"),
)
web = service(image=os.environ["WEB_IMAGE"], port=8000, ready=http())
worker = service(web, env={"NEEDS": "{db.address} {memo.address}"})
# A container for each test, or a database of its own in one.
fresh_db = fresh(db) if os.environ.get("FRESH") else service(db, scope="function")


@pytest.fixture(scope="session")
def db_url(db):
    return db.url


@pytest.fixture(scope="session")
def redis_address(memo):
    return memo.host, memo.port


@pytest.fixture(scope="session")
def auth_url(auth):
    return auth.url


@pytest.fixture(scope="session")
def worker_url(worker):
    return worker.url


@pytest.fixture(scope="session")
def web_url(web):
    return web.url


@pytest.fixture
def fresh_db_url(fresh_db):
    return fresh_db.url
