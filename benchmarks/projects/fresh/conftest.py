import json
import os
import time

import psycopg
import pytest

from pytest_isolate import fresh, postgres, service

TABLES = [f"t{number}" for number in range(100)]
SCHEMA = "\n".join(
    f"CREATE TABLE {table} (id serial PRIMARY KEY, name text NOT NULL, amount int);\n"
    f"INSERT INTO {table} (name, amount) SELECT 'row ' || g, g FROM generate_series(1, 5) g;"
    for table in TABLES
)
HOW = os.environ["HOW"]


def migrate(handle):
    with psycopg.connect(handle.url) as connection:
        connection.execute(SCHEMA)


db = service(postgres(image=os.environ["POSTGRES_IMAGE"]))
copy = fresh(db, init=migrate)
own = service(db, scope="function", files={"/docker-entrypoint-initdb.d/schema.sql": SCHEMA})


@pytest.fixture(scope="session")
def by_hand(db, worker_id):
    """A database for each worker, as suites make one that truncate."""
    with psycopg.connect(db.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {worker_id}")
    url = db.url.rpartition("/")[0] + f"/{worker_id}"
    with psycopg.connect(url) as connection:
        connection.execute(SCHEMA)
    return url


@pytest.fixture
def truncated(by_hand):
    with psycopg.connect(by_hand) as connection:
        connection.execute(f"TRUNCATE {', '.join(TABLES)} RESTART IDENTITY CASCADE")
        rows = "; ".join(
            f"INSERT INTO {table} (name, amount) SELECT 'row ' || g, g FROM generate_series(1, 5) g" for table in TABLES
        )
        connection.execute(rows)
    return by_hand


if HOW == "truncate":

    @pytest.fixture
    def url(truncated):
        return truncated
elif HOW == "container":

    @pytest.fixture
    def url(own):
        return own.url
else:

    @pytest.fixture
    def url(copy):
        return copy.url


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef):
    """Notes how long a test waits for its data."""
    began = time.perf_counter()
    try:
        return (yield)
    finally:
        if fixturedef.argname in ("copy", "own", "truncated"):
            with open("handed-over.jsonl", "a") as file:
                file.write(json.dumps(time.perf_counter() - began) + "\n")


def pytest_generate_tests(metafunc):
    metafunc.parametrize("number", range(int(os.environ["TESTS"])))
