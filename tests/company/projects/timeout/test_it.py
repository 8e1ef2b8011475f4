import time

import pytest


@pytest.mark.timeout(2)
def test_that_waits_for_a_service(slow):
    raise AssertionError("it is never ready")


@pytest.mark.timeout(1)
def test_that_hangs(web):
    time.sleep(50)


def test_the_rest_goes_on(web):
    assert web.url
