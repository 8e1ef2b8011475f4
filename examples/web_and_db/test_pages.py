"""Pages that Apache serves come from the database beside it."""

import httpx

from pytest_isolate import Service

TIMEOUT_S = 60  # for a busy machine


def test_the_page_shows_what_the_database_was_filled_with(web: Service) -> None:
    page = httpx.get(f"{web.url}/guests", timeout=TIMEOUT_S)

    assert page.headers["Server"].startswith("Apache/2.4")
    assert "<li>Ada</li>" in page.text
    assert "<li>Brontë &amp; Sons</li>" in page.text


def test_a_guest_who_is_written_into_the_database_is_on_the_page(web: Service, db: Service) -> None:
    insert = "INSERT INTO guests VALUES ('Grace')"
    login = [f"--user={db.user}", f"--password={db.password}", str(db.database)]
    db.exec("mariadb", *login, "--execute", insert, check=True)

    assert "Grace" in httpx.get(f"{web.url}/guests.json", timeout=TIMEOUT_S).json()


def test_the_page_says_so_while_the_database_is_away(web: Service, db: Service) -> None:
    db.stop()
    assert httpx.get(f"{web.url}/guests", timeout=TIMEOUT_S).status_code == 503

    db.start()
    assert httpx.get(f"{web.url}/guests", timeout=TIMEOUT_S).status_code == 200
