import os

import pytest
from pytest_testcontainers import make_container, make_postgres, make_redis
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import HttpWaitStrategy


def make_http(image, path="/", env=None, network=None):
    return make_container(
        DockerContainer,
        os.environ[image],
        ports=[8000],
        network=network,
        env=env,
        _wait_strategy=HttpWaitStrategy(8000, path).for_status_code(200),
    )


def url_of(container):
    return f"http://{container.get_container_host_ip()}:{container.get_exposed_port(8000)}"


@pytest.fixture(scope="session")
def network():
    with Network() as network:
        yield network


@pytest.fixture(scope="session")
def db(network):
    with make_postgres(os.environ["POSTGRES_IMAGE"], driver=None, network=network, network_aliases=["db"]) as db:
        yield db


@pytest.fixture(scope="session")
def memo(network):
    with make_redis(os.environ["REDIS_IMAGE"], network=network, network_aliases=["memo"]) as memo:
        yield memo


@pytest.fixture(scope="session")
def db_url(db):
    return db.get_connection_url()


@pytest.fixture(scope="session")
def redis_address(memo):
    return memo.get_container_host_ip(), int(memo.get_exposed_port(6379))


@pytest.fixture(scope="session")
def auth_url(network, db):
    url = f"postgresql://{db.username}:{db.password}@db:5432/{db.dbname}"
    env = {"DATABASE_URL": url, "REALM": "head-office"}
    with make_http("AUTH_IMAGE", "/healthz", env, network) as auth:
        yield url_of(auth)


@pytest.fixture(scope="session")
def worker_url(network, db, memo):
    with make_http("WEB_IMAGE", env={"NEEDS": "db:5432 memo:6379"}, network=network) as worker:
        yield url_of(worker)


@pytest.fixture(scope="session")
def web_url():
    with make_http("WEB_IMAGE") as web:
        yield url_of(web)


@pytest.fixture
def fresh_db_url():
    with make_postgres(os.environ["POSTGRES_IMAGE"], driver=None) as db:
        yield db.get_connection_url()
