"""Our own Compose files, one for each kind of form, are read as Docker Compose reads them."""

from __future__ import annotations

import os
from pathlib import Path
from subprocess import CalledProcessError

import pytest

from compose_corpus.__main__ import describe, find_command
from compose_corpus.facts import Facts
from compose_corpus.reading import Reading, compare, read_both

FILES = sorted((Path(__file__).parent / "files").glob("*.yaml"))
NEEDING_THE_HOST = ("host",)


@pytest.fixture(scope="session")
def command() -> str:
    try:
        return find_command()
    except CalledProcessError:
        if os.environ.get("ISOLATE_REQUIRE_COMPOSE") == "1":
            raise
        pytest.skip("needs Docker Compose 2, or a mirror of Debian to fetch it from")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_means_what_docker_compose_says(file: Path, command: str) -> None:
    reading = read_both(file, command)

    assert reading.refused == ""
    assert reading.problems == []
    assert reading.differences == []
    assert bool(reading.permissions) == (file.stem in NEEDING_THE_HOST)


def test_a_difference_is_found() -> None:
    theirs: dict[str, Facts] = {"web": {"user": "app", "env": {"A": "511"}}, "db": {"user": ""}}
    ours: dict[str, Facts] = {"web": {"user": "app", "env": {"A": "0777"}}, "mail": {"user": ""}}
    assert compare(theirs, ours) == [
        "db: only Docker Compose has it",
        "mail: only this plugin has it",
        "web.env: Docker Compose {'A': '511'}, here {'A': '0777'}",
    ]


def test_the_table_counts_files_and_tells_reasons() -> None:
    file = Path("/p/compose.yaml")
    readings = [
        Reading(file=file),
        Reading(file=file, refused="no"),
        Reading(file=file, problems=["/p/compose.yaml:3: services.web.models: cannot be honoured: no\n  do     x"]),
        Reading(file=file, permissions=['x: y: z\n  do     allow=["privileged"]'], differences=["web.env: differs"]),
    ]
    assert list(describe("title", readings)) == [
        "title",
        "  files                     4",
        "  Docker Compose takes      3",
        "  plan                      1",
        "  need a permission         1",
        "  are refused               1",
        "  differ                    1",
        "  plan of the rest        50.0%",
        "      1  services.*.models: cannot be honoured: no",
        "  differs /p/compose.yaml: web.env: differs",
    ]
