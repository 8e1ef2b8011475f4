"""The clean-up helper of testcontainers, on a real engine: a stand-in, for its image cannot be pulled everywhere."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

import pytest
from fakes.programs import IMAGE, program
from waiting import wait_for

from pytest_isolate.engine.api import BuildRequest, Engine, PublishAddress
from pytest_isolate.model.identity import LABEL_RUN, Run
from pytest_isolate.running.cleanup.ryuk import Ryuk
from pytest_isolate.sharing.board import Board
from pytest_isolate.sharing.owners import read_owner

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("base_image")]
TAG = "pytest-isolate-tests/ryuk:1"


def test_it_has_the_engines_socket_and_goes_when_it_ends(
    real_engine: Engine, docker_client: Any, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nCMD {json.dumps(program('greet 8080 ACK'))}\n")
    request = BuildRequest(tag=TAG, context=str(tmp_path), dockerfile=str(tmp_path / "Dockerfile"))
    real_engine.build_image(request, lambda _: None)
    run = Run(run_id=secrets.token_hex(4), owner=read_owner(), secret=b"")
    held: list[int] = []
    # Where it is asked for the engine is elsewhere, and picks no port that is held here.
    reach = PublishAddress(host="127.0.0.1", publish_on="127.0.0.1", is_local=False)
    env = {**os.environ, "RYUK_CONTAINER_IMAGE": TAG}
    first, second = (Ryuk(real_engine, run, Board(tmp_path / "board"), reach, held.extend, env) for _ in range(2))
    labels = {LABEL_RUN: f"{run.run_id}-ryuk"}
    try:
        for ryuk in (first, second, first):
            ryuk.require()
        assert len(held) == 2, "one connection for each process"
        [container] = real_engine.list_containers(labels)
        mounts = docker_client.inspect_container(container)["Mounts"]
        assert [(mount["Source"], mount["Destination"]) for mount in mounts] == [("/var/run/docker.sock",) * 2]
        assert real_engine.list_containers({LABEL_RUN: run.run_id}) == []
        real_engine.kill_container(container)
        wait_for(lambda: not real_engine.list_containers(labels))
    finally:
        first.close()
        second.close()
        for container in real_engine.list_containers(labels):
            real_engine.remove_container(container)
        real_engine.remove_image(TAG)
