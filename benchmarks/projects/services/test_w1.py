from clients import get, ping, select_1


def test_postgres(db_url):
    assert select_1(db_url) == "1"


def test_redis(redis_address):
    assert ping(redis_address) == "+PONG\r\n"


def test_auth(auth_url):
    assert get(f"{auth_url}/healthz") == 200
