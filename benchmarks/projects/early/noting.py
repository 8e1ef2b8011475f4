import json
import time

import pytest


class Noting:
    """Notes the moments at which collection has ended and the first test begins."""

    def __init__(self):
        self.moments = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self):
        self.moments.append(time.monotonic())

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self):
        self.moments.append(time.monotonic())

    def pytest_unconfigure(self):
        collected, first, *_ = self.moments
        with open("first-test.json", "w") as file:
            json.dump(first - collected, file)


def pytest_configure(config):
    config.pluginmanager.register(Noting())
