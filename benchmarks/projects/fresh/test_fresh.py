import os
import time

import psycopg


def test_orders(url, number):
    """A few statements, and the time that the code under test takes for something else."""
    with psycopg.connect(url) as connection:
        for table in (number % 100, (number + 1) % 100, (number + 2) % 100):
            assert connection.execute(f"SELECT count(*) FROM t{table}").fetchone() == (5,)
            connection.execute(f"INSERT INTO t{table} (name) VALUES ('mine')")
            assert connection.execute(f"SELECT max(id) FROM t{table}").fetchone() == (6,)
    time.sleep(float(os.environ["WORK_S"]))
