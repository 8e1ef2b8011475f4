"""A service that eats all it can get stops at its own limits, and the others answer as ever."""

import pytest
from cgroup import memory_kills, throttled_periods
from clients import User, log_in, read_event, register, send_mail, store_event, wait_for_mail

from pytest_isolate import Service

pytestmark = pytest.mark.usefixtures("glutton")

ANN = User("ann", "anns-password")


def test_the_glutton_is_at_its_limits(glutton: Service) -> None:
    """Of memory and processes, or it would not have become ready; of the processor too."""
    assert memory_kills(glutton) > 0
    assert throttled_periods(glutton) > 0


def test_mail_is_delivered_while_the_glutton_eats(mail: Service) -> None:
    send_mail(mail, to="ann@company.example", subject="Still here")

    wait_for_mail(mail, ANN, subject="Still here")


def test_users_log_in_while_the_glutton_eats(auth: Service) -> None:
    register(auth, ANN).raise_for_status()

    assert log_in(auth, ANN).status_code == 200


def test_events_are_stored_and_read_while_the_glutton_eats(groupware: Service) -> None:
    store_event(groupware, ANN, uid="diet", summary="Diet")

    assert read_event(groupware, ANN, uid="diet").status_code == 200


def test_nobody_else_was_killed_for_memory(mail: Service, auth: Service, groupware: Service) -> None:
    assert [memory_kills(service) for service in (mail, auth, groupware)] == [0, 0, 0]
