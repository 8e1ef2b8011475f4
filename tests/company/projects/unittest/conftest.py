import pytest
from fakes.programs import IMAGE, program

from pytest_isolate import http, service

web = service(IMAGE, command=program("serve 8000 hello"), port=8000, ready=http("/"), timeout=20)
per_class = service(web, scope="class")


@pytest.fixture
def given(request, web):
    request.instance.url = web.url


@pytest.fixture(scope="class")
def given_to_class(request, per_class):
    request.cls.class_url = per_class.url
