"""Variables of a project, and how they are filled in to a tree."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

from msgspec import Struct

from pytest_isolate.compose_files.findings import Findings
from pytest_isolate.compose_files.host import Host
from pytest_isolate.compose_files.interpolation import BadLine, BadVariable, interpolate, parse_variables
from pytest_isolate.compose_files.nodes import Node, NodeError, walk
from pytest_isolate.model.location import Location
from pytest_isolate.user_files import MOST_TEXT_BYTES, UnfitFile

PROJECT_NAME = "COMPOSE_PROJECT_NAME"
PROFILES = "COMPOSE_PROFILES"


class Variables(Struct, frozen=True):
    """Variables by name. What the user gives wins over the environment, which wins over `.env`."""

    given: Mapping[str, str]
    environ: Mapping[str, str]
    files: Mapping[str, str]

    def fixed(self) -> dict[str, str]:
        """Return those that are the same wherever files of this project lie: given, or read for it."""
        return {name: text for name, text in self.files.items() if name not in self.environ} | dict(self.given)

    def get(self, name: str) -> str | None:
        """Return the value of a variable, if it has one."""
        for table in (self.given, self.environ, self.files):
            if name in table:
                return table[name]
        return None


def read_variables(
    given: Mapping[str, str], files: tuple[str, ...] | None, folder: str, host: Host, findings: Findings
) -> Variables:
    """Read the variables of a project: those of `.env` in its folder, unless other files are named."""
    found: dict[str, str] = {}
    for file in (posixpath.join(folder, ".env"),) if files is None else files:
        # As Docker Compose does, a folder of that name is passed over, such as a virtual environment.
        if files is not None or host.kind_of(file) not in ("", "folder"):
            so_far = Variables(given, host.environ, dict(found))
            with findings.collecting():
                found |= read_env_file(Node(file, Location(file=file), ""), so_far, host, findings)
    return Variables(given, host.environ, found)


def read_env_file(
    path: Node, variables: Variables, host: Host, findings: Findings, *, is_raw: bool = False
) -> dict[str, str]:
    """Return the variables that a file sets; NodeError, at the place that names it, where it cannot be read."""
    file = str(path.value)
    text = read_text(path, host)
    missing: dict[str, None] = {}
    try:
        found = parse_variables(text, variables.get, missing.setdefault, is_raw=is_raw)
    except BadLine as error:
        raise NodeError(Node(None, Location(file=file, line=error.line), ""), str(error), "NAME=VALUE") from None
    for name in missing:
        findings.note(Node(None, Location(file=file), name), "has no value, and leaves an empty text")
    return found


def read_text(path: Node, host: Host) -> str:
    """Return the text of a file that a part names."""
    try:
        return host.read_text(str(path.value))
    except UnfitFile as error:
        valid = f"a regular file of at most {MOST_TEXT_BYTES >> 20} MiB"
        raise NodeError(path, f"{path.value} is {error.strerror}", valid) from None
    except OSError as error:
        raise NodeError(path, f"{path.value} cannot be read: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise NodeError(path, f"{path.value} is not a text in UTF-8") from None


def fill_in(root: Node, variables: Variables, findings: Findings) -> Node:
    """Fill in the variables of a tree. Keys stay as they are."""

    def fill(node: Node) -> Node:
        if not isinstance(node.value, str) or "$" not in node.value:
            return node
        missing: dict[str, None] = {}
        try:
            filled = interpolate(node.value, variables.get, missing.setdefault)
        except BadVariable as error:
            wanted = (
                f'env={{"{error.needed}": ...}}, the environment, or .env' if error.needed else "$$ for a dollar sign"
            )
            findings.add(NodeError(node, str(error), wanted))
            return node
        for name in missing:
            findings.note(node, f"the variable {name} has no value, and leaves an empty text")
        return node.holding(filled)

    return walk(root, fill)


def project_name(root: Node, folder: str) -> str:
    """Return the name that a project goes by, as far as its files say it themselves."""
    name = root.get("name")
    text = str(name.value) if name is not None and "$" not in str(name.value) else posixpath.basename(folder)
    return re.sub(r"[^a-z0-9_-]", "", text.lower()).lstrip("_-")
