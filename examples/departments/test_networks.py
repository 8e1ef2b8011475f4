"""Inside, every department finds its services under the same names and ports, and never the other's."""

from ipaddress import IPv4Address

import pytest

from pytest_isolate import Service, Stack

SAME_ADDRESSES = ["db:5432", "auth:8000", "mail:25", "mail:143", "groupware:5232"]


def can_connect(service: Service, address: str) -> bool:
    """Whether a TCP connection from inside the service's container to an address is accepted."""
    host, port = address.split(":")
    return service.exec("timeout", "2", "bash", "-c", f"</dev/tcp/{host}/{port}").exit_code == 0


def own_ip(service: Service) -> str:
    return service.exec("hostname", "-i", check=True).stdout.strip()


def gateway(service: Service) -> str:
    """The host's address on the service's network."""
    routes = service.exec("cat", "/proc/net/route", check=True).stdout.splitlines()
    default = next(route.split() for route in routes if route.split()[1] == "00000000")
    return str(IPv4Address(bytes.fromhex(default[2])[::-1]))


@pytest.mark.parametrize("address", SAME_ADDRESSES)
def test_services_are_found_under_the_same_name_and_port(each: Stack, address: str) -> None:
    assert can_connect(each.groupware, address)


def test_the_same_name_leads_to_the_departments_own_service(hr: Stack, sales: Stack) -> None:
    read_greeting = ("bash", "-c", "head -n 1 </dev/tcp/mail/25")

    assert hr.auth.exec(*read_greeting).stdout.startswith("220 mail.hr.example ")
    assert sales.auth.exec(*read_greeting).stdout.startswith("220 mail.sales.example ")


def test_the_other_department_cannot_be_reached_by_its_ip(hr: Stack, sales: Stack) -> None:
    address = f"{own_ip(sales.auth)}:8000"

    assert can_connect(sales.groupware, address)
    assert not can_connect(hr.groupware, address)


def test_the_other_departments_published_port_cannot_be_reached(hr: Stack, sales: Stack) -> None:
    """It is published on the host's loopback address, so the way over the host leads to no open port."""
    assert not can_connect(hr.groupware, f"{gateway(hr.groupware)}:{sales.auth.port}")
