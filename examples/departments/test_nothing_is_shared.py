"""What one department holds does not exist in the other, under the same name, port, path and volume."""

from imaplib import IMAP4
from smtplib import SMTPRecipientsRefused

import pytest
from clients import (
    User,
    log_in,
    read_event,
    read_subjects,
    register,
    send_mail,
    store_event,
    wait_for_mail,
    who_am_i,
)

from pytest_isolate import Stack

ANN_IN_HR = User("ann", "ann-in-hr")
ANN_IN_SALES = User("ann", "ann-in-sales")


def test_a_user_of_one_department_is_unknown_in_the_other(hr: Stack, sales: Stack) -> None:
    user = User("eve", "password")
    register(hr.auth, user).raise_for_status()

    assert log_in(hr.auth, user).status_code == 200
    assert log_in(sales.auth, user).status_code == 401


def test_both_departments_can_have_a_user_of_the_same_name(hr: Stack, sales: Stack) -> None:
    in_hr, in_sales = User("kim", "one"), User("kim", "another")

    assert register(hr.auth, in_hr).status_code == 201
    assert register(sales.auth, in_sales).status_code == 201
    assert log_in(hr.auth, in_sales).status_code == 401


def test_a_token_of_one_department_is_refused_in_the_other(hr: Stack, sales: Stack) -> None:
    user = User("tom", "password")
    register(hr.auth, user).raise_for_status()
    register(sales.auth, user).raise_for_status()

    token = log_in(hr.auth, user).json()["token"]

    assert who_am_i(hr.auth, token).status_code == 200
    assert who_am_i(sales.auth, token).status_code == 401


def test_a_mail_to_one_department_is_in_no_inbox_of_the_other(hr: Stack, sales: Stack) -> None:
    send_mail(hr.mail, to="ann@hr.example", subject="For HR only")
    wait_for_mail(hr.mail, ANN_IN_HR, subject="For HR only")

    assert "For HR only" not in read_subjects(sales.mail, ANN_IN_SALES)


def test_mail_for_the_other_department_is_not_accepted(hr: Stack) -> None:
    with pytest.raises(SMTPRecipientsRefused):
        send_mail(hr.mail, to="ann@sales.example", subject="Astray")


def test_a_mail_password_of_one_department_is_wrong_in_the_other(sales: Stack) -> None:
    with pytest.raises(IMAP4.error, match="AUTHENTICATIONFAILED"):
        read_subjects(sales.mail, ANN_IN_HR)


def test_an_event_of_one_department_does_not_exist_in_the_other(hr: Stack, sales: Stack) -> None:
    store_event(hr.groupware, ANN_IN_HR, uid="appraisal", summary="Appraisal")

    assert read_event(hr.groupware, ANN_IN_HR, uid="appraisal").status_code == 200
    assert read_event(sales.groupware, ANN_IN_SALES, uid="appraisal").status_code == 404


def test_a_calendar_password_of_one_department_is_wrong_in_the_other(sales: Stack) -> None:
    assert read_event(sales.groupware, ANN_IN_HR, uid="any").status_code == 401


def test_the_same_configuration_path_holds_each_departments_own_users(hr: Stack, sales: Stack) -> None:
    assert hr.mail.exec("cat", "/etc/mail/users").stdout == "ann:ann-in-hr\nhugo:hugos-password\n"
    assert sales.mail.exec("cat", "/etc/mail/users").stdout == "ann:ann-in-sales\nsam:sams-password\n"


def test_a_volume_of_the_same_name_holds_each_departments_own_files(hr: Stack, sales: Stack) -> None:
    hr.mail.exec("touch", "/var/mail/note-of-hr", check=True)

    assert "note-of-hr" in hr.mail.exec("ls", "/var/mail").stdout
    assert "note-of-hr" not in sales.mail.exec("ls", "/var/mail").stdout
