"""Compose files in memory, and what becomes of them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_isolate.compose_files.stack import Composed, compose_stack
from pytest_isolate.declarations.loading import load
from pytest_isolate.errors import Problem
from pytest_isolate.model.declaration import Declared, RawCompose
from pytest_isolate.model.location import Location
from pytest_isolate.model.service import ServiceSpec

CONFTEST = Location(file="/p/conftest.py", line=3)


@dataclass
class Machine:
    """A host with a few files, folders (a path that ends with /) and sockets."""

    files: dict[str, str]
    environ: Mapping[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()

    def read_text(self, path: str) -> str:
        if path not in self.files:
            raise FileNotFoundError(2, "No such file or directory")
        return self.files[path]

    def kind_of(self, path: str) -> str:
        if path in self.others:
            return "other"
        if path in self.closed:
            return "closed"
        if path in self.files:
            return "file"
        return "folder" if any(name.startswith(f"{path}/") for name in self.files) else ""


def compose(text: str = "", *names: str, files: Mapping[str, str] | None = None, **options: object) -> Composed:
    """What becomes of /p/compose.yaml, or of the files of these names."""
    environ = options.pop("environ", {})
    others, closed = options.pop("others", ()), options.pop("closed", ())
    every = {"/p/compose.yaml": text, **{f"/p/{name}": t for name, t in (files or {}).items()}}
    machine = Machine({name: textwrap.dedent(t) for name, t in every.items()}, environ, others, closed)  # type: ignore[arg-type]
    return compose_stack(RawCompose(names or ("compose.yaml",), options, CONFTEST), machine)


def told(problems: tuple[Problem, ...]) -> list[str]:
    return [f"{p.place.removeprefix('/p/')}: {p.subject}: {p.reason}" for p in problems]


def wrong(text: str = "", *names: str, **options: object) -> list[str]:
    """Everything that is refused, with its place."""
    return told(compose(text, *names, **options).stack.problems)  # type: ignore[arg-type]


def specs(text: str = "", *names: str, **options: object) -> dict[str, ServiceSpec]:
    """The checked services, of files in which nothing is wrong."""
    composed = compose(text, *names, **options)  # type: ignore[arg-type]
    assert told(composed.stack.problems) == []
    catalogue = load([Declared("shop", "", composed.stack)], exists=lambda _: True)
    return {service.name: spec for service, spec in catalogue.services.items()}


def one(keys: str, rest: str = "", **options: object) -> ServiceSpec:
    """The service with these keys, beside what else the file holds."""
    return specs(_file(keys, rest), **options)["web"]


def refusals(keys: str, rest: str = "", **options: object) -> list[str]:
    """What is refused of a service with these keys."""
    return wrong(_file(keys, rest), **options)


def notes(keys: str, rest: str = "", **options: object) -> list[str]:
    """What is noted about a service with these keys."""
    return told(compose(_file(keys, rest), **options).warnings)  # type: ignore[arg-type]


def _file(keys: str, rest: str) -> str:
    keys = textwrap.indent(textwrap.dedent(keys).strip("\n"), "    ")
    image = "" if "image:" in keys or "build:" in keys else "    image: i\n"
    return f"services:\n  web:\n{keys}\n{image}{textwrap.dedent(rest)}"
