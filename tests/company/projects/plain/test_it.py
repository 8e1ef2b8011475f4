def test_web(web):
    assert web.port_of(9000)


def test_wrong(web):
    raise AssertionError("on purpose")


def test_nothing():
    assert True


def test_client(client):
    assert client
