"""The services of a small company, declared once; the examples start changed copies of them."""

from collections.abc import Mapping
from pathlib import Path

from pytest_isolate import http, postgres, service, tcp


def build(name: str, *, debian: str = "bookworm") -> Mapping[str, object]:
    """How the image of services/`name` is built, on a Debian release."""
    context = Path(__file__).parent / "services" / name
    return {"context": str(context), "args": {"DEBIAN": debian}, "network": "host"}


USERS = "ann:anns-password\n"

db = service(postgres(build=build("postgres")))

auth = service(
    build=build("auth"),
    port=8000,
    env={"DATABASE_URL": "{db.url}", "REALM": "company"},
    ready=http("/healthz"),
)

mail = service(
    build=build("mail"),
    ports=[25, 143],
    env={"DOMAIN": "company.example"},
    files={"/etc/mail/users": USERS},
    volumes={"mail": "/var/mail"},
    ready=[tcp(25, expect="^220 "), tcp(143, expect=r"^\* OK")],
)

groupware = service(
    build=build("groupware"),
    port=5232,
    env={"REALM": "company"},
    files={"/etc/radicale/users": USERS},
    volumes={"calendars": "/var/lib/radicale/collections"},
    ready=http("/.web/"),
)
