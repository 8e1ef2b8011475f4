"""The ways into an instance, as a shell reads them."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from pytest_isolate.engine.docker.commands import DockerCommands
from pytest_isolate.model.declaration import Secret
from pytest_isolate.model.endpoint import Endpoint
from pytest_isolate.running.containers.view import ServiceView
from pytest_isolate.running.evidence.shell import CONTAINER, AccessHints, build_entrance
from unit.builders import spec

SECRET = "0123456789abcdef"  # of nobody


def entrance(**values: object) -> AccessHints:
    declared = spec("db", **{"ports": (5432,), "password": Secret.RANDOM, **values})
    password = SECRET if declared.password is Secret.RANDOM else declared.password
    view = ServiceView(spec=declared, password=password, endpoints={5432: Endpoint("127.0.0.1", 40001)})
    return build_entrance(view, DockerCommands())


def postgres(**values: object) -> AccessHints:
    url = "postgresql://{user}:{password}@{host}:{port}/{database}"
    facts = {"copies": "postgres", "user": "app", "database": "shop", "url": url}
    return entrance(**{**facts, "env": (("POSTGRES_PASSWORD", "{self.password}"),), **values})


def test_a_service_without_a_protocol_of_ours_has_a_shell_and_its_url() -> None:
    found = entrance(password=None, url="http://{host}:{port}")
    assert found == AccessHints(url="http://127.0.0.1:40001", commands=("docker exec -it {container} sh",))


def test_a_service_without_a_port_has_no_url() -> None:
    assert entrance(ports=()).url == ""


def test_a_random_password_is_asked_for_and_never_told() -> None:
    found = postgres()
    asked = "$(docker exec {container} printenv POSTGRES_PASSWORD)"
    assert found.url == f"postgresql://app:{asked}@127.0.0.1:40001/shop"
    assert found.commands[0] == (
        f'docker exec -it -e PGPASSWORD="{asked}" {{container}} psql -h 127.0.0.1 -p 5432 -U app -d shop'
    )
    assert SECRET not in f"{found}"


def test_a_random_password_among_the_arguments_is_asked_for_there() -> None:
    found = entrance(
        copies="redis", database="3", url="redis://{host}:{port}", command=("server", "--pass", "{self.password}")
    )
    asked = "$(docker inspect -f '{{index .Config.Cmd 2}}' {container})"
    assert found.commands[0].startswith(f'docker exec -it -e REDISCLI_AUTH="{asked}" {CONTAINER} sh -c ')
    assert found.commands[0].endswith(" -p 5432 -n 3'")


def test_a_random_password_that_the_container_does_not_tell_is_left_out() -> None:
    found = postgres(env=())
    assert found.url == "postgresql://app:***@127.0.0.1:40001/shop"
    assert found.commands[0] == "docker exec -it {container} psql -h 127.0.0.1 -p 5432 -U app -d shop"


def test_a_password_that_somebody_wrote_down_stands_there() -> None:
    found = postgres(password="p w$")
    assert found.url == "postgresql://app:p%20w%24@127.0.0.1:40001/shop"
    assert "-e PGPASSWORD='p w$' " in found.commands[0]


@pytest.mark.parametrize("copies", ["postgres", "mariadb", "redis"])
def test_a_shell_takes_the_words_as_they_were_declared(copies: str, tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\n[ "$2" = -it ] || { echo "pass $WORD"; exit; }\nprintf "%s\\n" "$@"\n')
    docker.chmod(0o755)
    found = postgres(copies=copies, user="an app", database="it's", env=(("WORD", "{self.password}"),))
    text = found.commands[0].replace(CONTAINER, "box")
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "WORD": "a b"}
    asked = subprocess.run(["sh", "-c", text], env=env, capture_output=True, text=True, check=True)
    words = asked.stdout.splitlines()
    assert words[:3] == ["exec", "-it", "-e"]
    assert words[3].endswith("=pass a b")
    assert words[4] == "box"
    inner = shlex.split(words[-1]) if copies != "postgres" else words
    assert inner[-1] == "it's"
