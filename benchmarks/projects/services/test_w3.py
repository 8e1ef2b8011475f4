import pytest
from clients import select_1


@pytest.mark.parametrize("number", range(10))
def test_fresh_postgres(number, fresh_db_url):
    assert select_1(fresh_db_url) == "1"
