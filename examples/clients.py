"""How the example tests speak to the company's services: JSON, SMTP, IMAP and CalDAV."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from imaplib import IMAP4
from smtplib import SMTP
from typing import NamedTuple

import httpx

from pytest_isolate import Service

# A busy machine may take its time; an answer that is there comes back at once all the same.
TIMEOUT_S = 60


class User(NamedTuple):
    """Someone's name and password."""

    name: str
    password: str


# -- auth -----------------------------------------------------------------------------------------------------------


def register(auth: Service, user: User) -> httpx.Response:
    return httpx.post(f"{auth.url}/register", json=user._asdict(), timeout=TIMEOUT_S)


def log_in(auth: Service, user: User) -> httpx.Response:
    return httpx.post(f"{auth.url}/login", json=user._asdict(), timeout=TIMEOUT_S)


def who_am_i(auth: Service, token: str) -> httpx.Response:
    return httpx.get(f"{auth.url}/me", headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT_S)


# -- mail -----------------------------------------------------------------------------------------------------------


def send_mail(mail: Service, *, to: str, subject: str) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "someone@outside.example", to, subject
    message.set_content("Hello!")
    with SMTP(mail.host, mail.port_of(25), timeout=TIMEOUT_S) as smtp:
        smtp.send_message(message)


def read_subjects(mail: Service, user: User) -> list[str]:
    """The subjects of all mail in a user's inbox."""
    with _inbox(mail, user) as imap:
        return _subjects(imap)


def wait_for_mail(mail: Service, user: User, *, subject: str) -> None:
    """Come back when the mail is there. A server delivers shortly after it has accepted."""
    deadline = time.monotonic() + TIMEOUT_S
    with _inbox(mail, user) as imap:
        while subject not in _subjects(imap):
            assert time.monotonic() < deadline, f"no mail {subject!r} within {TIMEOUT_S} s"
            imap.noop()


@contextmanager
def _inbox(mail: Service, user: User) -> Iterator[IMAP4]:
    with IMAP4(mail.host, mail.port_of(143), timeout=TIMEOUT_S) as imap:
        imap.login(*user)
        imap.select("INBOX", readonly=True)
        yield imap


def _subjects(imap: IMAP4) -> list[str]:
    _, (numbers,) = imap.search(None, "ALL")
    if not numbers:
        return []
    _, parts = imap.fetch(numbers.decode().replace(" ", ","), "(BODY[HEADER.FIELDS (SUBJECT)])")
    headers = [part[1].decode() for part in parts if isinstance(part, tuple)]
    return [header.removeprefix("Subject: ").strip() for header in headers]


# -- groupware ------------------------------------------------------------------------------------------------------

EVENT = """\
BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//pytest-isolate//examples//EN
BEGIN:VEVENT
UID:{uid}
DTSTAMP:20250101T080000Z
DTSTART:20250102T090000Z
SUMMARY:{summary}
END:VEVENT
END:VCALENDAR
"""


def store_event(groupware: Service, user: User, *, uid: str, summary: str) -> None:
    """Put an event into the user's calendar, which is made if it is not there."""
    with _calendar(groupware, user) as calendar:
        if calendar.request("PROPFIND", "", headers={"Depth": "0"}).status_code == 404:
            calendar.request("MKCALENDAR", "").raise_for_status()
        event = EVENT.format(uid=uid, summary=summary).replace("\n", "\r\n")
        headers = {"Content-Type": "text/calendar"}
        calendar.put(f"{uid}.ics", content=event, headers=headers).raise_for_status()


def read_event(groupware: Service, user: User, *, uid: str) -> httpx.Response:
    with _calendar(groupware, user) as calendar:
        return calendar.get(f"{uid}.ics")


def _calendar(groupware: Service, user: User) -> httpx.Client:
    return httpx.Client(base_url=f"{groupware.url}/{user.name}/diary/", auth=tuple(user), timeout=TIMEOUT_S)
