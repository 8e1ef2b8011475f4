"""The keys of a declaration that hold variables, files and folders, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath

from msgspec.structs import replace

from pytest_isolate.declarations.values import InvalidValue, known_keys, parse_mapping, parse_text
from pytest_isolate.model.declaration import in_words
from pytest_isolate.model.host_path import folder_of, is_absolute, join_path
from pytest_isolate.model.location import Location
from pytest_isolate.model.service import File, Pairs


def parse_env(value: object) -> Pairs:
    """Environment variables; a number or a flag is written as a shell would expect it."""
    pairs = []
    for name, content in parse_mapping(value).items():
        if not name or "=" in name or "\0" in name:
            raise InvalidValue(f"{name!r} is not the name of an environment variable", "a name without '='", name)
        if isinstance(content, bool):
            content = str(content).lower()
        if not isinstance(content, (str, int, float)):
            raise InvalidValue(f"{in_words(content)} is not a text", "a text, a number, true or false", name)
        pairs.append((name, str(content)))
    return tuple(sorted(pairs))


def parse_volumes(value: object, location: Location) -> Pairs:
    """Volumes and where they are mounted, a list for several places; `:ro` keeps the container from writing.

    What begins with `/`, `./`, `../` or a drive of Windows is a file or folder of this host; anything else is a name.
    """
    return tuple(
        sorted(
            (_source(name, location), _parse_mount(target, name))
            for name, targets in parse_mapping(value).items()
            for target in (targets if isinstance(targets, (list, tuple)) else [targets])
        )
    )


def _source(name: str, location: Location) -> str:
    is_path = name in (".", "..") or name.startswith(("./", "../", ".\\", "..\\")) or is_absolute(name)
    return join_path(folder_of(location.file), name) if is_path else name


def anchor_volumes(value: object, location: Location) -> object:
    """The same volumes, paths of this host made absolute."""
    return {_source(str(n), location): at for n, at in value.items()} if isinstance(value, Mapping) else value


def _parse_mount(target: object, key: str) -> str:
    mode = ":ro" if isinstance(target, str) and target.endswith(":ro") else ""
    return _parse_target(target[: -len(mode)] if isinstance(target, str) and mode else target, key) + mode


def parse_folders(value: object) -> tuple[str, ...]:
    """Folders inside the container; one may stand by itself."""
    folders = [value] if isinstance(value, str) else value
    if not isinstance(folders, (list, tuple)):
        raise InvalidValue(
            f"{in_words(value)} is not a folder inside the container", "an absolute path such as '/var/lib/app'"
        )
    return tuple(_parse_target(folder, "") for folder in folders)


def parse_files(value: object, location: Location) -> tuple[File, ...]:
    """Files for the container; a text or bytes are the content, a path (`{path = ...}`) names a file or folder."""
    return tuple(_parse_file(target, content, location) for target, content in sorted(parse_mapping(value).items()))


def _parse_file(target: str, content: object, location: Location) -> File:
    _parse_target(target, target)
    if isinstance(content, (str, bytes)):
        content = {"text": content}
    if isinstance(content, PurePath):
        content = {"path": content}
    table = known_keys(content, ("text", "path", "mode", "owner"), target)
    if ("text" in table) == ("path" in table):
        raise InvalidValue("needs either text or path", "{text = '...'} or {path = '...'}", target)
    mode = table.get("mode")
    if isinstance(mode, str) and re.fullmatch("0?[0-7]{3,4}", mode):
        mode = int(mode, 8)
    if mode is not None and (isinstance(mode, bool) or not isinstance(mode, int) or not 0 <= mode <= 0o7777):
        raise InvalidValue(f"{in_words(mode)} is not a file mode", "such as '0600'", f"{target}.mode")
    file = File(target=target, mode=mode, owner=_parse_owner(table.get("owner", ""), f"{target}.owner"))
    if "path" in table:
        return replace(file, source=absolute(parse_text(table["path"]), location))
    if isinstance(table["text"], bytes):
        return replace(file, data=table["text"])
    if not isinstance(table["text"], str):
        raise InvalidValue(f"{table['text']!r} is not a text", "a text", f"{target}.text")
    return replace(file, text=table["text"])


def _parse_owner(value: object, key: str) -> str:
    text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    if value != "" and not re.fullmatch(r"[\w.-]+(:[\w.-]+)?", text):
        valid = "a user of the image or its number, 'postgres' or 999; with a group, 'postgres:ssl-cert'"
        raise InvalidValue(f"{in_words(value)} is not the owner of a file", valid, key)
    return text


def _parse_target(target: object, key: str) -> str:
    if not isinstance(target, str) or not target.startswith("/") or target == "/":
        raise InvalidValue(
            f"{in_words(target)} is not a path inside the container", "an absolute path such as '/etc/app.conf'", key
        )
    return target


def absolute(path: str | PurePath, location: Location) -> str:
    """A path that is relative to the declaring file, made absolute."""
    return str(PurePath(location.file).parent / path)


def anchor_files(value: object, location: Location) -> object:
    """The same files, paths made absolute: what another file declares may be merged into them."""
    if not isinstance(value, Mapping):
        return value
    return {target: _anchor(content, location) for target, content in value.items()}


def _anchor(content: object, location: Location) -> object:
    if isinstance(content, PurePath):
        return PurePath(absolute(content, location))
    if isinstance(content, Mapping) and isinstance(content.get("path"), (str, PurePath)):
        return {**content, "path": absolute(content["path"], location)}
    return content
