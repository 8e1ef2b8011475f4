import os
from pathlib import Path

import pytest
from clients import get, ping, select_1


@pytest.fixture(scope="session")
def docker_compose_command():
    return os.environ["COMPOSE"]


@pytest.fixture(scope="session")
def docker_compose_file():
    return str(Path(__file__).with_name("docker-compose.yml"))


@pytest.fixture(scope="session")
def docker_setup():
    return f"up --detach {os.environ['COMPOSE_SERVICES']}"


@pytest.fixture(scope="session")
def docker_cleanup():
    return "down --volumes --timeout 0"


def wait_until(docker_services, ask, address):
    def check():
        try:
            return bool(ask(address))
        except OSError:
            return False

    docker_services.wait_until_responsive(timeout=60, pause=0.05, check=check)
    return address


def url_of_db(docker_ip, docker_services):
    address = f"{docker_ip}:{docker_services.port_for('db', 5432)}"
    return wait_until(docker_services, select_1, f"postgresql://postgres:sesame@{address}/postgres")


def url_of(docker_ip, docker_services, name, path="/"):
    url = f"http://{docker_ip}:{docker_services.port_for(name, 8000)}"
    wait_until(docker_services, get, f"{url}{path}")
    return url


@pytest.fixture(scope="session")
def db_url(docker_ip, docker_services):
    return url_of_db(docker_ip, docker_services)


@pytest.fixture(scope="session")
def redis_address(docker_ip, docker_services):
    return wait_until(docker_services, ping, (docker_ip, docker_services.port_for("memo", 6379)))


@pytest.fixture(scope="session")
def auth_url(docker_ip, docker_services):
    return url_of(docker_ip, docker_services, "auth", "/healthz")


@pytest.fixture(scope="session")
def worker_url(docker_ip, docker_services):
    return url_of(docker_ip, docker_services, "worker")


@pytest.fixture(scope="session")
def web_url(docker_ip, docker_services):
    return url_of(docker_ip, docker_services, "web")


@pytest.fixture
def fresh_db_url(docker_ip, docker_services):
    return url_of_db(docker_ip, docker_services)
