"""Images that go to another machine in a folder: loaded there, they are neither built nor pulled."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
import pytest
from fakes.programs import IMAGE

from engine.conftest import Project
from engine.test_command import Shell
from pytest_isolate.engine.api import BuildRequest, Engine

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.usefixtures("base_image")]

DECLARED = """
from fakes.programs import program
from pytest_isolate import *

web = service(build="image", command=program("read /said", "serve 8000 hello"), port=8000, ready=http("/"))
db = service(postgres(
    image="{pulled}", command=program("once /srv/postgresql/data/made", "serve 5432"), ready=http("/")
))
"""
TESTS = """
def test_it(web, db):
    print("said", web.logs().strip())
    print("cold" if "made" in db.logs() else "thawed")
    print("images", web.image, db.image)
"""


class Machine:
    """A checkout of the project in a folder of its own, and a user's cache beside it."""

    def __init__(self, project: Project, name: str) -> None:
        self.project = project
        self.folder = project.path / name
        self.shell = Shell(project)
        self.shell.env["XDG_CACHE_HOME"] = self.cache = str(project.path / f"cache of {name}")

    def images(self, *args: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """`pytest-isolate images`, called in the checkout."""
        return self.shell.run("images", *args, code=code, folder=self.folder.name)

    def facts(self, *args: str) -> Any:
        return json.loads(self.images(*args, "--json").stdout)

    def run(self, *args: str) -> pytest.RunResult:
        self.project.env["XDG_CACHE_HOME"] = self.cache
        return self.project.run("-s", f"--rootdir={self.folder}", str(self.folder), *args)

    def snapshots(self) -> list[str]:
        folder = Path(self.cache, "pytest-isolate", "snapshots")
        return [f"pytest-isolate/snapshot:{path.name}" for path in folder.glob("*") if "." not in path.name]


class Images:
    """The images of one test, under names that nobody else has, and with content that nobody else has."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.mark = secrets.token_hex(6)
        self.pulled = f"isolate-test/pulled:{self.mark}"
        self.base = f"isolate-test/base:{self.mark}"
        self.tags = {self.pulled, self.base}

    def ids(self, *tags: str) -> set[str]:
        return {self.client.inspect_image(tag)["Id"] for tag in tags}

    def remove(self) -> None:
        for tag in self.tags:
            with suppress(docker.errors.ImageNotFound):
                self.client.remove_image(tag, force=True)

    def are_gone(self, ids: set[str]) -> bool:
        return not ids & {image["Id"] for image in self.client.images(all=True)}


@pytest.fixture
def images(docker_client: Any, real_engine: Engine, tmp_path: Path) -> Iterator[Images]:
    images = Images(docker_client)
    for tag in images.tags:
        (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nLABEL isolate-test={tag}\nCMD true\n")
        request = BuildRequest(tag=tag, context=str(tmp_path), dockerfile=str(tmp_path / "Dockerfile"))
        real_engine.build_image(request, lambda _: None)
    yield images
    images.remove()


@pytest.fixture
def here(project: Project, images: Images) -> Machine:
    project.write("here/conftest.py", DECLARED.format(pulled=images.pulled))
    project.write("here/test_it.py", TESTS)
    project.write("here/image/Dockerfile", f"FROM {images.base}\nCOPY said /said\n")
    project.write("here/image/said", f"{images.mark}\n")
    return Machine(project, "here")


def images_of(result: pytest.RunResult) -> list[str]:
    return next(line.split()[1:] for line in result.outlines if line.startswith("images "))


def test_a_job_without_a_registry_runs_on_what_another_one_has_saved(
    project: Project, images: Images, here: Machine
) -> None:
    first = here.run()
    first.assert_outcomes(passed=1)
    first.stdout.fnmatch_lines(["*cold*"])
    built, _ = images_of(first)
    (snapshot,) = here.snapshots()
    images.tags |= {built, snapshot}
    ids = images.ids(*images.tags)

    shutil.copytree(here.folder, project.path / "there")
    saved = here.facts("save", "../stock", "-q")
    assert [(one["fate"], one["kind"], one["services"]) for one in saved] == [
        ("saved", "built", ["web"]),
        ("saved", "pulled", ["db"]),
        ("saved", "snapshot", ["db"]),
    ]

    images.remove()
    assert images.are_gone(ids)
    there = Machine(project, "there")
    assert {one["fate"] for one in there.facts("load", "../stock")} == {"loaded"}
    assert {one["fate"] for one in there.facts("load", "../stock")} == {"present"}
    with pytest.raises(docker.errors.ImageNotFound):
        images.ids(images.base)

    second = there.run("--isolate-pull=never")
    built, _ = images_of(second)
    images.tags.add(built)
    second.assert_outcomes(passed=1)
    second.stdout.fnmatch_lines([f"*said {images.mark}", "*thawed*"])
    assert images.ids(*images.tags - {images.base}) < ids

    (there.folder / "image" / "said").write_text("changed")
    third = there.run()
    third.assert_outcomes(errors=1)
    third.stdout.fnmatch_lines(["*could not be built*"])
    assert images.base in third.stdout.str()


def test_a_name_that_another_image_has_stays_with_that(images: Images, here: Machine, docker_client: Any) -> None:
    (here.folder / "test_it.py").write_text("def test_it(db): pass")
    saved = here.images("save", "../stock").stdout
    assert f"saved  pulled  {images.pulled}" in saved
    (own,) = images.ids(images.pulled)
    docker_client.tag(IMAGE, *images.pulled.split(":"), force=True)
    loaded = here.images("load", "../stock").stdout
    assert f"{images.pulled} is another image on this engine, and stays so" in loaded
    assert images.ids(images.pulled) == images.ids(IMAGE) != {own}
