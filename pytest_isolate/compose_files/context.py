"""Context in which a key of a service is translated: the service itself, and the project around it."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from pytest_isolate.compose_files.findings import Findings
from pytest_isolate.compose_files.host import Host
from pytest_isolate.compose_files.nodes import Node, NodeError, resolve, unsupported, whole_number_of
from pytest_isolate.compose_files.project import Project
from pytest_isolate.compose_files.variables import read_text
from pytest_isolate.declarations.members import member_name
from pytest_isolate.errors import suggest


class ServiceContext(Struct, frozen=True, kw_only=True):
    """One service of a project. `services` are those that are wanted; `builds` are tables by image.

    `allowed` are the permissions that the user gives.
    """

    name: str
    node: Node
    project: Project
    services: Mapping[str, Node]
    builds: Mapping[str, Node]
    host: Host
    findings: Findings
    allowed: frozenset[str] = frozenset()

    def member(self, name: str, node: Node) -> str:
        """Return the name in the stack of a service that a part names."""
        if name not in self.services:
            every = self.project.section("services")
            if self.has_no_copies(name):
                raise NodeError(node, f"the service {name!r} has no copies: scale or replicas is 0", "at least 1")
            if name in every:
                raise NodeError(node, f"the service {name!r} is in a profile that is not chosen", "profiles=[...]")
            raise NodeError(node, f"there is no service {name!r}{suggest(name, [*every])}", ", ".join(every))
        return member_name(name)

    def has_no_copies(self, name: str) -> bool:
        """Return true if a service is declared that asks for no container."""
        every = self.project.section("services")
        return name not in self.services and name in every and copies_of(every[name]) == 0

    def named(self, member: str) -> str:
        """Return the name in the file of a service of the stack."""
        return next(name for name in self.services if member_name(name) == member)

    def declared(self, section: str, name: str, node: Node) -> Node:
        """Return the entry of a table at the top that a part names."""
        table = self.project.section(section)
        if name not in table:
            reason = f"the {section.removesuffix('s')} {name!r} is not declared{suggest(name, [*table])}"
            raise NodeError(node, reason, f"{section}: {name}: ...")
        return table[name]

    def neighbour(self, mode: str, node: Node) -> str:
        """Return the name in the stack of a service that `service:NAME` or `container:NAME` stands for."""
        kind, _, name = mode.partition(":")
        if kind == "container":
            found = (n for n, s in self.services.items() if (c := s.get("container_name")) and c.value == name)
            name = next(found, "")
            if not name:
                raise unsupported(node, f"{mode!r}: containers that others have started cannot be shared with")
        return self.member(name, node)

    def read_file(self, path: str, node: Node) -> str:
        """Return the text of a file that a part names, relative to the project's folder."""
        return read_text(node.holding(resolve(path, self.project.folder)), self.host)

    def require(self, permission: str, node: Node, reason: str) -> None:
        """Refuse a part that needs a permission, unless the user gives it."""
        if permission not in self.allowed:
            raise NodeError(node, reason, is_wrong=False, permission=permission, service=self.name)


def copies_of(service: Node) -> int:
    """Return how many containers a service asks for."""
    deploy = service.get("deploy")
    for table, key in ((service, "scale"), (deploy, "replicas")):
        found = table.get(key) if table is not None else None
        if found is not None:
            return whole_number_of(found)
    return 1
