"""Every service of a department does its whole job while the other department's runs beside it."""

from clients import User, log_in, read_event, register, send_mail, store_event, wait_for_mail, who_am_i

from pytest_isolate import Stack

ANN = {"hr": User("ann", "ann-in-hr"), "sales": User("ann", "ann-in-sales")}


def test_a_registered_user_logs_in_and_is_known(each: Stack) -> None:
    realm = each.auth.env["REALM"]
    user = User("works", "password")
    register(each.auth, user).raise_for_status()

    token = log_in(each.auth, user).json()["token"]

    assert who_am_i(each.auth, token).json() == {"name": "works", "realm": realm}


def test_a_mail_that_is_sent_can_be_read(each: Stack) -> None:
    realm, domain = each.auth.env["REALM"], each.mail.env["DOMAIN"]

    send_mail(each.mail, to=f"ann@{domain}", subject="It works")

    wait_for_mail(each.mail, ANN[realm], subject="It works")


def test_an_event_that_is_stored_can_be_read(each: Stack) -> None:
    user = ANN[each.auth.env["REALM"]]

    store_event(each.groupware, user, uid="works", summary="Lunch")

    assert "SUMMARY:Lunch" in read_event(each.groupware, user, uid="works").text
