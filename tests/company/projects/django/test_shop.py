import unittest

import pytest
from django.conf import settings
from django.test import SimpleTestCase


@pytest.mark.usefixtures("greeter")
def test_view_uses_the_service(client):
    assert client.get("/").content == b"hello"


def test_settings_say_where_it_is(greeter):
    assert f"http://app:{greeter.password}@{greeter.address}" == settings.GREETER_URL


@pytest.mark.django_db
def test_database_is_djangos_own(django_user_model):
    django_user_model.objects.create(username="ann")
    assert django_user_model.objects.count() == 1


@pytest.mark.usefixtures("greeter")
class TestCaseOfDjango(SimpleTestCase):
    def test_view_uses_the_service(self):
        assert self.client.get("/").content == b"hello"


class TestWithoutServices(unittest.TestCase):
    def test_it(self):
        assert settings.configured
