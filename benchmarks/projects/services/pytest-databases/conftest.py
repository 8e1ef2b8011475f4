import os
import uuid

import pytest
from clients import get, select_1

pytest_plugins = ["pytest_databases.docker.postgres", "pytest_databases.docker.redis"]


@pytest.fixture(scope="session")
def postgres_image():
    return os.environ["POSTGRES_IMAGE"]


@pytest.fixture(scope="session")
def redis_image():
    return os.environ["REDIS_IMAGE"]


def answers(ask, url):
    try:
        return bool(ask(url))
    except OSError:
        return False


def inside(service):
    return service.container.attrs["NetworkSettings"]["IPAddress"]


# The library has no service of HTTP; its DockerService starts any image.
def http(docker_service, image, name, path="/", env=None):
    return docker_service.run(
        os.environ[image],
        container_port=8000,
        name=name,
        env=env,
        check=lambda service: answers(get, f"http://{service.host}:{service.port}{path}"),
        pause=0.05,
    )


@pytest.fixture(scope="session")
def db_url(postgres_service):
    s = postgres_service
    return f"postgresql://{s.user}:{s.password}@{s.host}:{s.port}/{s.database}"


@pytest.fixture(scope="session")
def redis_address(redis_service):
    return redis_service.host, redis_service.port


@pytest.fixture(scope="session")
def auth_url(docker_service, postgres_service):
    s = postgres_service
    env = {"DATABASE_URL": f"postgresql://{s.user}:{s.password}@{inside(s)}/{s.database}", "REALM": "head-office"}
    with http(docker_service, "AUTH_IMAGE", "auth", "/healthz", env) as auth:
        yield f"http://{auth.host}:{auth.port}"


@pytest.fixture(scope="session")
def worker_url(docker_service, postgres_service, redis_service):
    env = {"NEEDS": f"{inside(postgres_service)}:5432 {inside(redis_service)}:6379"}
    with http(docker_service, "WEB_IMAGE", "worker", env=env) as worker:
        yield f"http://{worker.host}:{worker.port}"


@pytest.fixture(scope="session")
def web_url(docker_service):
    with http(docker_service, "WEB_IMAGE", "web") as web:
        yield f"http://{web.host}:{web.port}"


@pytest.fixture
def fresh_db_url(docker_service):
    """Its own fixtures live for the session; this is what they do, for one test."""
    url = "postgresql://postgres:sesame@{0.host}:{0.port}/postgres".format
    with docker_service.run(
        os.environ["POSTGRES_IMAGE"],
        container_port=5432,
        name=f"fresh-{uuid.uuid4().hex}",
        env={"POSTGRES_PASSWORD": "sesame"},
        check=lambda service: answers(select_1, url(service)),
        pause=0.05,
        transient=True,
    ) as db:
        yield url(db)
