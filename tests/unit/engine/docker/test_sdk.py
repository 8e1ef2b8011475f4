"""The docker SDK is imported when it is first needed, in whatever thread that is."""

from __future__ import annotations

import subprocess
import sys

import pytest

# As if pytest put its filters back at every moment: nobody else's change of them lasts.
LOAD = """
import sys, warnings
warnings.simplefilter = lambda *args, **kwargs: None
from pytest_isolate.engine.docker.image_api import load_sdk
print(load_sdk().__name__, load_sdk() is load_sdk(), sys.modules.get("urllib3.contrib.socks", "absent") is not None)
"""


def load(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *options, "-c", LOAD], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("options", [(), ("-W", "error")], ids=["plain", "warnings are errors"])
def test_its_import_does_not_depend_on_filters_of_warnings(options: tuple[str, ...]) -> None:
    result = load(*options)
    assert result.stdout.split() == ["pytest_isolate.engine.docker.sdk", "True", "True"], result.stderr
    assert result.stderr == ""
