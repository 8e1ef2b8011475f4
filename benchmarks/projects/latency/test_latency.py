import time

import pytest
from conftest import FOUND


def test_death(dies):
    raise AssertionError("it has died")


@pytest.mark.parametrize("name", ["web", "db"])
def test_ready(name, request, first_answers):
    request.getfixturevalue(name)
    seen = time.monotonic()
    FOUND[name] = seen - float(first_answers[name].stdout.readline())
