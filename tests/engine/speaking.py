"""How clients that have nothing to do with this project speak to each of the presets' servers, by url where they can.

Each function does something that only the real server can answer, and where there is a password tries a wrong one.
"""

from __future__ import annotations

import asyncio
import http.client
from contextlib import closing
from queue import Queue
from typing import Any

import ldap3
import nats
import paho.mqtt.client as mqtt
import pika
import pymysql
import pytest
import redis
from paho.mqtt.enums import CallbackAPIVersion
from pymemcache.client.base import Client as Memcache

from pytest_isolate import Service

TIMEOUT_S = 10
WRONG = "not-the-password"


def speak_postgresql(service: Service) -> None:
    def ask(password: str) -> Any:
        # Not over the unix socket, where no password is asked for.
        url = f"postgresql://{service.user}:{password}@127.0.0.1/{service.database}"
        return service.exec("psql", url, "-qAtc", "SELECT 6 * 7")

    assert ask(service.password).stdout.strip() == "42"
    assert "password authentication failed" in ask(WRONG).stderr


def speak_mysql(service: Service) -> None:
    def connect(password: str) -> pymysql.Connection:
        return pymysql.connect(
            host=service.host,
            port=service.port,
            user=service.user,
            password=password,
            database=service.database,
            connect_timeout=TIMEOUT_S,
        )

    with connect(service.password) as db, db.cursor() as cursor:
        # The image's own scripts run on a temporary server, after which this one is the final one.
        cursor.execute("SELECT n FROM seed")
        assert cursor.fetchall() == ((42,),)
    with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
        connect(WRONG)


def speak_redis(service: Service) -> None:
    with redis.from_url(service.url, socket_timeout=TIMEOUT_S) as client:
        client.set("answer", 42)
        assert client.get("answer") == b"42"
        wanted = {"save": "", "appendonly": "no", "databases": "1024"}
        assert {key: client.config_get(key)[key] for key in wanted} == wanted
        client.execute_command("SELECT", 1023)
        assert client.get("answer") is None, "its databases are apart"
    url = service.url.replace(service.password, WRONG)
    with redis.from_url(url) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def speak_amqp(service: Service) -> None:
    with pika.BlockingConnection(pika.URLParameters(service.url)) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.basic_publish("", queue, b"hello")
        assert channel.basic_get(queue, auto_ack=True)[2] == b"hello"
    url = service.url.replace(service.password, WRONG)
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        pika.BlockingConnection(pika.URLParameters(url))


def speak_nats(service: Service) -> None:
    async def talk() -> None:
        client = await nats.connect(service.url, connect_timeout=TIMEOUT_S)
        subscription = await client.subscribe("greetings")
        await client.publish("greetings", b"hello")
        assert (await subscription.next_msg(TIMEOUT_S)).data == b"hello"
        await client.close()

    async def err(_: Exception) -> None:
        """Its own way is to print what goes wrong."""

    async def try_wrong_one() -> None:
        url = service.url.replace(service.password, WRONG)
        await nats.connect(url, allow_reconnect=False, error_cb=err)

    asyncio.run(talk())
    with pytest.raises(nats.errors.Error, match=r"(?i)authorization violation"):
        asyncio.run(try_wrong_one())


def speak_memcache(service: Service) -> None:
    with closing(Memcache((service.host, service.port), timeout=TIMEOUT_S)) as client:
        client.set("answer", b"42", noreply=False)
        assert client.get("answer") == b"42"


def speak_mqtt(service: Service) -> None:
    assert _mqtt_round_trip(service, service.password) == b"hello"
    assert _mqtt_round_trip(service, WRONG) == "Not authorized"


def _mqtt_round_trip(service: Service, password: str) -> bytes | str:
    """The message that came back, or why the server let nobody in."""
    heard: Queue[bytes | str] = Queue()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.username_pw_set(service.user, password)
    client.on_connect = lambda *args: heard.put(str(args[3])) if args[3].is_failure else client.subscribe("room/#", 1)
    client.on_subscribe = lambda *_: client.publish("room/1", b"hello", qos=1)
    client.on_message = lambda _client, _userdata, message: heard.put(message.payload)
    client.connect(service.host, service.port)
    client.loop_start()
    try:
        return heard.get(timeout=TIMEOUT_S)
    finally:
        client.disconnect()
        client.loop_stop()


def speak_ldap(service: Service) -> None:
    server = ldap3.Server(service.url, connect_timeout=TIMEOUT_S)
    with ldap3.Connection(server, service.user, service.password, auto_bind=True) as connection:
        name = f"cn=ann,{service.database}"
        assert connection.add(name, "person", {"sn": "Arbor"}), connection.result
        # What the image reads at its first start is put in through a temporary server, on another port.
        assert connection.search(service.database, "(objectClass=person)", attributes=["cn"])
        assert sorted(entry.cn.value for entry in connection.entries) == ["ann", "seed"]
    assert not ldap3.Connection(server, service.user, WRONG).bind()
    with ldap3.Connection(server, auto_bind=True) as nobody:
        assert not nobody.search(service.database, "(objectClass=person)")


def speak_http(service: Service) -> None:
    assert service.url == f"http://{service.address}"
    connection = http.client.HTTPConnection(service.host, service.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/hello.txt")
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"hello")
    finally:
        connection.close()
