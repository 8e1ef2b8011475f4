import unittest
import urllib.request

import pytest


def get(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read()


@pytest.mark.usefixtures("given")
class TestByUsefixtures(unittest.TestCase):
    def test_it(self):
        assert get(self.url) == b"hello"


@pytest.mark.usefixtures("given_to_class")
class TestForAClass(unittest.TestCase):
    def test_one(self):
        assert get(self.class_url) == b"hello"

    def test_two(self):
        assert get(self.class_url) == b"hello"


class TestByAutouse(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def _given(self, web):
        self.url = web.url

    def setUp(self):
        assert get(self.url) == b"hello"

    def test_it(self):
        assert get(self.url) == b"hello"


class TestOnItsOwnLoop(unittest.IsolatedAsyncioTestCase):
    @pytest.fixture(autouse=True)
    def _given(self, web):
        self.url = web.url

    async def test_it(self):
        assert get(self.url) == b"hello"


class TestWithoutServices(unittest.TestCase):
    def test_it(self):
        assert True
