"""A build or a pull that is under way when the run ends."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_isolate.engine.api import ImageFacts
from pytest_isolate.errors import EngineError
from pytest_isolate.running.instances.budget import RunClosing, StartGate
from pytest_isolate.running.instances.starter import BaseImages
from pytest_isolate.running.timeline import Timeline
from unit.builders import FakeClock, spec

FACTS = ImageFacts(image_id="sha256:1")


class Making:
    """Images of which one is made, until it is let go."""

    def __init__(self, error: Exception | None = None) -> None:
        self.has_begun, self.may_end = threading.Event(), threading.Event()
        self._error = error

    def ensure(self, _: object) -> ImageFacts:
        self.has_begun.set()
        self.may_end.wait(20)
        if self._error:
            raise self._error
        return FACTS


def make_bases(images: Making, gate: StartGate) -> BaseImages:
    context = SimpleNamespace(timeline=Timeline(FakeClock()))
    return BaseImages(cast(Any, context), cast(Any, images), None, gate)


@pytest.fixture
def gate() -> StartGate:
    return StartGate(cast(Any, SimpleNamespace()), lambda: None, 1)


def test_nobody_waits_for_it(gate: StartGate) -> None:
    images, ended = Making(), threading.Event()

    def start() -> None:
        with pytest.raises(RunClosing):
            make_bases(images, gate)._ensure(spec("db"))
        ended.set()

    threading.Thread(target=start, daemon=True).start()
    assert images.has_begun.wait(10)
    gate.close()
    gate.close()  # as a run that is closed twice
    assert ended.wait(10)
    images.may_end.set()


def test_its_result_and_its_error_are_those_of_the_image(gate: StartGate) -> None:
    images = Making()
    images.may_end.set()
    assert make_bases(images, gate)._ensure(spec("db")) is FACTS
    failing = Making(EngineError("no"))
    failing.may_end.set()
    with pytest.raises(EngineError, match="no"):
        make_bases(failing, gate)._ensure(spec("db"))
