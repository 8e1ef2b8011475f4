"""The recipes in examples/ci: valid for whom they are meant, and their commands do what they are there for."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from docs.pages import DOCS, read_blocks

from recipes.conftest import RECIPES, Machine, Project

WORKFLOW, DIND, SOCKET = (
    RECIPES / name for name in ("github/workflow.yml", "gitlab/dind.gitlab-ci.yml", "gitlab/socket.gitlab-ci.yml")
)
ARC, EXECUTOR = (RECIPES / "kubernetes" / name for name in ("github-arc.yml", "gitlab-ci.yml"))
SCHEMAS = {
    **dict.fromkeys((WORKFLOW, ARC), "vendor.github-workflows"),
    **dict.fromkeys((DIND, SOCKET, EXECUTOR), "vendor.gitlab-ci"),
}
FOLDER = ".isolate-images"


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def workflow_commands(job: str) -> list[str]:
    return [step["run"] for step in load(WORKFLOW)["jobs"][job]["steps"] if "run" in step]


def call_all(machine: Machine, commands: list[str]) -> str:
    """A job's commands, one after the other, as a runner calls them."""
    assert commands
    return "".join(machine.run("bash", "-ec", command) for command in commands)


def carry(one: Machine, other: Machine) -> None:
    """What the CI service's cache does."""
    shutil.copytree(one.path / FOLDER, other.path / FOLDER)


@pytest.mark.parametrize("recipe", SCHEMAS, ids=lambda path: path.name)
def test_recipe_is_valid_for_its_service(recipe: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", SCHEMAS[recipe], str(recipe)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.engine
def test_jobs_of_the_workflow_run_on_what_the_first_of_them_has_saved(project: Project) -> None:
    first = project.clone("first")
    said = call_all(first, workflow_commands("images"))
    assert f"no images in {FOLDER}\n" in said
    assert "saved  built  pytest-isolate/web:" in said
    project.remove_images()
    assert project.images() == []

    second = project.clone("second")
    carry(first, second)
    said = call_all(second, workflow_commands("tests"))
    assert "loaded  built  pytest-isolate/web:" in said
    assert "2 passed" in said
    assert (second.path / "isolate-report.html").exists()
    assert "pulling or building" not in said


def test_steps_between_commands_move_the_folder_that_they_use() -> None:
    jobs = load(WORKFLOW)["jobs"]
    cached = [step["with"]["path"] for job in jobs.values() for step in job["steps"] if "actions/cache" in str(step)]
    assert cached == [FOLDER, FOLDER]
    for job in ("images", "test"):
        assert FOLDER in load(DIND)[job]["cache"]["paths"]
    everything = [*workflow_commands("images"), *workflow_commands("tests"), *load(DIND)["test"]["script"]]
    assert {word for c in everything for word in c.split() if word.startswith(".isolate")} == {FOLDER}


@pytest.mark.engine
def test_jobs_with_an_engine_beside_each_run_on_what_the_first_of_them_has_saved(project: Project) -> None:
    first = project.clone("first")
    assert "saved  built" in call_all(first, load(DIND)["images"]["script"])
    project.remove_images()
    second = project.clone("second")
    carry(first, second)
    said = call_all(second, load(DIND)["test"]["script"])
    assert "loaded  built" in said
    assert "2 passed" in said
    kept = load(DIND)["test"]["artifacts"]
    assert (second.path / kept["reports"]["junit"]).exists()


def test_a_job_with_the_runners_engine_calls_the_same_without_the_folder() -> None:
    with_folder = load(DIND)["test"]["script"]
    assert load(SOCKET)["test"]["script"] == [command for command in with_folder if FOLDER not in command]


@pytest.mark.engine
def test_tox_runs_the_tests_with_services(project: Project) -> None:
    machine = project.clone("one")
    shutil.copy(RECIPES / "tox.ini", machine.path)
    said = machine.run(sys.executable, "-m", "tox", "run", "-e", "services", "--", "-q")
    assert "2 passed" in said
    # In its own environment it has found this user's folder.
    assert (machine.path.parent / "home" / ".cache" / "pytest-isolate").is_dir()


@pytest.mark.engine
def test_nox_runs_the_tests_with_services(project: Project) -> None:
    machine = project.clone("one")
    shutil.copy(RECIPES / "noxfile.py", machine.path)
    assert "2 passed" in machine.run(sys.executable, "-m", "nox", "-s", "services")
    assert "* tests ->" in machine.run(sys.executable, "-m", "nox", "--list")


def test_commands_on_the_page_are_those_of_the_recipes() -> None:
    (shown,) = (block.text for block in read_blocks(DOCS / "ci.md") if block.language == "console")
    commands = [line.removeprefix("$ ").partition("#")[0].strip() for line in shown.splitlines()]
    assert workflow_commands("images")[1:] == load(DIND)["images"]["script"][1:] == commands
    assert (RECIPES / "requirements-test.txt").read_text() in (DOCS / "ci.md").read_text()


def test_every_recipe_is_described() -> None:
    text = (DOCS / "ci.md").read_text() + (RECIPES / "README.md").read_text()
    for path in RECIPES.rglob("*"):
        if path.is_file() and path.name != "README.md":
            assert text.count(str(path.relative_to(RECIPES))) >= 2, path.name
