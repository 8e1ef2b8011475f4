"""The same tests for every version that has to work, side by side."""

from clients import User, log_in, register, send_mail, wait_for_mail

from pytest_isolate import Service

ANN = User("ann", "anns-password")
VERSIONS = {"pg15": "15.", "pg17": "17."}
PYTHONS = {"bookworm": "3.11.", "trixie": "3.13."}


def query(db: Service, sql: str) -> str:
    return db.exec("psql", "-U", db.user, "-qAtc", sql, check=True).stdout.strip()


def test_each_has_the_version_that_it_is_run_for(db: Service, auth: Service, versions: dict[str, str]) -> None:
    assert query(db, "SHOW server_version").startswith(VERSIONS[versions["db"]])
    assert PYTHONS[versions["auth"]] in auth.exec("python3", "--version").stdout


def test_a_user_is_in_the_database_of_its_combination_alone(
    db: Service, auth: Service, versions: dict[str, str]
) -> None:
    user = User(f"{versions['auth']}-on-{versions['db']}", "a-password")
    register(auth, user).raise_for_status()

    assert log_in(auth, user).status_code == 200
    names = query(db, "SELECT name FROM accounts").splitlines()
    assert user.name in names
    assert all(name.endswith(versions["db"]) for name in names)


def test_mail_needs_none_of_them_and_runs_once(mail: Service) -> None:
    send_mail(mail, to="ann@company.example", subject="Once")
    wait_for_mail(mail, ANN, subject="Once")
