"""The docker command: what it prints, and the environment in which it speaks to the same engine."""

from __future__ import annotations

from pytest_isolate.engine.api import Progress
from pytest_isolate.engine.docker.building.buildx import _environment, _follow
from pytest_isolate.engine.docker.transport.connections import Endpoint

# As buildx 0.13.1 prints it for Docker 20.10.
FAILED = """\
#0 building with "default" instance using docker driver

#1 [internal] load build definition from Dockerfile
#1 transferring dockerfile: 128B done
#1 DONE 0.1s

#4 [1/3] FROM docker.io/library/debian:bookworm-slim
#4 CACHED

#5 [2/3] RUN true
#5 CACHED

#6 [3/3] RUN cat /x; exit 3
#6 1.219 \x1b[31mno x\x1b[0m
#6 ERROR: executor failed running [/bin/sh -c cat /x; exit 3]: exit code: 3
------
 > [3/3] RUN cat /x; exit 3:
1.219 no x
------
ERROR: failed to solve: executor failed running [/bin/sh -c cat /x; exit 3]: exit code: 3
"""


def test_steps_are_told_and_the_one_that_failed_with_its_lines() -> None:
    told: list[Progress] = []
    step, output = _follow(FAILED.splitlines(keepends=True), told.append)
    assert [(p.text, p.done, p.total) for p in told] == [
        ("FROM docker.io/library/debian:bookworm-slim", 1, 3),
        ("RUN true", 2, 3),
        ("RUN true (cached)", 2, 3),
        ("RUN cat /x; exit 3", 3, 3),
    ]
    assert step == "[3/3] RUN cat /x; exit 3"
    assert output[-2:] == [
        "1.219 no x",
        "ERROR: failed to solve: executor failed running [/bin/sh -c cat /x; exit 3]: exit code: 3",
    ]


def test_what_fails_before_any_step_is_the_command_itself() -> None:
    assert _follow(['ERROR: no builder "x" found\n'], lambda _: None) == (
        "docker buildx build",
        ['ERROR: no builder "x" found'],
    )


def test_the_environment_leads_to_the_same_engine() -> None:
    plain = {"DOCKER_CONTEXT": "", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    assert _environment(Endpoint("ssh://box")) == {**plain, "DOCKER_HOST": "ssh://box"}
    found = _environment(Endpoint("tcp://box:2376", "/certs"))
    assert (found["DOCKER_CERT_PATH"], found["DOCKER_TLS_VERIFY"]) == ("/certs", "1")
    assert _environment(Endpoint("tcp://box:2376", "/certs", is_verified=False))["DOCKER_TLS_VERIFY"] == ""
