"""The guest book: a page, the same as JSON, and health; all read from MariaDB."""

import json
import os
from collections.abc import Callable, Iterable
from html import escape

import pymysql

StartResponse = Callable[[str, list[tuple[str, str]]], object]

PAGE = "<!doctype html><title>Guests</title><h1>Guests</h1><ul>{items}</ul>"


def application(environ: dict[str, object], start_response: StartResponse) -> Iterable[bytes]:
    try:
        status, kind, text = answer(str(environ["PATH_INFO"]))
    except pymysql.MySQLError as error:
        status, kind, text = "503 Service Unavailable", "text/plain", f"no database: {error}\n"
    start_response(status, [("Content-Type", f"{kind}; charset=utf-8")])
    return [text.encode()]


def answer(path: str) -> tuple[str, str, str]:
    """Status, media type and text for a path."""
    match path:
        case "/guests":
            items = "".join(f"<li>{escape(name)}</li>" for name in read_guests())
            return "200 OK", "text/html", PAGE.format(items=items)
        case "/guests.json":
            return "200 OK", "application/json", json.dumps(read_guests())
        case "/healthz":
            return "200 OK", "text/plain", f"{len(read_guests())} guests\n"
        case _:
            return "404 Not Found", "text/plain", "no such page\n"


def read_guests() -> list[str]:
    with connect() as db, db.cursor() as cursor:
        cursor.execute("SELECT name FROM guests ORDER BY name")
        return [name for (name,) in cursor.fetchall()]


def connect() -> pymysql.Connection:
    return pymysql.connect(
        host=os.environ["DATABASE_HOST"],
        port=int(os.environ.get("DATABASE_PORT", "3306")),
        user=os.environ["DATABASE_USER"],
        password=os.environ["DATABASE_PASSWORD"],
        database=os.environ["DATABASE_NAME"],
        connect_timeout=5,
    )
