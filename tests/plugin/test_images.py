"""`pytest-isolate images`, as far as it asks pytest: which images the selected tests need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes.programs import IMAGE

from plugin.conftest import WEB, Project
from plugin.test_command import run
from pytest_isolate.cli.pytest_process import ask_pytest
from pytest_isolate.sharing.command import IMAGES

MANY = WEB + (
    "built = service(build='context', command=forever())\n"
    "far = service(PULLABLE, command=forever())\n"
    "hr = stack(web=web, built=built)\n"
    "plain = service(IMAGE, command=forever())\n"
)


@pytest.fixture(autouse=True)
def _without_others(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What else is installed costs a second for each pytest that the command starts."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:anyio -p no:hypothesispytest -p no:cacheprovider")
    (project.path / "context").mkdir()
    (project.path / "context" / "Dockerfile").write_text(f"FROM {IMAGE}\n")


def needed(*args: str) -> dict[str, Any]:
    """What pytest answers, by the images' first names."""
    answers: list[dict[str, Any]] = []
    asked = ask_pytest(IMAGES, (), ("--isolate-plan", *args), answers.append)
    assert asked.exit_code in (0, 5), asked.output
    assert [a["kind"] for a in answers if a["kind"] == "done"] == ["done"]
    return {answer["names"][0]: answer for answer in answers if answer["kind"] == "image"}


def test_images_of_the_selected_tests_are_told_once_each(project: Project) -> None:
    project.conftest(MANY)
    project.tests("def test_a(web, hr): pass\ndef test_b(far): pass\ndef test_c(): pass")
    everything = needed()
    assert everything[IMAGE]["services"] == ["web", "hr.web"]
    (built,) = (name for name in everything if name.startswith("pytest-isolate/context:"))
    assert everything[built]["services"] == ["hr.built"]
    (origin,) = everything[built]["origins"]
    assert len(origin["sources"]) == 64
    assert origin["bases"] == {IMAGE: everything[IMAGE]["image_id"]}
    assert set(needed("-k", "test_b")) == {"registry.invalid/pullable:1"}
    assert needed("-k", "test_c") == {}
    assert project.journal.calls("create_container") == []


def test_what_is_missing_is_pulled_and_built(project: Project) -> None:
    project.conftest(MANY)
    project.tests("def test_it(far, built): pass")
    assert len(needed()) == 2
    assert len(project.journal.calls("pull_image")) == len(project.journal.calls("build_image")) == 1


def test_images_of_every_variant_and_override_are_told(project: Project) -> None:
    project.conftest(MANY)
    project.tests(
        """
        either = variants(plain=[{"image": IMAGE}, {"image": PULLABLE}])
        def test_either(plain): pass

        @override(web={"image": PULLABLE})
        def test_web(web): pass
        """
    )
    everything = needed()
    assert set(everything) == {IMAGE, "registry.invalid/pullable:1"}
    assert everything["registry.invalid/pullable:1"]["services"] == ["plain", "web"]


def test_one_worker_of_xdist_tells_for_all(project: Project) -> None:
    pytest.importorskip("xdist")
    project.conftest(MANY)
    project.tests("def test_it(web): pass")
    assert set(needed("-n2")) == {IMAGE}


def test_an_image_that_cannot_be_had_ends_the_command(project: Project, tmp_path: Path) -> None:
    project.conftest("gone = service('registry.invalid/gone:1')")
    project.tests("def test_it(gone): pass")
    result = run("images", "save", str(tmp_path / "stock"))
    assert result.exit_code == 1
    assert "image registry.invalid/gone:1 could not be pulled" in result.stderr
    assert not (tmp_path / "stock").exists()


def test_a_wrong_declaration_ends_the_command_as_it_ends_a_run(project: Project, tmp_path: Path) -> None:
    project.conftest("web = service(IMAGE, prot=8000)")
    project.tests("def test_it(web): pass")
    result = run("images", "save", str(tmp_path / "stock"))
    assert result.exit_code == 4
    assert "unknown key 'prot', did you mean 'port'?" in result.stderr


@pytest.mark.parametrize("command", ["load", "list"])
def test_nothing_saved_is_an_error(tmp_path: Path, command: str) -> None:
    result = run("images", command, str(tmp_path / "stock"))
    assert result.exit_code == 1
    assert f"no images were saved in {tmp_path}/stock" in result.stderr
    assert "found  there is no such folder" in result.stderr


def test_nothing_saved_is_no_error_where_that_may_be(tmp_path: Path) -> None:
    result = run("images", "load", str(tmp_path), "--missing-ok")
    assert (result.exit_code, result.stdout) == (0, f"no images in {tmp_path}\n")
    assert json.loads(run("images", "load", str(tmp_path), "--missing-ok", "--json").stdout) == []
