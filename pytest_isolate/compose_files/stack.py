"""Declared stack of Compose files: the story of this package, from a user's wishes to services with layers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from msgspec import Struct

from pytest_isolate.compose_files.context import ServiceContext, copies_of
from pytest_isolate.compose_files.findings import Findings
from pytest_isolate.compose_files.health import find_finite, needed_names
from pytest_isolate.compose_files.host import Host, Request
from pytest_isolate.compose_files.nodes import Node, NodeError, text_of, words_of
from pytest_isolate.compose_files.project import Project, load_project
from pytest_isolate.compose_files.rights import PERMISSIONS
from pytest_isolate.compose_files.translate import translate_service
from pytest_isolate.compose_files.variables import PROFILES
from pytest_isolate.declarations.keys import STACK_KEYS
from pytest_isolate.declarations.members import member_name
from pytest_isolate.errors import DeclarationError, Problem, suggest
from pytest_isolate.model.declaration import COMPOSE_OPTIONS, Layer, RawCompose, RawService, RawStack
from pytest_isolate.model.host_path import folder_of, join_path
from pytest_isolate.model.probes import Ports, Tcp

_UNSUPPORTED = ("error", "warn")


class Composed(Struct, frozen=True, kw_only=True):
    """Stack of Compose files, which holds what is wrong about them, and what only deserves a warning."""

    stack: RawStack
    warnings: tuple[Problem, ...] = ()


def compose_stack(raw: RawCompose, host: Host) -> Composed:
    """Build the stack that files declare. All that is wrong with them is told, and left out of it."""
    findings = Findings()
    try:
        request = _read_request(raw)
    except DeclarationError as error:
        return Composed(stack=RawStack({}, {}, raw.location, error.problems))
    project = load_project(request, host, findings)
    services = _choose(project, request, findings)
    members = _translate(project, services, request, host, findings)
    every = project.section("services")
    problems = [_unknown(raw, "services", name, [*every]) for name in request.services if name not in every]
    problems += findings.wrong
    unsupported = findings.unsupported(len(services))
    members = _change(members, raw, problems)
    if not members and not problems and not unsupported:
        problems.append(_no_service(raw, every))
    is_lenient = raw.options.get("unsupported") == "warn"
    options = {key: raw.options[key] for key in STACK_KEYS if key in raw.options}
    problems += () if is_lenient else unsupported
    return Composed(
        stack=RawStack(members=members, options=options, location=raw.location, problems=tuple(problems)),
        warnings=(*(unsupported if is_lenient else ()), *findings.notes),
    )


def _no_service(raw: RawCompose, every: Mapping[str, Node]) -> Problem:
    """Tell why there is no service to start."""
    if not every:
        return _problem(raw, "", "there is no service in these files", "services: NAME: ...")
    profiles = [f"{name} ({', '.join(words_of(p))})" for name, s in every.items() if (p := s.get("profiles"))]
    if not profiles:
        return _problem(raw, "", "no service of these files has any copies: scale or replicas is 0")
    return _problem(
        raw, "profiles", "every service of these files is in a profile that is not chosen", ", ".join(profiles)
    )


def _translate(
    project: Project, services: Mapping[str, Node], request: Request, host: Host, findings: Findings
) -> dict[str, RawService]:
    builds = _find_builds(project.section("services"))
    members: dict[str, RawService] = {}
    finite: frozenset[str] = frozenset()
    with findings.collecting():
        finite = find_finite(services)
    for name, node in services.items():
        around = ServiceContext(
            name=name,
            node=node,
            project=project,
            services=services,
            builds=builds,
            host=host,
            findings=findings,
            allowed=frozenset(request.allowed),
        )
        if member_name(name) in members:
            findings.add(
                NodeError(node, f"{name!r} and another service would both be {member_name(name)!r} in the stack")
            )
        with findings.collecting():
            members[member_name(name)] = translate_service(around, is_finite=name in finite)
    return members


def _choose(project: Project, request: Request, findings: Findings) -> dict[str, Node]:
    """Choose the services that are wanted: those that the profiles leave, or the named ones and what they need."""
    every = project.section("services")
    # As with the command of Docker Compose, what is asked for wins over the variable.
    profiles = request.profiles or tuple(filter(None, (project.variables.get(PROFILES) or "").split(",")))
    active = {n: s for n, s in every.items() if n in request.services or _is_active(s, profiles, findings)}
    if not request.services:
        return active
    wanted: dict[str, None] = {}
    asked = [*request.services]
    while asked:
        name = asked.pop()
        if name in active and name not in wanted:
            wanted[name] = None
            with findings.collecting():
                asked += needed_names(active[name])
    return {name: node for name, node in active.items() if name in wanted}


def _is_active(service: Node, profiles: tuple[str, ...], findings: Findings) -> bool:
    """Return true if a service has no profile, or a chosen one, and at least one copy."""
    with findings.collecting():
        if copies_of(service) == 0:
            return False
        own = service.get("profiles")
        return own is None or not words_of(own) or bool({"*", *words_of(own)} & set(profiles))
    return False


def _find_builds(services: Mapping[str, Node]) -> dict[str, Node]:
    """Find how images are built that more than one service may name."""
    found = {}
    for service in services.values():
        build, image = service.get("build"), service.get("image")
        if build is not None and image is not None and isinstance(image.value, str):
            found[text_of(image)] = build
    return found


def _change(members: dict[str, RawService], raw: RawCompose, problems: list[Problem]) -> dict[str, RawService]:
    """Put the user's changes on top of what the files say, whose lines are still told for all the rest."""
    changes = raw.options.get("changes", {})
    assert isinstance(changes, Mapping)
    changed = dict(members)
    for name, values in changes.items():
        member = member_name(name)
        if member not in members:
            problems.append(_unknown(raw, f"changes.{name}", name, [*members]))
        elif not isinstance(values, Mapping):
            problems.append(
                _problem(raw, f"changes.{name}", f"{values!r} does not say what changes", "a table of keys")
            )
        else:
            before = members[member]
            own = _without_port_probes(before) if {"port", "ports"} & values.keys() else ()
            layers = (*before.layers, *own, Layer(values=values, location=raw.location), before.layers[-1])
            changed[member] = RawService(layers=layers)
    return changed


def _without_port_probes(service: RawService) -> tuple[Layer, ...]:
    """Leave a service's own check, where the user names other ports than those that the file has it asked at."""
    for layer in reversed(service.layers):
        probes = layer.values.get("ready")
        if isinstance(probes, list):
            kept = [probe for probe in probes if not isinstance(probe, (Ports, Tcp))]
            return (Layer(values={"ready": kept or None}, location=layer.location),)
    return ()


def _read_request(raw: RawCompose) -> Request:
    """Check the wishes of a user; DeclarationError with everything that is wrong."""
    options, problems = raw.options, []
    for key in options:
        if key not in COMPOSE_OPTIONS:
            reason = f"unknown key {key!r}{suggest(key, COMPOSE_OPTIONS)}"
            problems.append(_problem(raw, key, reason, ", ".join(COMPOSE_OPTIONS)))
    for key in ("env", "changes"):
        if not isinstance(options.get(key, {}), Mapping):
            problems.append(_problem(raw, key, f"{options[key]!r} is not a table", "a table"))
    lists = {key: _as_words(options.get(key, ())) for key in ("profiles", "services", "env_file", "allow")}
    lists["files"] = _as_words(raw.files)
    for key, words in lists.items():
        if words is None:
            problems.append(
                _problem(raw, key, f"{options.get(key, raw.files)!r} is not a list of texts", "a list of texts")
            )
    for word in lists["allow"] or ():
        if word not in PERMISSIONS:
            reason = f"{word!r} is not a permission{suggest(word, PERMISSIONS)}"
            problems.append(_problem(raw, "allow", reason, ", ".join(PERMISSIONS)))
    if options.get("unsupported", "error") not in _UNSUPPORTED:
        valid = ", ".join(_UNSUPPORTED)
        problems.append(_problem(raw, "unsupported", f"{options['unsupported']!r} is not a way to take it", valid))
    if not raw.files:
        problems.append(_problem(raw, "files", "names no file", "such as 'compose.yaml'"))
    if problems:
        raise DeclarationError(problems)
    folder = folder_of(raw.location.file)
    files, env_files = (_absolute(lists[key] or (), folder) for key in ("files", "env_file"))
    return Request(
        files=files,
        env=_as_env(options.get("env", {})),
        env_files=env_files if "env_file" in options else None,
        profiles=lists["profiles"] or (),
        services=lists["services"] or (),
        allowed=lists["allow"] or (),
    )


def _as_words(value: object) -> tuple[str, ...] | None:
    """Return texts, of which one may stand by itself; None for anything else. Paths are taken for texts."""
    words = (value,) if isinstance(value, (str, PurePath)) else value
    return tuple(map(str, words)) if isinstance(words, (list, tuple)) else None


def _absolute(files: tuple[str, ...], folder: str) -> tuple[str, ...]:
    return tuple(join_path(folder, file) for file in files)


def _as_env(value: object) -> dict[str, str]:
    assert isinstance(value, Mapping)
    return {str(k): str(v).lower() if isinstance(v, bool) else str(v) for k, v in value.items() if v is not None}


def _unknown(raw: RawCompose, key: str, name: str, names: list[str]) -> Problem:
    return _problem(raw, key, f"there is no service {name!r}{suggest(name, names)}", ", ".join(names))


def _problem(raw: RawCompose, key: str, reason: str, valid: str = "") -> Problem:
    return Problem(place=str(raw.location), subject=f"compose.{key}" if key else "compose", reason=reason, valid=valid)
