"""Neither container sees the other's processes or files."""

from pytest_isolate import Service


def processes(service: Service) -> set[str]:
    """The names of all processes that can be seen from inside."""
    return set(service.exec("sh", "-c", "cat /proc/[0-9]*/comm", check=True).stdout.split())


def has_file(service: Service, path: str) -> bool:
    return service.exec("test", "-e", path).exit_code == 0


def test_neither_sees_the_others_processes(web: Service, db: Service) -> None:
    in_web, in_db = processes(web), processes(db)

    assert "apache2" in in_web
    assert "apache2" not in in_db
    assert "mariadbd" in in_db
    assert "mariadbd" not in in_web


def test_neither_has_the_others_files(web: Service, db: Service) -> None:
    assert has_file(web, "/srv/web/guests.py")
    assert not has_file(db, "/srv/web/guests.py")
    assert has_file(db, "/srv/mysql/ibdata1")
    assert not has_file(web, "/srv/mysql")


def test_a_file_written_by_one_does_not_appear_in_the_other(web: Service, db: Service) -> None:
    web.exec("touch", "/tmp/from-web", check=True)
    db.exec("touch", "/tmp/from-db", check=True)

    assert not has_file(db, "/tmp/from-web")
    assert not has_file(web, "/tmp/from-db")


def test_each_has_a_host_name_of_its_own(web: Service, db: Service) -> None:
    assert web.exec("hostname").stdout != db.exec("hostname").stdout
