"""Ways to bring a service back to a clean state after each test, as data; running.data.reset carries them out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from pytest_isolate.model.probes import Command, Http


class Pristine(Struct, frozen=True, kw_only=True):
    """The state in which the service became ready, by the way that its key `copies` names."""


class ResetFunction(Struct, frozen=True, kw_only=True):
    """A function of the user's, called with the service's handle."""

    function: Callable[[Any], object]


Reset = Pristine | Command | Http | ResetFunction
RESET_METHOD = "POST"
"""The method of an HTTP call that resets, where it does not say."""


def describe_reset(reset: Reset) -> str:
    """A short text for messages, such as `POST /reset`; the same in every process."""
    match reset:
        case Pristine():
            return "the preset's own way"
        case Command(argv=argv):
            return f"{' '.join(argv)} in its container"
        case Http(path=path, port=port, method=method):
            return f"{method or RESET_METHOD} {path}" + (f" on port {port}" if port else "")
        case ResetFunction(function=function):
            return f"{getattr(function, '__qualname__', type(function).__qualname__)}(...)"
