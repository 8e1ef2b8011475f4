import os

import pytest
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import HttpWaitStrategy


@pytest.fixture(scope="session")
def network():
    with Network() as network:
        yield network


@pytest.fixture(scope="session")
def db(network):
    container = PostgresContainer(os.environ["POSTGRES_IMAGE"], driver=None)
    with container.with_network(network).with_network_aliases("db") as db:
        yield db


@pytest.fixture(scope="session")
def auth(network, db):
    container = (
        DockerContainer(os.environ["AUTH_IMAGE"])
        .with_network(network)
        .with_exposed_ports(8000)
        .with_env("DATABASE_URL", f"postgresql://{db.username}:{db.password}@db:5432/{db.dbname}")
        .with_env("REALM", "head-office")
        .waiting_for(HttpWaitStrategy(8000, "/healthz").for_status_code(200))
    )
    with container as auth:
        yield auth


@pytest.fixture(scope="session")
def auth_url(auth):
    return f"http://{auth.get_container_host_ip()}:{auth.get_exposed_port(8000)}"
