"""Commands to go on by hand: whole ones, and passwords in none of them."""

from __future__ import annotations

import shlex

from pytest_isolate.engine.api import BuildRequest, ContainerRequest
from pytest_isolate.engine.docker.commands import DockerCommands
from pytest_isolate.model.service import BuildSecret, ContainerSettings

DOCKER = DockerCommands()


def build(**given: object) -> BuildRequest:
    return BuildRequest(**{"tag": "t:1", "context": "/c", "dockerfile": "/c/Dockerfile", **given})  # type: ignore[arg-type]


def test_a_usual_build_is_short() -> None:
    assert DOCKER.build(build()) == "docker build -t t:1 /c"
    assert DOCKER.build(build(), buildkit=True) == "DOCKER_BUILDKIT=1 docker build -t t:1 /c"
    assert DockerCommands("podman").build(build()) == "podman build -t t:1 /c"


def test_a_build_has_all_that_was_asked_for() -> None:
    request = build(
        dockerfile="/c/dev Dockerfile",
        args={"A": "b c"},
        target="t",
        network="host",
        platform="linux/arm64",
        pull=True,
        secrets=(BuildSecret(name="token", env="TOKEN"), BuildSecret(name="key", file="/k/key.pem")),
        ssh=("default",),
        cache_from=("a", "type=gha"),
        cache_to=("type=inline",),
        builder="b",
        contexts={"lib": "/lib"},
        labels={"l": "1"},
        extra_hosts=(("db", "10.0.0.1"),),
        shm_bytes=5,
    )
    assert shlex.split(DOCKER.build(request, builder="buildx build --load"))[4:] == [
        *("-t", "t:1", "-f", "/c/dev Dockerfile", "--build-arg", "A=b c", "--target", "t", "--network", "host"),
        *("--platform", "linux/arm64", "--label", "l=1", "--add-host", "db:10.0.0.1", "--shm-size", "5"),
        *("--secret", "id=token,env=TOKEN", "--secret", "id=key,src=/k/key.pem", "--ssh", "default"),
        *("--cache-from", "a", "--cache-from", "type=gha", "--cache-to", "type=inline"),
        *("--build-context", "lib=/lib", "--builder", "b", "--pull", "/c"),
    ]


def test_a_dockerfile_of_a_declaration_stands_behind_its_build() -> None:
    expected = "docker build -t t:1 -f - /c <<'END-OF-DOCKERFILE'\nFROM x\nRUN $y\nEND-OF-DOCKERFILE"
    assert DOCKER.build(build(inline="FROM x\nRUN $y\n")) == expected


def test_a_container_has_all_that_it_was_given_and_hidden_variables_by_name() -> None:
    request = ContainerRequest(
        name="",
        image="app:1",
        labels={},
        env={"A": "b c", "PASSWORD": "s3cr3t"},
        binds={"/here/a.conf": "/etc/a.conf:ro"},
        command=("serve", "--all now"),
        entrypoint=("/run", "-x"),
        memory_bytes=64 << 20,
        shm_bytes=(1 << 20) + 1,
        cpus=0.5,
        pids=9,
        cap_drop=("ALL",),
        cap_add=("KILL",),
        settings=ContainerSettings(user="app", working_dir="/w", read_only=True, tmpfs=(("/t", "size=1m"),)),
    )
    found = DOCKER.run(request, {"PASSWORD"})
    assert shlex.split(found)[4:] == [
        *("-e", "A=b c", "-e", "PASSWORD", "-v", "/here/a.conf:/etc/a.conf:ro", "--tmpfs", "/t:size=1m"),
        *("--cap-drop", "ALL", "--cap-add", "KILL", "--security-opt", "no-new-privileges", "--memory", "64m"),
        *("--shm-size", "1048577", "--cpus", "0.5", "--pids-limit", "9", "--user", "app", "--workdir", "/w"),
        *("--read-only", "--entrypoint", "/run", "app:1", "-x", "serve", "--all now"),
    ]
    assert "s3cr3t" not in found
