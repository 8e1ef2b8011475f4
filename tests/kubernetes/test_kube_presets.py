"""Real servers as Pods: modules of testcontainers, spoken to through their own methods, and copies of databases."""

from __future__ import annotations

from typing import Any

import pytest
from engine import test_testcontainers
from engine.test_fresh import DECLARE
from fakes.programs import IMAGE

from kubernetes.projects import Project

pytestmark = [pytest.mark.engine, pytest.mark.linux]

COPIES = """
maria = service(mariadb(image=None, build=built("mariadb"), database="app"))
cache = service(redis(image=None, build=built("redis")))
orders, sessions = fresh(maria), fresh(cache)
"""
COPIED = """
import pymysql
import redis

def connect(copy):
    return pymysql.connect(
        host=copy.host, port=copy.port, user=copy.user, password=copy.password, database=copy.database, autocommit=True
    )

@pytest.mark.parametrize("n", range(2))
def test_mariadb(orders, n):
    with connect(orders) as db, db.cursor() as cursor:
        cursor.execute("CREATE TABLE seen (n INT)")

@pytest.mark.parametrize("n", range(2))
def test_redis(sessions, n):
    with redis.Redis.from_url(sessions.url) as client:
        assert client.get("seen") is None
        client.set("seen", n)
"""


def test_copies_of_mariadb_and_redis(project: Project, registry: str) -> None:
    project.write("conftest.py", DECLARE, COPIES)
    project.write("test_it.py", COPIED)
    assert "4 passed" in project.run(f"--isolate-push={registry}/tests").stdout


def test_modules_of_testcontainers(project: Project, registry: str, docker_client: Any) -> None:
    # A registry tells what the image's program is, so that its container is held.
    docker_client.tag(IMAGE, f"{registry}/base", "1")
    docker_client.push(f"{registry}/base", "1", auth_config={})
    docker_client.remove_image(f"{registry}/base:1")
    declared = test_testcontainers.DECLARED.replace("(IMAGE", f"('{registry}/base:1'")
    # Both outputs of a container are one log on a cluster, in the order in which they came there.
    apart = 'a_plain.get_logs() == (b"up\\n", b"wrong\\n")'
    assert apart in test_testcontainers.SPOKEN
    spoken = test_testcontainers.SPOKEN.replace(apart, 'sorted(a_plain.get_logs()[0].split()) == [b"up", b"wrong"]')
    # The module copies its seed when the server has begun, and hopes to be in time.
    declared = declared.replace(', seed=str(HERE / "seed")', "")
    spoken = spoken.replace("SELECT n FROM seed", "SELECT 42")
    project.write("conftest.py", "from fakes.programs import forever", declared)
    project.write("test_it.py", spoken)
    result = project.run(f"--isolate-push={registry}/tests", *test_testcontainers.ALLOWED)
    assert f"{spoken.count('def test_')} passed" in result.stdout
