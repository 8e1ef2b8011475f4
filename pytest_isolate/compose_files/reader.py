"""From a Compose file's text to a tree of nodes. The only module that imports PyYAML."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pytest_isolate.compose_files.nodes import Node, NodeError
from pytest_isolate.model.location import Location

_NOTHING = ("", "~", "null", "Null", "NULL")
_MERGE = "<<"
_TAGS = ("!reset", "!override")
_STANDARD_TAG = re.compile(r"tag:yaml\.org,2002:(\w+)")


def parse_yaml(text: str, file: str) -> Node:
    """The tree of a file; Refused where it is no YAML, or no table.

    Texts are kept as they are written. In YAML 1.1, which PyYAML reads, `22:22` would be 1342, and `no` false.
    """
    import yaml  # takes 20 ms, and only projects with Compose files need it

    top = Node(value={}, location=Location(file=file, line=1), path="")
    try:
        # Not the loader in C: it keeps the classes of a module that pytester has made forget, and nodes are then of no
        # class that is known here.
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = top if mark is None else Node(None, Location(file=file, line=mark.line + 1), "")
        reason = getattr(error, "problem", None) or str(error)
        raise NodeError(place, f"cannot be read as YAML: {reason}") from None
    if root is None:
        return top
    tree = _Tree(file).convert(root, "", ())
    if not isinstance(tree.value, dict):
        raise NodeError(tree, f"is {tree.kind}", "a table with the key 'services'")
    return tree


class _Tree:
    """PyYAML's nodes of one file as ours."""

    def __init__(self, file: str) -> None:
        self._file = file

    def convert(self, node: object, path: str, around: tuple[int, ...], line: int = 0) -> Node:
        """A node with everything below it. `line` is that of the key in front of it, where it has one."""
        import yaml  # loaded by parse_yaml

        assert isinstance(node, yaml.Node)
        place = Location(file=self._file, line=line or node.start_mark.line + 1)
        if id(node) in around:
            raise NodeError(Node(None, place, path), "an alias that stands for what it is part of")
        around = (*around, id(node))
        tag = self._tag(node.tag, Node(None, place, path))
        if isinstance(node, yaml.MappingNode):
            return Node(self._convert_table(node, path, around), place, path, tag)
        if isinstance(node, yaml.SequenceNode):
            items = enumerate(node.value)
            return Node(tuple(self.convert(item, f"{path}[{n}]", around) for n, item in items), place, path, tag)
        assert isinstance(node, yaml.ScalarNode)
        is_nothing = not node.style and node.value in _NOTHING
        return Node(None if is_nothing else str(node.value), place, path, tag)

    def _convert_table(self, node: object, path: str, around: tuple[int, ...]) -> dict[str, Node]:
        """A table, with the ones that it merges in with `<<` below its own keys."""
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key, value, line in _entries(node):
            if key == _MERGE:
                for part in self._merged(self.convert(value, path, around)):
                    merged = {**part, **merged}
                continue
            entry = self.convert(value, f"{path}.{key}" if path else key, around, line)
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
        """A tag that Compose gives a meaning to; YAML's own say nothing that is not seen without them."""
        if tag in _TAGS:
            return tag
        if tag in ("!", None) or _STANDARD_TAG.fullmatch(tag):
            return ""
        raise NodeError(node, f"unknown tag {tag}", ", ".join(_TAGS))


def _entries(node: object) -> Iterator[tuple[str, object, int]]:
    import yaml  # loaded by parse_yaml

    assert isinstance(node, yaml.MappingNode)
    for key, value in node.value:
        yield str(key.value), value, key.start_mark.line + 1
