"""What a key of a service is translated with: the service itself, and the project around it."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from pytest_isolate.compose_files.findings import Findings
from pytest_isolate.compose_files.host import Host
from pytest_isolate.compose_files.nodes import Node, NodeError
from pytest_isolate.compose_files.project import Project
from pytest_isolate.declarations.members import member_name
from pytest_isolate.errors import suggest


class ServiceContext(Struct, frozen=True, kw_only=True):
    """One service of a project. `services` are those that the profiles leave; `builds` are tables by image."""

    name: str
    node: Node
    project: Project
    services: Mapping[str, Node]
    builds: Mapping[str, Node]
    host: Host
    findings: Findings

    def member(self, name: str, node: Node) -> str:
        """The name in the stack of a service that a part names."""
        if name not in self.services:
            every = self.project.section("services")
            if name in every:
                raise NodeError(node, f"the service {name!r} is in a profile that is not chosen", "profiles=[...]")
            raise NodeError(node, f"there is no service {name!r}{suggest(name, [*every])}", ", ".join(every))
        return member_name(name)

    def declared(self, section: str, name: str, node: Node) -> Node:
        """What a table at the top says under a name that a part names."""
        table = self.project.section(section)
        if name not in table:
            reason = f"the {section.removesuffix('s')} {name!r} is not declared{suggest(name, [*table])}"
            raise NodeError(node, reason, f"{section}: {name}: ...")
        return table[name]
