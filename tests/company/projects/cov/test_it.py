import pytest
import shop


@pytest.mark.parametrize("number", range(4))
def test_it(web, number):
    assert shop.greet(web.url) == "hello"
