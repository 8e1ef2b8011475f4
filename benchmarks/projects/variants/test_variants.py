import time

import pytest

WORK_S = 0.3


@pytest.mark.parametrize("number", range(9))
def test_of_a_database(db, number):
    assert db.port
    time.sleep(WORK_S)


@pytest.mark.parametrize("number", range(2))
def test_of_none(number):
    time.sleep(WORK_S)
