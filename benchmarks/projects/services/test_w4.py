import pytest
from clients import get, ping, select_1


@pytest.mark.parametrize("number", range(7))
def test_postgres(number, db_url):
    assert select_1(db_url) == "1"


@pytest.mark.parametrize("number", range(7))
def test_redis(number, redis_address):
    assert ping(redis_address) == "+PONG\r\n"


@pytest.mark.parametrize("number", range(6))
def test_auth(number, auth_url):
    assert get(f"{auth_url}/healthz") == 200
