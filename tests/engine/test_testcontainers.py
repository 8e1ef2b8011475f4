"""Modules of testcontainers on real servers: all of them at once, each spoken to through its own methods.

The images are made from Debian's packages and follow the public ones (examples/services); MySQL's is MariaDB's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.conftest import Project

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.usefixtures("base_image")]

SERVICES = Path(__file__).parents[2] / "examples" / "services"
# Some modules call what testcontainers itself says is old, as they are imported and while they wait.
ALLOWED = ["-W", "ignore::DeprecationWarning"]
DECLARED = """
import functools
from pathlib import Path

from testcontainers.community.generic import ServerContainer
from testcontainers.community.memcached import MemcachedContainer
from testcontainers.community.mysql import MySqlContainer
from testcontainers.community.nats import NatsContainer
from testcontainers.community.nginx import NginxContainer
from testcontainers.community.postgres import PostgresContainer
from testcontainers.community.rabbitmq import RabbitMqContainer
from testcontainers.community.redis import RedisContainer
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

HERE = Path(__file__).parent

def build(folder, **more):
    return {"build": {"context": f"SERVICES/{folder}", "network": "host", **more}}

class Hello(ServerContainer):
    def get_api_url(self):
        return self._create_connection_url()

a_postgres = service(PostgresContainer("postgres:16", driver=None), **build("postgres"), memory="512m")
a_mysql = service(
    MySqlContainer("mysql:8", password="s3cret", seed=str(HERE / "seed")),
    **build("mariadb", dockerfile="mysql.Dockerfile"),
)
a_redis = service(functools.partial(RedisContainer, "redis:7", password="s3cret"), **build("redis"))
a_rabbitmq = service(lambda: RabbitMqContainer("rabbitmq:4", username="ann", password="s3cret"), **build("rabbitmq"))
a_nats = service(NatsContainer, **build("nats"))
a_memcached = service(MemcachedContainer("memcached:1"), **build("memcached"))
a_nginx = service(
    NginxContainer("nginx:1").with_copy_into_container(b"hello", "/usr/share/nginx/html/hello.txt"), **build("nginx")
)
a_server = service(Hello(80, "nginx:1"), **build("nginx"))
a_plain = service(
    DockerContainer(IMAGE)
    .with_command(program("say up", "err wrong", "serve 8000 hello"))
    .with_exposed_ports(8000)
    .waiting_for(LogMessageWaitStrategy("up"))
)
def make_table(copy):
    copy.exec("psql", "-U", "test", "-d", copy.database, "-c", "CREATE TABLE t (n INT)", check=True)

orders = fresh(a_postgres, init=make_table)
asker = service(IMAGE, command=forever(), env={"URL": "{a_postgres.url}"})
""".replace("SERVICES", str(SERVICES))
SPOKEN = """
import asyncio
import urllib.request
from contextlib import closing

import nats
import pika
import pymysql
from pymemcache.client.base import Client as Memcache

def test_postgres(a_postgres, asker):
    assert a_postgres.get_connection_url() == f"postgresql://test:test@127.0.0.1:{a_postgres.port}/test"
    inside = a_postgres.get_connection_url(host="127.0.0.1").replace(str(a_postgres.port), "5432")
    told = a_postgres.module.exec(["psql", inside, "-qAtc", "SELECT 6 * 7"])
    assert told.output == b"42\\n", told
    assert asker.exec("printenv", "URL").stdout == "postgresql://test:test@a-postgres:5432/test\\n"

def test_fresh(orders, a_postgres):
    assert orders.url == a_postgres.url.removesuffix("/test") + "/" + orders.database != a_postgres.url
    orders.exec("psql", "-U", "test", "-d", orders.database, "-c", "INSERT INTO t VALUES (1)", check=True)

def test_mysql(a_mysql):
    known = {"user": a_mysql.username, "password": a_mysql.password, "database": a_mysql.dbname}
    assert a_mysql.get_connection_url() == f"mysql://test:s3cret@{a_mysql.address}/test"
    with pymysql.connect(host=a_mysql.get_container_host_ip(), port=a_mysql.get_exposed_port(3306), **known) as db:
        with db.cursor() as cursor:
            cursor.execute("SELECT n FROM seed")
            assert cursor.fetchall() == ((42,),)

def test_redis(a_redis):
    with a_redis.get_client() as client:
        client.set("answer", 42)
        a_redis.restart()
        assert client.ping()

def test_rabbitmq(a_rabbitmq):
    with pika.BlockingConnection(a_rabbitmq.get_connection_params()) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.basic_publish("", queue, b"hello")
        assert channel.basic_get(queue, auto_ack=True)[2] == b"hello"

def test_nats(a_nats):
    async def talk():
        client = await nats.connect(a_nats.nats_uri())
        subscription = await client.subscribe("greetings")
        await client.publish("greetings", b"hello")
        assert (await subscription.next_msg(10)).data == b"hello"
        await client.close()

    asyncio.run(talk())

def test_memcached(a_memcached):
    with closing(Memcache(a_memcached.get_host_and_port(), timeout=10)) as client:
        client.set("answer", b"42", noreply=False)
        assert client.get("answer") == b"42"

def fetch(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read()

def test_nginx(a_nginx):
    host, port = a_nginx.get_container_host_ip(), a_nginx.get_exposed_port(a_nginx.module.port)
    assert fetch(f"http://{host}:{port}/hello.txt") == b"hello"

def test_generic(a_server, a_plain):
    with a_server.get_client() as client:
        assert client.get("/none.txt").status_code == 404
    assert fetch(f"http://127.0.0.1:{a_plain.get_exposed_port(8000)}/") == b"hello"
    assert a_plain.get_logs() == (b"up\\n", b"wrong\\n")
    assert a_plain.get_wrapped_container().status == "running"
    assert a_plain.module.exec("sh -c 'echo $PWD'").output.strip()
    inside = {"environment": {"WHAT": "in"}, "workdir": "/tmp"}
    answer = a_plain.get_wrapped_container().exec_run(["sh", "-c", "echo $WHAT $PWD"], **inside)
    assert answer == (0, b"in /tmp\\n")
    a_plain.copy_into_container(b"copied", "/srv/some/file")
    assert a_plain.exec("cat", "/srv/some/file").stdout == "copied"

def test_no_helper_was_started(a_plain):
    from testcontainers.core.container import Reaper
    assert Reaper._instance is None and Reaper._container is None
"""
COUNT = SPOKEN.count("def test_")


def test_modules_work_side_by_side_and_leave_nothing(project: Project, docker_client: Any) -> None:
    project.conftest(DECLARED)
    project.write("seed/seed.sql", "CREATE TABLE seed (n INT); INSERT INTO seed VALUES (42);")
    project.tests(SPOKEN)
    # Two workers share them; on a fresh machine their images are built first.
    run = project.start("-n2", "-p", "xdist", *ALLOWED)
    run.result(timeout_s=600).assert_outcomes(passed=COUNT)
    assert not docker_client.containers(all=True, filters={"label": ["org.testcontainers.session-id"]})
