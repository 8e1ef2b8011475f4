import pytest


class TestFirst:
    @pytest.mark.parametrize("number", range(3))
    def test_it(self, number, web, per_module, per_class):
        assert web.container_id != per_module.container_id != per_class.container_id


class TestSecond:
    @pytest.mark.parametrize("number", range(3))
    def test_it(self, number, per_module, per_class):
        assert per_module.url != per_class.url


@pytest.mark.parametrize("number", range(3))
def test_it(number, web, per_test):
    assert per_test.url != web.url
