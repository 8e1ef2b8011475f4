"""Services on different releases of an operating system work side by side."""

from clients import User, log_in, read_event, register, send_mail, store_event, wait_for_mail

from pytest_isolate import Service

ANN = User("ann", "anns-password")


def codename(service: Service) -> str:
    """The release that runs in the service's container, from its own /etc/os-release."""
    lines = service.exec("cat", "/etc/os-release", check=True).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)["VERSION_CODENAME"]


def test_mail_runs_on_the_newer_release(mail: Service) -> None:
    assert codename(mail) == "trixie"


def test_auth_and_groupware_stay_on_the_older_release(auth: Service, groupware: Service) -> None:
    assert codename(auth) == "bookworm"
    assert codename(groupware) == "bookworm"


def test_each_has_the_programs_of_its_own_release(mail: Service, groupware: Service) -> None:
    assert mail.exec("dovecot", "--version").stdout.startswith("2.4.")
    assert groupware.exec("python3", "--version").stdout.startswith("Python 3.11.")


def test_all_of_them_work_side_by_side(mail: Service, auth: Service, groupware: Service) -> None:
    send_mail(mail, to="ann@company.example", subject="From the future")
    register(auth, ANN).raise_for_status()
    store_event(groupware, ANN, uid="upgrade", summary="Upgrade")

    wait_for_mail(mail, ANN, subject="From the future")
    assert log_in(auth, ANN).status_code == 200
    assert read_event(groupware, ANN, uid="upgrade").status_code == 200
