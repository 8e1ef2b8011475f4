"""Two departments with the same services, names, ports, volumes and configuration paths, and other settings."""

import company
import pytest

from pytest_isolate import Stack, service, stack


def department(name: str, *, users: str) -> dict[str, object]:
    return {
        "db": company.db,
        "auth": service(company.auth, env={"REALM": name}),
        "mail": service(company.mail, env={"DOMAIN": f"{name}.example"}, files={"/etc/mail/users": users}),
        "groupware": service(company.groupware, env={"REALM": name}, files={"/etc/radicale/users": users}),
    }


# There is an Ann in both, with another password; Hugo and Sam are in one each.
hr = stack(**department("hr", users="ann:ann-in-hr\nhugo:hugos-password\n"))
sales = stack(**department("sales", users="ann:ann-in-sales\nsam:sams-password\n"))


@pytest.fixture(params=["hr", "sales"])
def each(request: pytest.FixtureRequest, hr: Stack, sales: Stack) -> Stack:
    """One department after the other, while both run."""
    return {"hr": hr, "sales": sales}[request.param]
