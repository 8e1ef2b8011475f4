def test_it_is_ready(loud):
    assert loud.port
