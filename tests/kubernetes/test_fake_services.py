"""Services of the fake cluster: late, refusing, hanging."""

from __future__ import annotations

import errno
import socket
import time
from typing import Any

import pytest
from fakes.programs import IMAGE, forever, program
from waiting import wait_for

from .calling import Api
from .conftest import Pods

pytestmark = [pytest.mark.engine, pytest.mark.linux]


def create_service(api: Api, name: str, *ports: dict[str, Any], **spec: Any) -> str:
    """The address of a new Service for Pods with a label of that name."""
    spec = {"selector": {"app": name}, "publishNotReadyAddresses": True, "ports": list(ports), **spec}
    return str(api.create("services", {"metadata": {"name": name}, "spec": spec})["spec"]["clusterIP"])


def ask(address: str, port: int) -> str:
    """The greeting of a server of fakes.programs; OSError where it cannot be reached."""
    with socket.create_connection((address, port), timeout=2) as connection:
        return connection.makefile().readline().strip()


def answers(address: str, port: int) -> bool:
    try:
        return bool(ask(address, port))
    except OSError:
        return False


def is_refused(address: str, port: int) -> bool:
    with socket.socket() as connection:
        connection.settimeout(2)
        return connection.connect_ex((address, port)) == errno.ECONNREFUSED


def test_a_service_answers_later_than_its_pod(api: Api, pods: Pods) -> None:
    name = pods.create(program("greet 8000 hello"))
    address = create_service(api, name, {"port": 80, "targetPort": 8000})
    wait_for(lambda: answers(pods.get(name)["status"].get("podIP") or "127.0.0.1", 8000))
    first = time.monotonic()
    assert not answers(address, 80)
    wait_for(lambda: answers(address, 80))
    assert 0.3 < time.monotonic() - first < 15
    assert ask(address, 80) == "hello"


def test_pods_reach_services_and_themselves_by_them(api: Api, pods: Pods) -> None:
    name = pods.run(program("serve 8000 hello"))
    address = create_service(api, name, {"port": 8000})
    wait_for(lambda: answers_http(address, 8000))
    client = pods.create(program(f"fetch {address} 8000"))
    pods.wait_for(client, "terminated")
    assert api.call("GET", f"pods/{client}/log") == (200, "hello\n")


def answers_http(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=2) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return bool(connection.recv(1))
    except OSError:
        return False


def test_a_port_that_is_not_declared_hangs_and_one_without_a_server_refuses(api: Api, pods: Pods) -> None:
    name = pods.run(program("greet 8000 hello", "greet 8001 hidden"))
    address = create_service(api, name, {"port": 80, "targetPort": 8000, "name": "a"}, {"port": 81, "name": "b"})
    wait_for(lambda: answers(address, 80))
    with pytest.raises(TimeoutError):
        ask(address, 8001)
    wait_for(lambda: is_refused(address, 81))


def test_a_server_that_listens_on_loopback_alone_is_not_behind_its_service(api: Api, pods: Pods) -> None:
    script = (
        "use IO::Socket::INET; $| = 1;"
        "my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 8000, Listen => 5);"
        "print qq(ready\\n); sleep 1000"
    )
    name = pods.serve(["perl", "-e", script])
    other = pods.run(program("greet 8000 hello"))
    address = create_service(api, name, {"port": 8000})
    # When a Service that was made later answers, this one has been known for long enough.
    later = create_service(api, other, {"port": 8000})
    wait_for(lambda: answers(later, 8000))
    assert all(is_refused(address, 8000) for _ in range(10))


def test_a_service_refuses_when_its_pod_is_gone(api: Api, pods: Pods) -> None:
    name = pods.run(program("greet 8000 hello"))
    address = create_service(api, name, {"port": 8000})
    wait_for(lambda: answers(address, 8000))
    api.call("DELETE", f"pods/{name}", gracePeriodSeconds=0)
    wait_for(lambda: is_refused(address, 8000))
    replaced = pods.run(program("greet 8000 again"), meta={"labels": {"app": name}})
    wait_for(lambda: answers(address, 8000))
    assert ask(address, 8000) == "again"
    assert replaced != name


def test_only_ready_pods_are_behind_a_service_unless_it_says_otherwise(api: Api, pods: Pods) -> None:
    meta = {"labels": {"app": "half"}}
    missing = {"name": "second", "image": "no-such-image:1", "imagePullPolicy": "Never"}
    body = {
        "metadata": {"name": "half", **meta},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": IMAGE, "command": program("greet 8000 hello")}, missing],
        },
    }
    api.create("pods", body)
    pods.wait_for("half", "running")
    early = create_service(api, "half", {"port": 8000})
    api.create(
        "services", {"metadata": {"name": "later"}, "spec": {"selector": {"app": "half"}, "ports": [{"port": 8000}]}}
    )
    wait_for(lambda: answers(early, 8000))
    assert not answers(api.get("services/later")["spec"]["clusterIP"], 8000)


def test_a_service_keeps_its_address_and_can_be_asked_by_the_name_of_a_port(api: Api, pods: Pods) -> None:
    name = pods.run(program("greet 8000 hello"), container={"ports": [{"name": "greeting", "containerPort": 8000}]})
    address = create_service(api, name, {"port": 80, "targetPort": "greeting"})
    wait_for(lambda: answers(address, 80))
    api.patch(f"services/{name}", {"spec": {"clusterIP": "1.2.3.4"}})
    assert api.get(f"services/{name}")["spec"]["clusterIP"] == address


def test_much_goes_through_a_service_both_ways_and_ends_are_passed_on(api: Api, pods: Pods) -> None:
    echo = (
        "use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalPort => 8000, Listen => 5);"
        "while (my $c = $s->accept) {"
        "my $all = ''; while (sysread $c, my $part, 65536) { $all .= $part }"
        "for (my $at = 0; $at < length $all;) { $at += syswrite $c, $all, 65536, $at } close $c }"
    )
    name = pods.run(["perl", "-e", echo])
    address = create_service(api, name, {"port": 8000})
    wait_for(lambda: not is_refused(address, 8000))
    sent = bytes(range(256)) * 4000
    with socket.create_connection((address, 8000), timeout=20) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        got = b""
        while part := connection.recv(1 << 20):
            got += part
    assert got == sent


def test_a_service_without_pods_refuses(api: Api) -> None:
    address = create_service(api, "none", {"port": 80})
    wait_for(lambda: is_refused(address, 80))


def test_a_headless_service_has_no_address(api: Api, pods: Pods) -> None:
    pods.create(forever())
    assert create_service(api, "headless", {"port": 80}, clusterIP="None") == "None"


def test_a_server_that_looks_its_caller_up_does_not_wait(pods: Pods) -> None:
    look = "my $a = gethostbyaddr(pack('C4', split /\\./, $ARGV[0]), 2); print $a ? 'found' : 'unknown', qq(\n);"
    caller = pods.run(forever())
    address = pods.get(caller)["status"]["podIP"]
    began = time.monotonic()
    pods.serve(["perl", "-e", f"$| = 1; {look} print qq(ready\n); sleep 1000", address])
    assert time.monotonic() - began < 8
