import os

import pytest
from testcontainers.community.postgres import PostgresContainer
from testcontainers.community.redis import RedisContainer
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import HttpWaitStrategy


def build_postgres():
    return PostgresContainer(os.environ["POSTGRES_IMAGE"], driver=None)


def build_http(image, path):
    return (
        DockerContainer(os.environ[image])
        .with_exposed_ports(8000)
        .waiting_for(HttpWaitStrategy(8000, path).for_status_code(200))
    )


def url_of(container):
    return f"http://{container.get_container_host_ip()}:{container.get_exposed_port(8000)}"


@pytest.fixture(scope="session")
def network():
    with Network() as network:
        yield network


@pytest.fixture(scope="session")
def db(network):
    with build_postgres().with_network(network).with_network_aliases("db") as db:
        yield db


@pytest.fixture(scope="session")
def memo(network):
    with RedisContainer(os.environ["REDIS_IMAGE"]).with_network(network).with_network_aliases("memo") as memo:
        yield memo


@pytest.fixture(scope="session")
def db_url(db):
    return db.get_connection_url()


@pytest.fixture(scope="session")
def redis_address(memo):
    return memo.get_container_host_ip(), int(memo.get_exposed_port(6379))


@pytest.fixture(scope="session")
def auth_url(network, db):
    container = build_http("AUTH_IMAGE", "/healthz").with_network(network).with_env("REALM", "head-office")
    url = f"postgresql://{db.username}:{db.password}@db:5432/{db.dbname}"
    with container.with_env("DATABASE_URL", url) as auth:
        yield url_of(auth)


@pytest.fixture(scope="session")
def worker_url(network, db, memo):
    container = build_http("WEB_IMAGE", "/").with_network(network)
    with container.with_env("NEEDS", "db:5432 memo:6379") as worker:
        yield url_of(worker)


@pytest.fixture(scope="session")
def web_url():
    with build_http("WEB_IMAGE", "/") as web:
        yield url_of(web)


@pytest.fixture
def fresh_db_url():
    with build_postgres() as db:
        yield db.get_connection_url()
