"""A database of its own for each test, all of them on one server."""

import pytest

from pytest_isolate import FreshService, fresh, postgres, service

db = service(postgres(build={"context": "../services/postgres", "network": "host"}))
orders = fresh(db, init="schema.sql")


def ask(database: FreshService, query: str) -> str:
    argv = ["psql", "-qAt", "-v", "ON_ERROR_STOP=1", "-U", database.user or "", "-d", database.database or ""]
    return database.exec(*argv, "-c", query, check=True).stdout.strip()


@pytest.mark.parametrize("amount", [1, 20, 300])
def test_the_first_purchase_has_the_number_one(orders: FreshService, amount: int) -> None:
    query = f"INSERT INTO purchase (customer, amount) VALUES (1, {amount}) RETURNING id"
    assert ask(orders, query) == "1"
    assert ask(orders, "SELECT sum(amount) FROM purchase") == str(amount)


def test_whoever_drops_all_disturbs_nobody(orders: FreshService) -> None:
    ask(orders, "DROP TABLE purchase, customer")


def test_everybody_finds_both_customers(orders: FreshService) -> None:
    assert ask(orders, "SELECT string_agg(name, ' ' ORDER BY name) FROM customer") == "ann bob"
