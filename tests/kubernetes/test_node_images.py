"""Images of this machine's Docker on clusters of kind and k3d: whole runs with programs of these names that take notes.

Neither can run here. The nodes of the fake cluster have the images of the local Docker, so that a run shows all but the
loading itself; tests/kubernetes/on_kind shows that, in the workflow.
"""

from __future__ import annotations

import secrets
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from fakes.programs import IMAGE
from waiting import wait_for

from kubernetes.calling import Api
from kubernetes.fake.handle import FakeCluster
from kubernetes.projects import GET, Project

pytestmark = [pytest.mark.engine, pytest.mark.linux]

# Fails as the real ones do where Docker has no such image.
PROGRAM = """#!{python}
import sys
import docker
with open({notes!r}, "a") as file:
    print(*sys.argv[1:], file=file)
image = sys.argv[3]
try:
    docker.APIClient().inspect_image(image)
except docker.errors.ImageNotFound:
    sys.exit(f'ERROR: image: "{{image}}" not present locally')
{more}
"""
# Its program is the image's own, which only the local Docker tells.
BUILT = "web = service(build={'context': 'loaded-image'}, port=8000, ready=http('/'))"
TEST = "def test_it(web): assert get(web) == 'built'"

Install = Callable[..., Path]


@pytest.fixture
def install(project: Project, fake_cluster: FakeCluster, tmp_path: Path) -> Install:
    """A function that lets the cluster be called one of kind's or k3d's; it returns the notes of that program."""

    def make(name: str, more: str = "") -> Path:
        config = yaml.safe_load(fake_cluster.kubeconfig.read_text())
        config["contexts"][0]["name"] = config["current-context"] = f"{name}-my-tests"
        kubeconfig, notes, folder = tmp_path / "kubeconfig", tmp_path / "notes", tmp_path / "bin"
        kubeconfig.write_text(yaml.safe_dump(config))
        folder.mkdir()
        notes.touch()
        program = folder / name
        program.write_text(PROGRAM.format(python=sys.executable, notes=str(notes), more=more))
        program.chmod(0o755)
        project.env |= {"KUBECONFIG": str(kubeconfig), "PATH": f"{folder}:/usr/bin:/bin"}
        return notes

    return make


@pytest.fixture
def dockerfile(project: Project, docker_client: Any) -> Iterator[None]:
    """A project with an image to build, whose program serves."""
    context = project.path / "loaded-image"
    context.mkdir()
    from fakes.programs import program

    words = ", ".join(f'"{word}"' for word in ("sh", "/serve"))
    (context / "serve").write_text(f"exec {shlex.join(program('serve 8000 built'))}\n")
    label = f"pytest-isolate-test={secrets.token_hex(8)}"  # else tests that run beside this one have the same image
    (context / "Dockerfile").write_text(f"FROM {IMAGE}\nLABEL {label}\nCOPY serve /serve\nENTRYPOINT [{words}]\n")
    yield

    def remove() -> bool:
        with suppress(docker.errors.APIError):  # its Pod is still on its way out
            for found in docker_client.images(filters={"label": label}):
                docker_client.remove_image(found["Id"], force=True)
        return not docker_client.images(filters={"label": label})

    wait_for(remove)


@pytest.mark.usefixtures("dockerfile")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("kind", r"load docker-image {image} --name my-tests"),
        ("k3d", r"image import {image} --cluster my-tests"),
    ],
)
def test_an_image_that_is_built_is_loaded_into_the_nodes(
    project: Project, install: Install, api: Api, name: str, words: str
) -> None:
    notes = install(name)
    project.write("conftest.py", BUILT)
    project.write("test_it.py", "def test_it(web): pass")
    assert project.command("up").returncode == 0
    (loaded,) = notes.read_text().splitlines()
    (pod,) = api.get("pods")["items"]
    assert project.command("down").returncode == 0
    container = pod["spec"]["containers"][0]
    assert container["image"].startswith("pytest-isolate/loaded-image:")
    assert container["imagePullPolicy"] == "Never"
    assert loaded == words.format(image=container["image"])


def test_an_image_that_no_registry_has_is_loaded_from_the_local_docker(
    project: Project, install: Install, docker_client: Any, registry: str
) -> None:
    notes, name = install("kind"), f"{registry}/only-here"
    docker_client.tag(IMAGE, name, "1")
    try:
        project.write("conftest.py", f"web = service('{name}:1', command=['sleep', 'infinity'])")
        project.write("test_it.py", "def test_it(web): assert web.exec('true').exit_code == 0")
        assert "1 passed" in project.run().stdout
    finally:
        docker_client.remove_image(f"{name}:1")
    assert notes.read_text() == f"load docker-image {name}:1 --name my-tests\n"


@pytest.mark.usefixtures("dockerfile")
def test_what_the_program_says_is_told_where_it_fails(project: Project, install: Install) -> None:
    install("kind", 'sys.exit("ERROR: no nodes found for cluster \\"my-tests\\"")')
    project.write("conftest.py", BUILT)
    project.write("test_it.py", GET, TEST)
    result = project.run()
    assert result.returncode == pytest.ExitCode.TESTS_FAILED
    assert "Traceback" not in result.stdout
    for text in (
        "could not be loaded into the nodes of kind cluster 'my-tests'",
        "  tried  ",
        "/kind load docker-image pytest-isolate/loaded-image:",
        "  found  it ended with code 1; its last lines:",
        'ERROR: no nodes found for cluster "my-tests"',
        "  do     run it by hand, or push to a registry that the nodes reach: --isolate-push=REGISTRY",
    ):
        assert text in result.stdout


@pytest.mark.usefixtures("dockerfile")
def test_without_the_program_nothing_is_built(project: Project, install: Install) -> None:
    install("kind")
    project.env["PATH"] = "/usr/bin:/bin"
    project.write("conftest.py", BUILT)
    project.write("test_it.py", GET, TEST)
    assert "build: it cannot build images" in project.run().stdout
