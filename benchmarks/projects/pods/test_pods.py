import os
from urllib.request import urlopen

import pytest

STACKS = [f"stack_{number}" for number in range(int(os.environ["STACKS"]))]


@pytest.mark.usefixtures(*STACKS)
def test_every_service_answers(request):
    for name in STACKS:
        stack = request.getfixturevalue(name)
        for service in (stack.front, stack.back, stack.store):
            with urlopen(service.url, timeout=60) as answer:
                assert answer.read() == b"ok\n"
