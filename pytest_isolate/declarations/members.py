"""Services of stacks that have fixtures of their own: which service each of them stands for."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Mapping, Sequence

from pytest_isolate.declarations.placeholders import SELF
from pytest_isolate.declarations.references import is_within
from pytest_isolate.declarations.values import InvalidValue
from pytest_isolate.errors import Problem, suggest
from pytest_isolate.model.declaration import Declared, RawMember, in_words
from pytest_isolate.model.service import ServiceId, StackId, StackSpec


def find_members(
    items: Sequence[Declared], stacks: Mapping[StackId, StackSpec], problems: list[Problem]
) -> dict[ServiceId, ServiceId]:
    """The service of a stack by the fixture that hands it out; what is wrong goes to `problems`."""
    found = {}
    for item in items:
        if isinstance(item.raw, RawMember):
            stack = _find_stack(item, item.raw, items)
            name = member_name(str(item.raw.name))
            if stack is None or stack not in stacks:
                reason = f"{in_words(item.raw.stack)} is not a stack that is declared here"
                wrong = InvalidValue(reason, "what stack() or compose() has returned")
                problems.append(wrong.at(item.raw.location, item.name))
                continue
            names = [service.name for service in stacks[stack].services]
            if name in names:
                found[ServiceId(StackId(item.namespace), item.name)] = ServiceId(stack, name)
            elif names:
                reason = f"stack {stack} has no service {item.raw.name!r}{suggest(name, names)}"
                problems.append(InvalidValue(reason, ", ".join(names)).at(item.raw.location, item.name))
    return found


def member_name(service: str) -> str:
    """Return a service's name as an attribute of its stack and as a fixture.

    `mail-server` is `mail_server`, `7zip` is `_7zip`, and `import` is `import_`.
    """
    name = re.sub(r"\W", "_", service)
    if keyword.iskeyword(name) or name == SELF:
        return f"{name}_"
    return name if name.isidentifier() else f"_{name}"


def _find_stack(member: Declared, raw: RawMember, items: Iterable[Declared]) -> StackId | None:
    """The stack of this very declaration; the nearest one, where several fixtures hand it out."""
    near = [i for i in items if i.raw is raw.stack and is_within(member.namespace, i.namespace)]
    nearest = max(near, key=lambda item: len(item.namespace), default=None)
    return StackId(nearest.namespace, nearest.name) if nearest else None
