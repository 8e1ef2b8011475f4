import pytest
from fakes.programs import IMAGE, program

from pytest_isolate import http, service, stack

web = service(IMAGE, command=program("serve 8000 hello"), port=8000, ports=[8000, 9000], ready=http("/"), timeout=20)
built = service(build=".", port=80)
both = stack(one=web, two=web)


def choose_scope(fixture_name, config):
    return "session" if config.getoption("--wide") else "function"


def pytest_addoption(parser):
    parser.addoption("--wide", action="store_true")


@pytest.fixture(scope=choose_scope)
def client(web):
    return web.url
