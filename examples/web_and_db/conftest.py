"""Apache and MariaDB, each in its own container; a program in the first reads from the second."""

from pathlib import Path

from pytest_isolate import http, mariadb, service

db = service(
    mariadb(build={"context": "../services/mariadb", "network": "host"}),
    files={"/docker-entrypoint-initdb.d/guests.sql": Path("guests.sql")},
)

web = service(
    build={"context": "../services/apache", "network": "host"},
    port=80,
    env={
        "DATABASE_HOST": "{db.host}",
        "DATABASE_PORT": "{db.port}",
        "DATABASE_USER": "{db.user}",
        "DATABASE_PASSWORD": "{db.password}",
        "DATABASE_NAME": "{db.database}",
    },
    ready=http("/healthz"),
)
