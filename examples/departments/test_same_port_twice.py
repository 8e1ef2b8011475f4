"""The same well-known port twice on one machine: refused without containers, no matter with them."""

import company
import httpx
from clients import TIMEOUT_S

from pytest_isolate import Stack, service, stack

hr_at_home = stack(db=company.db, auth=service(company.auth, env={"REALM": "hr"}), ports="native")
sales_at_home = stack(db=company.db, auth=service(company.auth, env={"REALM": "sales"}), ports="native")


def test_without_a_container_of_its_own_the_second_auth_finds_its_port_taken(hr: Stack) -> None:
    """On one machine, here the one that `hr.auth` has for itself, the second cannot start."""
    second = hr.auth.exec("env", "REALM=sales", "python3", "/srv/auth/app.py")

    assert second.exit_code == 1
    assert "address already in use" in second.stderr


def test_with_containers_both_answer_at_the_same_port(hr_at_home: Stack, sales_at_home: Stack) -> None:
    assert hr_at_home.auth.port == sales_at_home.auth.port == 8000
    assert hr_at_home.auth.host != sales_at_home.auth.host

    assert httpx.get(f"http://{hr_at_home.auth.host}:8000/healthz", timeout=TIMEOUT_S).status_code == 200
    assert httpx.get(f"http://{sales_at_home.auth.host}:8000/healthz", timeout=TIMEOUT_S).status_code == 200


def test_at_the_same_port_each_is_its_own(hr_at_home: Stack, sales_at_home: Stack) -> None:
    ann = {"name": "ann", "password": "secret"}
    httpx.post(f"http://{hr_at_home.auth.host}:8000/register", json=ann, timeout=TIMEOUT_S).raise_for_status()

    in_sales = httpx.post(f"http://{sales_at_home.auth.host}:8000/login", json=ann, timeout=TIMEOUT_S)

    assert in_sales.status_code == 401
