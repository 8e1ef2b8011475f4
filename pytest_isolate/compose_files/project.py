"""Project of Compose files: read, filled in, included, extended and merged to one tree."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from functools import reduce

from msgspec import Struct
from msgspec.structs import replace

from pytest_isolate.compose_files.canonical import expand_file
from pytest_isolate.compose_files.findings import Findings, keys
from pytest_isolate.compose_files.host import Host, Request
from pytest_isolate.compose_files.merge import merge_files, merge_services, without_tags
from pytest_isolate.compose_files.nodes import Node, NodeError, items_of, resolve, table_of, text_of, words_of
from pytest_isolate.compose_files.reader import parse_documents
from pytest_isolate.compose_files.variables import (
    PROJECT_NAME,
    Variables,
    fill_in,
    project_name,
    read_text,
    read_variables,
)
from pytest_isolate.model.location import Location

_SECTIONS = ("services", "networks", "volumes", "secrets", "configs")
_TOP = dict.fromkeys((*_SECTIONS, "version", "name", "include", "models"))


class Project(Struct, frozen=True):
    """The merged tree: each service in its longest form, paths absolute, variables filled in."""

    root: Node
    variables: Variables
    folder: str

    def section(self, name: str) -> Mapping[str, Node]:
        """Return the entries of one of the tables at the top."""
        found = self.root.get(name)
        return table_of(found) if found is not None else {}


def load_project(request: Request, host: Host, findings: Findings) -> Project:
    """Load the project of these files. What is wrong is noted, and left out."""
    return _Loader(host, findings).load(request, ())


class _Loader:
    """Reads files as others name them."""

    def __init__(self, host: Host, findings: Findings) -> None:
        self._host = host
        self._findings = findings
        self._home = host.environ.get("HOME") or host.environ.get("USERPROFILE", "")

    def load(self, request: Request, around: tuple[str, ...], folder: str = "") -> Project:
        """Merge the files of one project. `around` are those that it is included by."""
        folder = folder or posixpath.dirname(request.files[0])
        variables = read_variables(request.env, request.env_files, folder, self._host, self._findings)
        roots = []
        for file in request.files:
            with self._findings.collecting():
                root, variables = self._read(Node(file, Location(file=file), ""), folder, variables)
                inner = replace(request, env=variables.fixed())
                roots.append(self._with_includes(root, inner, folder, (*around, file)))
        merged = reduce(merge_files, roots) if roots else Node({}, Location(file=request.files[0]), "")
        return Project(without_tags(merged) or merged.holding({}), variables, folder)

    def _read(self, path: Node, folder: str, variables: Variables) -> tuple[Node, Variables]:
        """Read one file in its longest form, its services complete with what they extend."""
        documents = parse_documents(read_text(path, self._host), str(path.value))
        for root in documents:
            self._findings.check_keys(table_of(root), _TOP)
            for section in _SECTIONS:
                if section in table_of(root):
                    table_of(table_of(root)[section])
        if variables.get(PROJECT_NAME) is None:
            name = project_name(documents[0], folder)
            variables = replace(variables, files={PROJECT_NAME: name, **variables.files})
        expanded = self._expand(documents, folder, variables)
        return self._extend_all(expanded, str(path.value), variables, ()), variables

    def _expand(self, documents: Sequence[Node], folder: str, variables: Variables) -> Node:
        """Write the documents of a file in their longest form; each is merged over those above it."""
        filled = (fill_in(root, variables, self._findings) for root in documents)
        return reduce(merge_files, [expand_file(root, folder, self._home, self._findings) for root in filled])

    def _extend_all(self, root: Node, file: str, variables: Variables, asking: tuple[tuple[str, str], ...]) -> Node:
        services = root.get("services")
        if services is None:
            return root
        extended = {}
        for name in table_of(services):
            with self._findings.collecting():
                extended[name] = self._extend(name, root, file, variables, asking)
        return root.holding({**table_of(root), "services": services.holding(extended)})

    def _extend(
        self, name: str, root: Node, file: str, variables: Variables, asking: tuple[tuple[str, str], ...]
    ) -> Node:
        """Merge a service over the one that it extends, which may extend another one in turn."""
        node = table_of(table_of(root)["services"])[name]
        table = table_of(node)
        extends = node.get("extends")
        if extends is None:
            return node
        if (file, name) in asking:
            raise NodeError(extends, f"the service {name!r} extends itself")
        self._findings.check_keys(table_of(extends), keys("service file"))
        base_name, other = extends.get("service"), extends.get("file")
        if base_name is None:
            raise NodeError(extends, "names no service", "service: NAME")
        base_root, base_file = root, file
        if other is not None:
            base_file = text_of(other)
            folder = posixpath.dirname(base_file)
            base_root = self._expand(parse_documents(read_text(other, self._host), base_file), folder, variables)
        found = base_root.get("services")
        names = list(table_of(found)) if found is not None else []
        if text_of(base_name) not in names:
            raise NodeError(base_name, f"there is no service {base_name.value!r} in {base_file}", ", ".join(names))
        base = self._extend(text_of(base_name), base_root, base_file, variables, (*asking, (file, name)))
        own = node.holding({key: entry for key, entry in table.items() if key != "extends"})
        return merge_services(base, own)

    def _with_includes(self, root: Node, request: Request, folder: str, around: tuple[str, ...]) -> Node:
        """Add what the files declare that a file includes, each read in its own folder.

        The variables of the including file win over those of their folders.
        """
        include = root.get("include")
        if include is None:
            return root
        for item in items_of(include):
            with self._findings.collecting():
                root = self._add(self._include(item, request, folder, around).root, root)
        return root

    def _include(self, item: Node, request: Request, folder: str, around: tuple[str, ...]) -> Project:
        entry = item.with_table(path=item.value) if isinstance(item.value, str) else item
        self._findings.check_keys(table_of(entry), keys("path project_directory env_file"))
        path = entry.get("path")
        if path is None:
            raise NodeError(item, "names no file", "path: FILE")
        files = tuple(resolve(word, folder, self._home) for word in words_of(path))
        for file in files:
            if file in around:
                raise NodeError(item, f"{file} includes itself")
            if not self._host.kind_of(file):
                raise NodeError(item, f"there is no file {file}")
        env_file, directory = entry.get("env_file"), entry.get("project_directory")
        env_files = tuple(resolve(word, folder, self._home) for word in words_of(env_file)) if env_file else None
        inner = resolve(text_of(directory), folder, self._home) if directory else posixpath.dirname(files[0])
        return self.load(replace(request, files=files, env_files=env_files), around, inner)

    def _add(self, included: Node, root: Node) -> Node:
        """Add everything of an included file. What both declare under one name is the including file's over it."""
        table = dict(table_of(root))
        for section in _SECTIONS:
            found = included.get(section)
            if found is None:
                continue
            added = root.holding({section: found})
            own = root.holding({section: table[section]}) if section in table else root.holding({})
            table[section] = table_of(merge_files(added, own))[section]
        return root.holding(table)
