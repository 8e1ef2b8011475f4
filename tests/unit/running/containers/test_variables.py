"""A running service as environment variables, and what the command and its pytest tell each other."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pytest_isolate.model.endpoint import Endpoint
from pytest_isolate.model.location import Location
from pytest_isolate.model.service import ServiceId, ServiceSpec, StackId
from pytest_isolate.running.containers.view import ServiceView, ambiguous, as_env_file, variables_of
from pytest_isolate.sharing.command import UP, Replies, Request, read_request, send

DB = ServiceId(StackId(""), "db")
HR_DB = ServiceId(StackId("", "hr"), "db")
SHOP_DB = ServiceId(StackId("shop/my-tests"), "db")


def view(**changes: object) -> ServiceView:
    spec = ServiceSpec(name="db", location=Location(file=""), **{"ports": (5432, 9000), **changes})  # type: ignore[arg-type]
    ports = (*spec.ports, *spec.udp_ports)
    endpoints = {inner: Endpoint("127.0.0.1", 40000 + number) for number, inner in enumerate(ports)}
    return ServiceView(spec=spec, password="it's", endpoints=endpoints)


def test_a_service_is_named_before_each_variable() -> None:
    found = variables_of(DB, view(url="pg://{user}:{password}@{host}:{port}", user="ann"), qualified=False)
    assert found == {
        "DB_HOST": "127.0.0.1",
        "DB_PORT": "40000",
        "DB_ADDRESS": "127.0.0.1:40000",
        "DB_URL": "pg://ann:it%27s@127.0.0.1:40000",
        "DB_PORT_9000": "40001",
        "DB_USER": "ann",
        "DB_PASSWORD": "it's",
    }


def test_ports_of_udp_have_variables_too() -> None:
    found = variables_of(DB, view(udp_ports=("8125/udp",)), qualified=False)
    assert (found["DB_PORT_9000"], found["DB_PORT_8125_UDP"]) == ("40001", "40002")
    alone = variables_of(DB, view(ports=(), udp_ports=("8125/udp",)), qualified=False)
    assert alone == {"DB_HOST": "127.0.0.1", "DB_PORT_8125_UDP": "40000", "DB_PASSWORD": "it's"}


def test_a_stack_stands_before_its_service_and_a_folder_where_it_has_to() -> None:
    assert "HR_DB_HOST" in variables_of(HR_DB, view(), qualified=False)
    assert "SHOP_MY_TESTS_DB_HOST" in variables_of(SHOP_DB, view(), qualified=True)
    assert ambiguous([DB, HR_DB, SHOP_DB]) == {DB, SHOP_DB}


def test_a_service_without_a_port_has_no_address() -> None:
    assert set(variables_of(DB, view(ports=()), qualified=False)) == {"DB_PASSWORD"}


def test_a_shell_reads_the_file_as_it_was_meant(tmp_path: Path) -> None:
    (tmp_path / "e").write_text(as_env_file({"A": "it's $HOME & more", "B": "plain"}))
    script = '. ./e; printf %s "$A|$B"'
    shown = subprocess.check_output(["sh", "-c", script], cwd=tmp_path, text=True)
    assert shown == "it's $HOME & more|plain"


def test_answers_are_handed_out_once_and_only_when_they_are_complete(tmp_path: Path) -> None:
    request = Request(what=UP, answers=str(tmp_path / "answers"), names=("db",))
    assert read_request({"PYTEST_ISOLATE_REQUEST": request.encode()}) == request
    assert read_request({}) is None
    answers = Replies(tmp_path / "answers")
    assert list(answers.new()) == []
    send(request, "ready", service="db")
    with open(request.answers, "a") as file:
        file.write('{"kind": "half')
    assert list(answers.new()) == [{"kind": "ready", "service": "db"}]
    with open(request.answers, "a") as file:
        file.write('"}\n')
    assert list(answers.new()) == [{"kind": "half"}]


def test_answers_are_for_this_user_only(tmp_path: Path) -> None:
    send(Request(what=UP, answers=str(tmp_path / "answers")), "ready")
    assert (tmp_path / "answers").stat().st_mode & 0o077 == 0
