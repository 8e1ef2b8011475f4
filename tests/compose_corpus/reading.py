"""One Compose file, read by both."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from pytest_isolate.compose_files.rights import PERMISSIONS
from pytest_isolate.compose_files.stack import compose_stack
from pytest_isolate.declarations.loading import load
from pytest_isolate.errors import DeclarationError
from pytest_isolate.model.declaration import Declared, RawCompose, RawService
from pytest_isolate.model.location import Location
from pytest_isolate.plugin.declaring.compose import LocalHost

from .facts import Facts, compose_facts, our_facts

# Both see the same few variables, so that a file means the same on every machine.
_ENVIRON = {"HOME": "/root", "PATH": os.environ.get("PATH", "")}
_TIMEOUT_S = 60


class Reading(Struct, kw_only=True):
    """What became of a file. Without `refused` Docker Compose takes it; `problems` are ours, and `permissions` those
    of them that only a permission is missing for."""

    file: Path
    refused: str = ""
    problems: list[str] = []
    permissions: list[str] = []
    differences: list[str] = []

    @property
    def plans(self) -> bool:
        """True if the file needs neither unsupported="warn" nor a permission."""
        return not self.problems and not self.permissions


class _Host(LocalHost):
    """This machine, with an environment of a few variables."""

    @property
    def environ(self) -> Mapping[str, str]:
        return _ENVIRON


def read_both(file: Path, command: str) -> Reading:
    """Read a file with Docker Compose and with this plugin, and compare."""
    theirs = _ask_compose(file, command)
    if isinstance(theirs, str):
        return Reading(file=file, refused=theirs)
    problems, _ = _read_ours(file)
    permissions = [p for p in problems if "allow=[" in p]
    _, ours = _read_ours(file, unsupported="warn", **({"allow": list(PERMISSIONS)} if permissions else {}))
    return Reading(
        file=file,
        problems=[p for p in problems if p not in permissions],
        permissions=permissions,
        differences=[] if ours is None or problems != permissions else compare(theirs, ours),
    )


def compare(theirs: Mapping[str, Facts], ours: Mapping[str, Facts]) -> list[str]:
    """Every fact that differs, as text."""
    found = [f"{name}: only Docker Compose has it" for name in theirs if name not in ours]
    found += [f"{name}: only this plugin has it" for name in ours if name not in theirs]
    for name, facts in theirs.items():
        for fact, value in facts.items():
            own = ours.get(name, facts)[fact]
            if fact == "health" and (facts["ends"] or value == "none"):
                continue  # what has to end is asked for its end, and a disabled check gives way to the ports
            if fact == "aliases" and set(value) <= set(own):  # type: ignore[call-overload]
                continue  # links of others add names
            if fact == "ports" and set(value) <= set(own):  # type: ignore[call-overload]
                continue  # the port of a known server is added
            if fact == "needs" and set(value) <= set(own):  # type: ignore[call-overload]
                continue
            if own != value:
                found.append(f"{name}.{fact}: Docker Compose {value!r}, here {own!r}")
    return found


def _ask_compose(file: Path, command: str) -> dict[str, Facts] | str:
    argv = [*shlex.split(command), "-f", str(file), "config", "--format", "json"]
    done = subprocess.run(
        argv, check=False, cwd=file.parent, capture_output=True, text=True, env=_ENVIRON, timeout=_TIMEOUT_S
    )
    if done.returncode:
        return done.stderr.strip() or f"exit code {done.returncode}"
    return compose_facts(json.loads(done.stdout))


def _read_ours(file: Path, **options: object) -> tuple[list[str], dict[str, Facts] | None]:
    raw = RawCompose((str(file),), options, Location(file=str(file.parent / "conftest.py"), line=1))
    stack = compose_stack(raw, _Host()).stack
    if stack.problems:
        return [str(problem) for problem in stack.problems], None
    names = {member: _name_in_file(service, member) for member, service in stack.members.items()}
    try:
        catalogue = load([Declared("stack", "", stack)], exists=os.path.exists)
    except DeclarationError as error:
        return [str(problem) for problem in error.problems], None
    specs = {service.name: spec for service, spec in catalogue.services.items()}
    return [], {names[name]: our_facts(spec, names.__getitem__) for name, spec in specs.items()}


def _name_in_file(service: object, member: str) -> str:
    """The first alias is the name that the file has for a service."""
    assert isinstance(service, RawService)
    for layer in service.layers:
        container = layer.values.get("container")
        if isinstance(container, Mapping) and container.get("aliases"):
            return str(container["aliases"][0])
    return member
