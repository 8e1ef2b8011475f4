"""Accounts in a Postgres table; of a password only its hash is kept."""

import psycopg
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

# Any number that all copies of this service agree on.
TABLE_LOCK = 20_240_511


class NameTaken(Exception):
    """Another account has this name."""


class Accounts:
    """A new connection for each question: nothing is left to repair when the database restarts."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        # For tests: a service with half a processor answers within milliseconds. A real one hashes at full cost.
        self._hasher = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)

    def create_table(self) -> None:
        with self._connect() as db:
            # Two services that start together would both find no table and both create it.
            db.execute("SELECT pg_advisory_xact_lock(%s)", (TABLE_LOCK,))
            db.execute("CREATE TABLE IF NOT EXISTS accounts (name text PRIMARY KEY, hash text NOT NULL)")

    def add(self, name: str, password: str) -> None:
        row = (name, self._hasher.hash(password))
        try:
            with self._connect() as db:
                db.execute("INSERT INTO accounts (name, hash) VALUES (%s, %s)", row)
        except psycopg.errors.UniqueViolation:
            raise NameTaken(name) from None

    def is_password_of(self, name: str, password: str) -> bool:
        with self._connect() as db:
            row = db.execute("SELECT hash FROM accounts WHERE name = %s", (name,)).fetchone()
        if row is None:
            return False
        try:
            return self._hasher.verify(row[0], password)
        except VerifyMismatchError:
            return False

    def has(self, name: str) -> bool:
        with self._connect() as db:
            row = db.execute("SELECT 1 FROM accounts WHERE name = %s", (name,)).fetchone()
        return row is not None

    def count(self) -> int:
        with self._connect() as db:
            row = db.execute("SELECT count(*) FROM accounts").fetchone()
        return row[0] if row else 0

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(self._database_url, connect_timeout=5)
