"""What the presets' probes say, byte for byte, and which answers they take for ready."""

from __future__ import annotations

import re

import pytest

from pytest_isolate.model.probes import Tcp
from pytest_isolate.presets.catalogue import PRESETS
from pytest_isolate.presets.memcached import READY as MEMCACHED
from pytest_isolate.presets.mosquitto import READY as MOSQUITTO
from pytest_isolate.presets.mysql import READY as MYSQL
from pytest_isolate.presets.nats import READY as NATS
from pytest_isolate.presets.nginx import READY as HTTP
from pytest_isolate.presets.openldap import READY as OPENLDAP
from pytest_isolate.presets.rabbitmq import READY as RABBITMQ
from pytest_isolate.presets.redis import READY as REDIS

INFO = b'INFO {"server_id":"NAFB","version":"2.9.10","proto":1,"auth_required":true,"max_payload":1048576} \r\n'
START = bytes.fromhex("01 0000 000001fa 000a 000a 00 09 000001d5") + b"\x0ccapabilitiesF"
BOUND = bytes.fromhex("300c 020101 6107 0a0100 0400 0400")
LONG = b"anonymous bind disallowed".ljust(200, b".")


def bind_response(code: int, text: bytes = b"") -> bytes:
    """A bind response as a server writes it whose lengths take one byte, or two from 128 bytes on."""
    operation = b"\x0a\x01" + bytes([code]) + b"\x04\x00" + b"\x04" + length(text) + text
    message = b"\x02\x01\x01" + b"\x61" + length(operation) + operation
    return b"\x30" + length(message) + message


def length(content: bytes) -> bytes:
    size = len(content)
    return bytes([size]) if size < 128 else b"\x81" + bytes([size]) if size < 256 else b"\x82" + size.to_bytes(2, "big")


def is_ready(probe: Tcp, answer: bytes) -> bool:
    """As in running.probing, where the pattern is tried on all that has come so far."""
    assert probe.expect is not None
    return re.compile(probe.expect.encode("latin-1")).search(answer) is not None


@pytest.mark.parametrize(
    ("probe", "answer"),
    [
        pytest.param(REDIS, b"+PONG\r\n", id="redis answers"),
        pytest.param(REDIS, b"-NOAUTH Authentication required.\r\n", id="redis wants a password"),
        pytest.param(RABBITMQ, START, id="rabbitmq begins"),
        pytest.param(NATS, INFO + b"PONG\r\n", id="nats answers"),
        pytest.param(NATS, INFO + b"-ERR 'Authorization Violation'\r\n", id="nats wants a password"),
        pytest.param(MEMCACHED, b"VERSION 1.6.18\r\n", id="memcached answers"),
        pytest.param(MOSQUITTO, b"\x20\x02\x00\x00", id="mosquitto lets everybody in"),
        pytest.param(MOSQUITTO, b"\x20\x02\x00\x05", id="mosquitto wants a password"),
        pytest.param(OPENLDAP, BOUND, id="openldap lets in"),
        pytest.param(OPENLDAP, bind_response(48), id="openldap lets nobody in without a name"),
        pytest.param(OPENLDAP, bind_response(48, LONG[:120]), id="openldap says why"),
        pytest.param(OPENLDAP, bind_response(48, LONG), id="openldap says why at length"),
        pytest.param(OPENLDAP, bind_response(48, LONG * 2), id="openldap says why at great length"),
        pytest.param(HTTP, b"HTTP/1.1 200 OK\r\n", id="web server answers"),
        pytest.param(HTTP, b"HTTP/1.0 301 Moved Permanently\r\n", id="web server leads on"),
        pytest.param(HTTP, b"HTTP/1.1 404 Not Found\r\n", id="web server has no such page"),
        pytest.param(MYSQL, b"\x4a\0\0\0\x0a8.4.3\0", id="mysql greets"),
    ],
)
def test_server_that_serves_is_ready(probe: Tcp, answer: bytes) -> None:
    assert is_ready(probe, answer)


@pytest.mark.parametrize(
    ("probe", "answer"),
    [
        pytest.param(REDIS, b"-LOADING Redis is loading the dataset in memory\r\n", id="redis reads its data"),
        pytest.param(REDIS, b"-ERR max number of clients reached\r\n", id="redis is full"),
        pytest.param(RABBITMQ, b"AMQP\x00\x00\x09\x01", id="rabbitmq speaks another version"),
        pytest.param(RABBITMQ, START[:8], id="rabbitmq has not said all"),
        pytest.param(NATS, INFO, id="nats has only said who it is"),
        pytest.param(NATS, INFO + b"-ERR 'maximum connections exceeded'\r\n", id="nats is full"),
        pytest.param(MEMCACHED, b"ERROR Too many open connections\r\n", id="memcached is full"),
        pytest.param(MOSQUITTO, b"\x20\x02\x00\x03", id="mosquitto is unavailable"),
        pytest.param(MOSQUITTO, b"\x20\x02", id="mosquitto has not said all"),
        pytest.param(OPENLDAP, bind_response(51), id="openldap is busy"),
        pytest.param(OPENLDAP, bind_response(52, b"shutting down"), id="openldap is unavailable"),
        pytest.param(OPENLDAP, bytes.fromhex("3018 020100 78"), id="openldap hangs up"),
        pytest.param(HTTP, b"HTTP/1.1 502 Bad Gateway\r\n", id="nobody behind the web server"),
        pytest.param(HTTP, b"220 mail ESMTP\r\n", id="no web server"),
        pytest.param(MYSQL, b"\x45\0\0\0\xff\x6a\x04Host is not allowed", id="mysql refuses this host"),
    ],
)
def test_server_that_does_not_serve_is_not(probe: Tcp, answer: bytes) -> None:
    assert not is_ready(probe, answer)


@pytest.mark.parametrize("name", PRESETS)
def test_no_answer_at_all_is_not_ready(name: str) -> None:
    probe = PRESETS[name]().layers[0].values["ready"]

    assert isinstance(probe, Tcp), "no probe runs a command: that costs the engine too much"
    assert not is_ready(probe, b"")


def test_mqtts_connect_says_its_lengths() -> None:
    kind, rest, *content = MOSQUITTO.send

    assert (kind, rest) == (0x10, len(content))
    protocol, level, flags = bytes(content[2:6]), content[6], content[7]
    assert (content[:2], protocol, level, flags) == ([0, 4], b"MQTT", 4, 2)
    assert bytes(content[8:]) == b"\x00\x0a" + b"\x00\x00", "ten seconds, and no name of the client"


def test_ldaps_bind_says_its_lengths() -> None:
    message = OPENLDAP.send

    assert message[:2] == bytes([0x30, len(message) - 2])
    assert message[2:5] == b"\x02\x01\x01"
    assert message[5:7] == bytes([0x60, len(message) - 7])
    assert message[7:] == b"\x02\x01\x03" + b"\x04\x00" + b"\x80\x00"


@pytest.mark.parametrize("probe", [REDIS, NATS, MEMCACHED], ids=["redis", "nats", "memcached"])
def test_what_is_sent_is_one_line(probe: Tcp) -> None:
    assert probe.send.endswith(b"\r\n")
    assert probe.send.count(b"\n") == 1


def test_web_servers_are_sent_a_whole_request_and_close_after_it() -> None:
    assert HTTP.send.startswith(b"GET / HTTP/1.1\r\nHost: ")
    assert HTTP.send.endswith(b"Connection: close\r\n\r\n")
