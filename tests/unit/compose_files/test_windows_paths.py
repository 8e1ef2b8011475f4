"""Compose files that lie on a host with Windows."""

from __future__ import annotations

import textwrap

import pytest

from pytest_isolate.compose_files.stack import Composed, compose_stack
from pytest_isolate.declarations.loading import load
from pytest_isolate.model.declaration import Declared, RawCompose
from pytest_isolate.model.location import Location
from unit.composing import Machine, told


def on_windows(text: str, *files: str, **options: object) -> Composed:
    machine = Machine(
        {"C:/p/compose.yaml": textwrap.dedent(text), **dict.fromkeys(files, "x")}, {"USERPROFILE": "C:\\me"}
    )
    raw = RawCompose(("compose.yaml",), options, Location(file="C:\\p\\conftest.py", line=3))
    return compose_stack(raw, machine)


def test_paths_of_windows_are_paths_of_the_host() -> None:
    composed = on_windows(
        """
        services:
          web:
            build: .
            volumes:
              - C:\\data\\conf:/conf:ro
              - D:/more:/more
              - .\\own:/own
              - ~/mine:/mine
              - data:/data
              - {type: bind, source: ..\\up, target: /up}
        volumes: {data: {}}
        """,
        *("C:/data/conf", "D:/more", "C:/p/own", "C:/me/mine", "C:/up", "C:/p/Dockerfile"),
    )
    assert told(composed.stack.problems) == []
    catalogue = load([Declared("shop", "", composed.stack)], exists=lambda _: True)
    (web,) = catalogue.services.values()

    assert dict(web.volumes) == {
        "C:/data/conf": "/conf:ro",
        "D:/more": "/more",
        "C:/p/own": "/own",
        "C:/me/mine": "/mine",
        "data": "/data",
        "C:/up": "/up",
    }
    assert "C:/p" in str(web.build.context).replace("\\", "/") if web.build else False


@pytest.mark.parametrize("path", ["C:/", "C:\\Windows\\System32", "C:/Program Files/x"])
def test_what_belongs_to_windows_needs_a_permission(path: str) -> None:
    text = f"services: {{web: {{image: a, volumes: [{{type: bind, source: '{path}', target: /x}}]}}}}"
    (refused,) = told(on_windows(text).stack.problems)

    assert "is the host's own, and containers are kept apart from it" in refused
