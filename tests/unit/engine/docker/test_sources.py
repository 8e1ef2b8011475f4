"""What is sent to a builder that is not BuildKit."""

from __future__ import annotations

import tarfile
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest

from pytest_isolate.engine.api import BuildRequest
from pytest_isolate.engine.docker.image_api import load_sdk


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("Dockerfile", "dev.Dockerfile", "a", "b"):
        (tmp_path / name).write_text(name)
    (tmp_path / ".dockerignore").write_text("a\n")
    return tmp_path


def sent(folder: Path, name: str = "Dockerfile", **given: Any) -> tuple[str, dict[str, str]]:
    """The Dockerfile's name, and the files that are sent."""
    request = BuildRequest(tag="t", context=str(folder), dockerfile=f"{folder}/{name}", **given)
    with TemporaryFile() as archive:
        dockerfile = load_sdk()._write_context(request, "it failed", archive)
        archive.seek(0)
        with tarfile.open(fileobj=archive) as tar:
            files = [(entry.name, tar.extractfile(entry)) for entry in tar if entry.isfile()]
            return dockerfile, {path: content.read().decode() for path, content in files if content}


def test_a_folder_with_the_dockerfile_in_it(folder: Path) -> None:
    dockerfile, files = sent(folder, "dev.Dockerfile")
    assert dockerfile == "dev.Dockerfile"
    assert sorted(files) == [".dockerignore", "Dockerfile", "b", "dev.Dockerfile"]


def test_a_dockerfile_of_the_declaration_goes_under_a_name_of_its_own(folder: Path) -> None:
    dockerfile, files = sent(folder, inline="FROM x")
    assert files[dockerfile] == "FROM x"
    assert files["Dockerfile"] == "Dockerfile"
    assert "a" not in files


def test_an_ignore_file_of_the_dockerfile_takes_the_place_of_the_other(folder: Path) -> None:
    (folder / "dev.Dockerfile.dockerignore").write_text("# mine\nb\n")
    dockerfile, files = sent(folder, "dev.Dockerfile")
    assert dockerfile == "dev.Dockerfile"
    assert files[".dockerignore"] == "# mine\nb\n"
    assert "a" in files
    assert "b" not in files
