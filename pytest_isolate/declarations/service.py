"""One raw service, or one stack of them, into the checked one: its layers merged, its keys parsed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import PurePosixPath

from msgspec import Struct
from msgspec.structs import replace

from pytest_isolate.declarations.data import check_port, check_reset
from pytest_isolate.declarations.files import anchor_files, anchor_volumes
from pytest_isolate.declarations.keys import KEYS, LASTING_KEYS, STACK_KEYS, build_spec
from pytest_isolate.declarations.testcontainers import check_module, unfold
from pytest_isolate.declarations.values import InvalidValue, parse_word, unknown_key
from pytest_isolate.errors import Problem, suggest
from pytest_isolate.model.declaration import MODULE, Layer, RawService, RawStack, in_words
from pytest_isolate.model.endpoint import Port
from pytest_isolate.model.location import Location
from pytest_isolate.model.probes import Ended
from pytest_isolate.model.service import File, Module, ServiceSpec, StackSpec, is_host_path, split_mode

_TOGETHER = (("image", "build"), ("port", "ports"))
"""Keys of which a layer replaces all as soon as it sets one."""


class LayeredValue(Struct, frozen=True):
    """A value and the place that sets it."""

    value: object
    location: Location


def merge_layers(layers: Iterable[Layer]) -> dict[str, LayeredValue]:
    """Each key's last value and its place; tables are merged entry by entry, None takes out what was set before."""
    merged: dict[str, LayeredValue] = {}
    for layer in layers:
        values = unfold(layer.values)
        for together in _TOGETHER:
            if any(values.get(key) is not None for key in together):
                for key in together:
                    merged.pop(key, None)
        for key, value in values.items():
            if value is None:
                merged.pop(key, None)
            else:
                merged[key] = LayeredValue(_merge(key, merged.get(key), value, layer.location), layer.location)
    return merged


# Each layer may lie in a file of its own.
_ANCHORS = {"files": anchor_files, "volumes": anchor_volumes}


def _merge(key: str, before: LayeredValue | None, value: object, location: Location) -> object:
    if key in _ANCHORS:
        value = _ANCHORS[key](value, location)
    if key not in KEYS or not KEYS[key].is_merged or not isinstance(value, Mapping):
        return value
    under = before.value if before and isinstance(before.value, Mapping) else {}
    return {entry: content for entry, content in {**under, **value}.items() if content is not None}


def load_service(name: str, raw: RawService, problems: list[Problem], exists: Callable[[str], bool]) -> ServiceSpec:
    """The checked service; what is wrong goes to `problems` and is left at its default."""
    if raw.bad_base is not None:
        problems.append(InvalidValue(*raw.bad_base).at(raw.location, name))
        return ServiceSpec(name=name, location=raw.location)
    settings = merge_layers(raw.layers)
    module = settings[MODULE].value if MODULE in settings else None
    values: dict[str, object] = {}
    for key, setting in settings.items():
        if key == MODULE and isinstance(module, Module):
            continue
        try:
            values[key] = _parse(key, setting)
        except InvalidValue as wrong:
            problems.append(wrong.at(setting.location, name, key))
    spec = build_spec(name, raw.location, values, module if isinstance(module, Module) else None)
    for key, found in _check(spec, settings.keys() - values.keys(), exists):
        problems.append(found.at(settings[key].location if key in settings else spec.location, name, key))
    if spec.module:
        problems += check_module(spec, str(settings[MODULE].location))
    return spec


def _parse(key: str, setting: LayeredValue) -> object:
    if key not in KEYS:
        raise unknown_key(key, sorted(KEYS))
    place = (setting.location,) if KEYS[key].is_located else ()
    return KEYS[key].parse(setting.value, *place)


def _check(
    spec: ServiceSpec, wrong_keys: set[str], exists: Callable[[str], bool]
) -> Iterator[tuple[str, InvalidValue]]:
    """Find what is wrong with the service as a whole, by key, where the keys that it is about are right themselves."""
    as_a_whole = chain(_check_ready(spec), _check_files(spec, exists), _check_url(spec))
    checks = (
        (("image", "build"), _check_image(spec, exists)),
        (("port", "ports", "ready", "url", "files"), as_a_whole),
        (("port", "ports", "copies", "user", "password", "database"), (("reset", w) for w in check_reset(spec))),
    )
    for keys, found in checks:
        if not wrong_keys.intersection(keys):
            yield from found


def _check_image(spec: ServiceSpec, exists: Callable[[str], bool]) -> Iterator[tuple[str, InvalidValue]]:
    if not spec.image and not spec.build:
        yield "", InvalidValue("no image and no build", "image='name:tag' or build='folder with a Dockerfile'")
    elif spec.build and spec.build.inline is None and not exists(spec.build.dockerfile):
        reason = f"there is no Dockerfile at {spec.build.dockerfile}"
        yield "build", InvalidValue(reason, "a folder with a Dockerfile in it")


def _check_ready(spec: ServiceSpec) -> Iterator[tuple[str, InvalidValue]]:
    for probe in spec.ready:
        if isinstance(probe, Ended) and (len(spec.ready) > 1 or spec.reset):
            yield "ready", InvalidValue("what has ended can be asked nothing more", "ended() alone, and no reset=")
        yield from (("ready", wrong) for wrong in check_port(probe, spec, "this probe"))


def _check_files(spec: ServiceSpec, exists: Callable[[str], bool]) -> Iterator[tuple[str, InvalidValue]]:
    for file in find_root_files(spec):
        reason = "a container with a root that is read-only can have no file of its own right below it"
        yield "files", InvalidValue(reason, "a place in a folder, or read_only=False", file.target)
    for name, target in spec.volumes:
        if is_host_path(name) and not exists(name):
            yield "volumes", InvalidValue(f"there is no file or folder {name}", "a path that exists", target)
    for file in spec.files:
        if file.source and not exists(file.source):
            reason = f"there is no file or folder {file.source}"
            yield "files", InvalidValue(reason, "a path that exists", file.target)


def find_root_files(spec: ServiceSpec) -> Iterator[File]:
    """Texts for files right in the root folder of a container that must not write there, where no mount is between."""
    mounts = {split_mode(target)[0] for _, target in spec.volumes} | {path for path, _ in spec.container.tmpfs}
    for file in spec.files if spec.container.read_only else ():
        if not file.source and PurePosixPath(file.target).parent == PurePosixPath("/") and file.target not in mounts:
            yield file


def _check_url(spec: ServiceSpec) -> Iterator[tuple[str, InvalidValue]]:
    try:
        (spec.url or "").format(host="h", port=1, user="u", password="p", database="d")  # noqa: S106  # sample words
    except (KeyError, ValueError, IndexError, AttributeError, TypeError):
        valid = "{host}, {port}, {user}, {password}, {database}"
        yield "url", InvalidValue(f"{spec.url!r} is not a URL template", valid)


def load_stack(name: str, raw: RawStack, problems: list[Problem], exists: Callable[[str], bool]) -> StackSpec:
    """The checked stack with its services, which live as long and are shared as widely as it says."""
    problems += raw.problems
    options: dict[str, object] = {}
    for key, value in raw.options.items():
        try:
            options["native_ports" if key == "ports" else key] = _parse_stack_option(key, value)
        except InvalidValue as wrong:
            problems.append(wrong.at(raw.location, name, key))
    problems += _check_members(name, raw)
    members = [
        load_service(member, raw_member, problems, exists)
        for member, raw_member in raw.members.items()
        if isinstance(raw_member, RawService)
    ]
    stack = StackSpec(name=name, services=tuple(members), location=raw.location, **options)  # type: ignore[arg-type]
    problems += check_native_ports(stack)
    placed = tuple(replace(m, scope=stack.scope, share=stack.share) for m in members)
    return replace(stack, services=placed)


def _parse_stack_option(key: str, value: object) -> object:
    if key == "ports":
        return parse_word(value, ("native", "held"), "is not a way to publish ports") == "native"
    return KEYS[key].parse(value)


def _check_members(name: str, raw: RawStack) -> Iterator[Problem]:
    for member, raw_member in raw.members.items():
        if not isinstance(raw_member, RawService):
            reason = f"{in_words(raw_member)} is not a service{suggest(member, STACK_KEYS)}"
            yield InvalidValue(reason, "service(...)").at(raw.location, name, member)
            continue
        for key in LASTING_KEYS:
            if key in merge_layers(raw_member.layers):
                wrong = InvalidValue("belongs to the whole stack", f"{key}= of stack()")
                yield wrong.at(raw.location, name, member, key)
    if not raw.members and not raw.problems:
        yield InvalidValue("a stack without services", "name=service(...)").at(raw.location, name)


def check_native_ports(stack: StackSpec) -> Iterable[Problem]:
    """Find ports that two services of a stack have: on one address they cannot."""
    taken: dict[Port, str] = {}
    for member in (m for m in stack.services if stack.native_ports and not m.external):
        ports: tuple[Port, ...] = (*member.ports, *member.udp_ports)
        for port in ports:
            other = taken.setdefault(port, member.name)
            if other != member.name:
                reason = f"port {port} is taken by {other!r}, and ports='native' gives both one address"
                yield InvalidValue(reason, "held").at(stack.location, stack.name, member.name, "ports")
