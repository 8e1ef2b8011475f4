"""isolate_ryuk: on an engine elsewhere the clean-up helper of testcontainers is started, told of the run, and held."""

from __future__ import annotations

import pytest

from plugin.conftest import Project

# A Ryuk that says what is sent to it, and answers as it is told; the engine is elsewhere, and its ports answer here.
DECLARED = """
import msgspec.structs
from fakes.images import FakeImage, image_id

class Engine(FakeEngine):
    def __init__(self):
        from fakes.journal import Journal
        import os, pathlib
        super().__init__(Journal(pathlib.Path(os.environ["FAKE_ENGINE_JOURNAL"])))
        self.pullable["ryuk:test"] = FakeImage(image_id=image_id("ryuk"), command=tuple(program("greet 8080 ANSWER")))

    def facts(self):
        return msgspec.structs.replace(
            super().facts(), is_local=LOCAL, host="127.0.0.1", publish_on="127.0.0.1", memory_bytes=1 << 30
        )

def pytest_isolate_engine(config):
    return Engine()

web = service(IMAGE, port=8000, command=program("serve 8000 hello"))
"""


@pytest.fixture(autouse=True)
def image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RYUK_CONTAINER_IMAGE", "ryuk:test")


def declare(project: Project, *, local: bool = False, answer: str = "ACK") -> None:
    project.conftest(DECLARED.replace("LOCAL", str(local)).replace("ANSWER", answer), engine="")
    project.tests("def test_it(web): pass", "def test_again(web): pass")


def test_it_is_started_before_the_first_container(project: Project) -> None:
    declare(project)
    project.run("-o", "isolate_ryuk=true").assert_outcomes(passed=2)
    ryuk, web = project.journal.requests
    assert (ryuk["image"], ryuk["binds"]) == ("ryuk:test", {"/var/run/docker.sock": "/var/run/docker.sock"})
    assert ryuk["removes_itself"]
    assert not web["removes_itself"]
    run = web["labels"]["pytest-isolate.run"]
    assert ryuk["labels"]["pytest-isolate.run"] == f"{run}-ryuk", "it would begin with itself"


@pytest.mark.parametrize(("local", "option"), [(True, "true"), (False, "false")])
def test_it_is_started_elsewhere_and_where_it_is_asked_for_only(project: Project, local: bool, option: str) -> None:
    declare(project, local=local)
    project.run("-o", f"isolate_ryuk={option}").assert_outcomes(passed=2)
    assert len(project.journal.requests) == 1


def test_without_its_answer_nothing_is_started(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_isolate.running.cleanup.ryuk._UP_WITHIN_S", 0.5)
    declare(project, answer="NACK")
    result = project.run("-o", "isolate_ryuk=true")
    result.assert_outcomes(errors=2)
    text = result.stdout.str()
    assert "Ryuk, which is to clean up on the engine's host, does not answer" in text
    assert "it answered b'NACK" in text
    assert "leave isolate_ryuk out" in text
    assert [request["image"] for request in project.journal.requests] == ["ryuk:test"]


def test_what_it_would_remove_cannot_be_kept(project: Project) -> None:
    declare(project)
    result = project.run("-o", "isolate_ryuk=true", "--isolate-keep=failed")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "where Ryuk cleans up" in result.stderr.str()
    assert not project.journal.requests
