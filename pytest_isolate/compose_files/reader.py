"""Text of a Compose file into a tree of nodes. The only module that imports PyYAML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pytest_isolate.compose_files.nodes import Node, NodeError
from pytest_isolate.compose_files.scalars import canonical
from pytest_isolate.model.location import Location

if TYPE_CHECKING:
    import yaml

_NOTHING = ("", "~", "null", "Null", "NULL")
_MERGE = "<<"
_TAGS = ("!reset", "!override")
_STANDARD_TAG = re.compile(r"tag:yaml\.org,2002:(\w+)")
# An alias may stand for a list of aliases, and so on: ten lines can mean a billion parts.
_MAX_PARTS = 100_000
_MAX_DEPTH = 100


def parse_documents(text: str, file: str) -> list[Node]:
    """Return the tree of each document of a file; NodeError where one is no YAML, or no table.

    Texts in quotes are kept as they are written, numbers and flags become what Docker Compose prints for them. In YAML
    1.1, which PyYAML reads, `22:22` would be 1342, and `no` false.
    """
    import yaml  # takes 20 ms, and only projects with Compose files need it

    top = Node(value={}, location=Location(file=file, line=1), path="")
    # Not the loader in C: it keeps the classes of a module that pytester has made forget, and nodes are then of no
    # class that is known here.
    documents: list[Node] = []
    tree = _Tree(file)
    try:
        loader = _loader_class()(text)
        while loader.check_node():
            root = loader.get_node()
            documents += [] if root is None else [tree.convert_document(root)]
    except yaml.reader.ReaderError as error:
        place = Node(None, Location(file=file, line=text.count("\n", 0, error.position) + 1), "")
        raise NodeError(place, f"cannot be read as YAML: the character {chr(error.character)!r} is in it") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = top if mark is None else Node(None, Location(file=file, line=mark.line + 1), "")
        reason = getattr(error, "problem", None) or str(error)
        raise NodeError(place, f"cannot be read as YAML: {reason}") from None
    except (ValueError, OverflowError) as error:  # of an escape that stands for no character
        place = Node(None, Location(file=file, line=loader.line + 1), "")
        raise NodeError(place, f"cannot be read as YAML: {error}") from None
    except RecursionError:
        raise _too_deep(Node(None, Location(file=file, line=loader.line + 1), "")) from None
    return documents or [top]


def _too_deep(node: Node) -> NodeError:
    return NodeError(node, f"is nested too deep: more than {_MAX_DEPTH} lists and tables in each other")


def _loader_class() -> type[yaml.BaseLoader]:
    import yaml  # loaded by parse_documents

    class Loader(yaml.BaseLoader):
        """Reads what yaml.v3 reads too: an anchor that is defined again, and texts with a tag of their own."""

        def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
            event = self.peek_event()  # type: ignore[no-untyped-call]
            if not isinstance(event, yaml.AliasEvent):
                self.anchors.pop(event.anchor, None)
            return super().compose_node(parent, index)  # type: ignore[arg-type]  # types-pyyaml knows numbers only

        def compose_scalar_node(self, anchor: dict[object, yaml.Node] | None) -> yaml.ScalarNode:
            # `!!str 0777` is as good as quotes.
            is_text = self.peek_event().tag == "tag:yaml.org,2002:str"  # type: ignore[no-untyped-call]
            node = super().compose_scalar_node(anchor)  # type: ignore[arg-type]  # a name
            node.style = '"' if is_text else node.style
            return node

    return Loader


class _Tree:
    """PyYAML's nodes of one file as ours."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._parts = 0

    def convert_document(self, root: yaml.Node) -> Node:
        """Convert the root of a document, which has to be a table."""
        tree = self._convert(root, "", ())
        if tree.value is None:
            return tree.holding({})
        if not isinstance(tree.value, dict):
            raise NodeError(tree, f"is {tree.kind}", "a table with the key 'services'")
        return tree

    def _convert(self, node: yaml.Node, path: str, around: tuple[int, ...], line: int = 0) -> Node:
        """Convert a node with everything below it. `line` is that of the key in front of it, where it has one."""
        import yaml  # loaded by parse_documents

        place = Location(file=self._file, line=line or node.start_mark.line + 1)
        self._check_limits(node, Node(None, place, path), around)
        around = (*around, id(node))
        tag = self._tag(node.tag, Node(None, place, path))
        if isinstance(node, yaml.MappingNode):
            return Node(self._convert_table(node, path, around), place, path, tag)
        if isinstance(node, yaml.SequenceNode):
            items = enumerate(node.value)
            return Node(tuple(self._convert(item, f"{path}[{n}]", around) for n, item in items), place, path, tag)
        text = str(node.value)
        if isinstance(node, yaml.ScalarNode) and node.style:
            return Node(text, place, path, tag)
        return Node(None if text in _NOTHING else canonical(text), place, path, tag)

    def _check_limits(self, node: yaml.Node, place: Node, around: tuple[int, ...]) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise NodeError(place, f"holds too much: more than {_MAX_PARTS:,} parts, with what its aliases stand for")
        if id(node) in around:
            raise NodeError(place, "an alias that stands for what it is part of")
        if len(around) >= _MAX_DEPTH:
            raise _too_deep(place)

    def _convert_table(self, node: yaml.MappingNode, path: str, around: tuple[int, ...]) -> dict[str, Node]:
        """Convert a table, with the ones that it merges in with `<<` below its own keys."""
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key, value, line in _entries(node):
            if key == _MERGE:
                for part in self._merged(self._convert(value, path, around)):
                    merged = {**part, **merged}
                continue
            entry = self._convert(value, f"{path}.{key}" if path else key, around, line)
            if key in own:
                raise NodeError(entry, f"the key {key!r} stands here a second time")
            own[key] = entry
        return {**merged, **own}

    def _merged(self, node: Node) -> Iterator[dict[str, Node]]:
        tables = node.value if isinstance(node.value, tuple) else (node,)
        for table in tables:
            if not isinstance(table.value, dict):
                raise NodeError(
                    table, f"<< takes a table in, and this is {table.kind}", "an alias of a table, or a list"
                )
            yield table.value

    def _tag(self, tag: str, node: Node) -> str:
        """Return a tag that Compose gives a meaning to; YAML's own say nothing that is not seen without them."""
        if tag in _TAGS:
            return tag
        if tag in ("!", None) or _STANDARD_TAG.fullmatch(tag):
            return ""
        raise NodeError(node, f"unknown tag {tag}", ", ".join(_TAGS))


def _entries(node: yaml.MappingNode) -> Iterable[tuple[str, yaml.Node, int]]:
    for key, value in node.value:
        yield str(key.value), value, key.start_mark.line + 1
