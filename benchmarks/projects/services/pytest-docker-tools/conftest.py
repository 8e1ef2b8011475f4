import os

import pytest
from pytest_docker_tools import container

PASSWORD = {"POSTGRES_PASSWORD": "sesame"}
URL = "postgresql://postgres:sesame@%s/postgres"


def postgres(scope):
    return container(image=os.environ["POSTGRES_IMAGE"], environment=PASSWORD, ports={"5432/tcp": None}, scope=scope)


def web(image, **env):
    return container(image=os.environ[image], environment=env, ports={"8000/tcp": None}, scope="session")


db = postgres("session")
memo = container(image=os.environ["REDIS_IMAGE"], ports={"6379/tcp": None}, scope="session")
auth = web("AUTH_IMAGE", REALM="head-office", DATABASE_URL=URL % "{db.ips.primary}:5432")
worker = web("WEB_IMAGE", NEEDS="{db.ips.primary}:5432 {memo.ips.primary}:6379")
page = web("WEB_IMAGE")
fresh_db = postgres("function")


def address_of(container, port):
    return f"127.0.0.1:{container.ports[f'{port}/tcp'][0]}"


@pytest.fixture(scope="session")
def db_url(db):
    return URL % address_of(db, 5432)


@pytest.fixture(scope="session")
def redis_address(memo):
    return "127.0.0.1", memo.ports["6379/tcp"][0]


@pytest.fixture(scope="session")
def auth_url(auth):
    return f"http://{address_of(auth, 8000)}"


@pytest.fixture(scope="session")
def worker_url(worker):
    return f"http://{address_of(worker, 8000)}"


@pytest.fixture(scope="session")
def web_url(page):
    return f"http://{address_of(page, 8000)}"


@pytest.fixture
def fresh_db_url(fresh_db):
    return URL % address_of(fresh_db, 5432)
