"""Compose files as texts: YAML with its lines, variables, and files of variables."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_isolate.compose_files.interpolation import BadLine, BadVariable, interpolate, parse_variables
from pytest_isolate.compose_files.nodes import Node, NodeError
from pytest_isolate.compose_files.reader import parse_documents
from pytest_isolate.declarations.placeholders import escape, render
from unit.composing import compose, one, refusals, specs, told, wrong

ENV = {"A": "1", "EMPTY": "", "B": "two words"}


def fill(text: str) -> str:
    return interpolate(text, ENV.get, lambda _: None)


def plain(node: Node) -> object:
    if isinstance(node.value, tuple):
        return [plain(item) for item in node.value]
    return {k: plain(v) for k, v in node.value.items()} if isinstance(node.value, dict) else node.value


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("$A ${A} $B", "1 1 two words"),
        ("$AB|${AB}|", "||"),
        ("$$A $$$A ${A}$$", "$A $1 1$"),
        ("a$ $1 $-", "a$ $1 $-"),
        ("${EMPTY:-x} ${EMPTY-x} ${NO:-x} ${NO-x} ${A:-x}", "x  x x 1"),
        ("${EMPTY:+x} ${EMPTY+x} ${NO:+x} ${NO+x} ${A:+x}", " x   x"),
        ("${A:?told} ${EMPTY?told}", "1 "),
        ("${NO:-${A}} ${NO:-${NO:-${B}}} ${NO-$A}", "1 two words 1"),
        ("${A:-${NO:?never asked}}", "1"),
        ("${NO:-}", ""),
        ("${NO:-a:b/c?d-e}", "a:b/c?d-e"),
        ("${NO:-$$x}", "$x"),
    ],
)
def test_variables_are_filled_in(text: str, filled: str) -> None:
    assert fill(text) == filled


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("${NO:?set it}", "needs the variable NO: set it"),
        ("${EMPTY:?}", "needs the variable EMPTY: it has no value"),
        ("${NO?is $A}", "needs the variable NO: is 1"),
        ("${A", "${A has no closing brace"),
        ("${}", "${} is not a variable"),
        ("${A/b/c}", "${A/b/c} is not a variable"),
        ("${1}", "${1} is not a variable"),
        ("${A:-" * 5000 + "}" * 5000, "has variables within variables, more than 50 deep"),
    ],
)
def test_what_cannot_be_filled_in_is_told(text: str, reason: str) -> None:
    with pytest.raises(BadVariable) as caught:
        fill(text)
    assert str(caught.value) == reason


@given(st.text())
def test_a_text_with_doubled_dollars_comes_out_as_it_was(text: str) -> None:
    assert fill(text.replace("$", "$$")) == text


@given(st.text(alphabet="{}ab._ "))
def test_nothing_in_a_compose_file_is_a_placeholder_of_ours(text: str) -> None:
    assert render(escape(text), lambda _: pytest.fail("taken for a placeholder")) == text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A=1\nB = 2 \n", {"A": "1", "B": "2"}),
        ("# one\n\n  # two\nexport A=1 # three\n", {"A": "1"}),
        ("A=a#b\nB=#c\nC='#d' # e\nD= #c\n", {"A": "a#b", "B": "#c", "C": "#d", "D": "#c"}),
        ("A=1\nB=${A}2$HOST\n", {"A": "1", "B": "12host"}),
        ("A='$HOST'\nB=\"$HOST\"\n", {"A": "$HOST", "B": "host"}),
        ('A="one\\ntwo\\t\\"three\\""', {"A": 'one\ntwo\t"three"'}),
        ("A='one\ntwo'\nB=3", {"A": "one\ntwo", "B": "3"}),
        ('A="a\\$X"\nB="\\07"\n', {"A": "a$X", "B": "\a"}),
        ("A='a\\'b'\nB='a\\nb'\n", {"A": "a'b", "B": "a\\nb"}),
        ('A="x" B=y\n', {"A": "x", "B": "y"}),
        ("A: yaml\r\nB=x\r\n", {"A": "yaml", "B": "x"}),
        ("HOST\nNO\n", {"HOST": "host"}),
        ("A=", {"A": ""}),
        ("A=$NO", {"A": ""}),
    ],
)
def test_files_of_variables_are_read(text: str, found: dict[str, str]) -> None:
    missing: list[str] = []
    assert parse_variables(text, {"HOST": "host"}.get, missing.append) == found
    assert missing == (["NO"] if "$NO" in text else [])


def test_a_raw_file_of_variables_is_taken_as_it_is() -> None:
    assert parse_variables("A='$B' # c\n", {}.get, pytest.fail, is_raw=True) == {"A": "'$B' # c"}


@pytest.mark.parametrize(("text", "line"), [("A=1\n\n?\n", 3), ("A='x\n", 1), ("A=1\nB=${C:?no}\n", 2)])
def test_a_line_that_sets_no_variable_is_told(text: str, line: int) -> None:
    with pytest.raises(BadLine) as caught:
        parse_variables(text, {}.get, lambda _: None)
    assert caught.value.line == line


def parse(text: str) -> Node:
    (root,) = parse_documents(text, "f.yaml")
    return root


def test_texts_stay_as_they_are_written() -> None:
    text = 'a: 22:22\nb: "1.10"\nc: no\nd: !!str 0777\ne:\nf: ~\ng: "null"\nh: null\ni: ""\nj: |\n  x\n'
    words = {"a": "22:22", "b": "1.10", "c": "no", "d": "0777", "g": "null", "i": "", "j": "x\n"}
    assert plain(parse(text)) == {**words, "e": None, "f": None, "h": None}


def test_every_part_knows_its_line_and_its_path() -> None:
    root = parse("a:\n  b:\n    - 1\n    - c: 2\n")
    assert isinstance(root.value, dict)
    b = root.value["a"].value["b"]  # type: ignore[index,union-attr]
    last = b.value[1].value["c"]
    assert (str(b.location), b.path) == ("f.yaml:2", "a.b")
    assert (str(last.location), last.path) == ("f.yaml:4", "a.b[1].c")


def test_anchors_and_merge_keys_are_followed() -> None:
    text = "x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz:\n  <<: [*x, *y]\n  a: 3\nw: {<<: *x}\nv: *y\n"
    tree = plain(parse(text))
    assert isinstance(tree, dict)
    assert (tree["z"], tree["w"], tree["v"]) == (
        {"a": "3", "b": "1", "c": "2"},
        {"a": "1", "b": "1"},
        {"b": "2", "c": "2"},
    )


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("a: [1", "f:1", "cannot be read as YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: 1\na: 2\n", "f:2", "the key 'a' stands here a second time"),
        ("- a\n", "f:1", "is a list"),
        ("a: !env X\n", "f:1", "unknown tag !env"),
        ("a: &a\n  b: *a\n", "f:2", "an alias that stands for what it is part of"),
        ("a: 1\nb: {<<: 2}\n", "f:2", "<< takes a table in, and this is a text"),
        ("a: *b\n", "f:1", "cannot be read as YAML: found undefined alias 'b'"),
        ("a: " + "[" * 5000, "f:1", "is nested too deep: more than 100 lists and tables in each other"),
        (
            "a:\n  b: " + "{a: " * 150 + "}" * 150,
            "f:2",
            "is nested too deep: more than 100 lists and tables in each other",
        ),
    ],
)
def test_what_is_no_file_of_this_kind_is_told_with_its_line(text: str, place: str, reason: str) -> None:
    with pytest.raises(NodeError) as caught:
        parse_documents(text, "f")
    assert (str(caught.value.node.location), caught.value.reason) == (place, reason)


def test_an_empty_file_declares_nothing() -> None:
    assert wrong("# nothing\n") == ["conftest.py:3: compose: there is no service in these files"]


def test_what_is_given_wins_over_the_environment_and_that_over_the_file() -> None:
    files = {".env": "ONE=file\nTWO=file\nTHREE=file\nFOUR=${TWO}\n"}
    text = "environment: ['V=$ONE $TWO $THREE $FOUR']"
    found = one(text, files=files, environ={"ONE": "shell", "TWO": "shell"}, env={"ONE": "given"})
    assert found.env == (("V", "given shell file file"),)


def test_other_files_may_stand_in_for_the_usual_one() -> None:
    files = {".env": "A=usual\n", "one.env": "A=one\nB=one\n", "two.env": "B=two\n"}
    assert one("environment: ['V=$A $B']", files=files, env_file=["one.env", "two.env"]).env == (("V", "one two"),)
    reason = "/p/gone.env cannot be read: no such file or directory"
    assert refusals("", env_file="gone.env") == [f"gone.env: file: {reason}"]


def test_the_projects_name_is_a_variable() -> None:
    assert one("environment: ['V=$COMPOSE_PROJECT_NAME']").env == (("V", "p"),)
    assert one("environment: ['V=$COMPOSE_PROJECT_NAME']", "name: Shop").env == (("V", "shop"),)


def test_a_variable_without_a_value_is_noted() -> None:
    composed = compose("services:\n  web:\n    image: i\n    command: a $NO b\n")
    assert told(composed.stack.problems) == []
    assert told(composed.warnings) == [
        "compose.yaml:4: services.web.command: the variable NO has no value, and leaves an empty text"
    ]


def test_a_variable_that_is_needed_is_told_with_its_line() -> None:
    assert refusals("image: i:${TAG:?choose one}") == [
        "compose.yaml:3: services.web.image: needs the variable TAG: choose one"
    ]
    (problem,) = compose("services: {web: {image: 'i:${TAG:?}'}}").stack.problems
    assert problem.valid == 'env={"TAG": ...}, the environment, or .env'


def test_keys_are_not_filled_in_but_entries_of_lists_are() -> None:
    assert one("labels: {$A: x}", environ={"A": "a"}).container.labels == (("$A", "x"),)
    assert one("labels: ['$A=x']", environ={"A": "a"}).container.labels == (("a", "x"),)


def test_names_with_other_characters_get_an_attribute_and_keep_their_name() -> None:
    found = specs("services:\n  mail-server:\n    image: i\n  web:\n    image: i\n    depends_on: [mail-server]\n")
    assert found["mail_server"].container.aliases == ("mail-server",)
    assert found["web"].needs == ("mail_server",)
    assert wrong("services: {a-b: {image: i}, a_b: {image: i}}") == [
        "compose.yaml:1: services.a_b: 'a_b' and another service would both be 'a_b' in the stack"
    ]


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("True", "true"), ("FALSE", "false"), ("tRue", "tRue"), ("yes", "yes"), ("Off", "Off"),
        ("1.10", "1.1"), ("1.0", "1"), ("1.", "1"), (".5", "0.5"), ("-0.0", "-0"), ("1_0.5", "10.5"),
        ("0777", "511"), ("0o17", "15"), ("0x1F", "31"), ("0b11", "3"), ("08", "8"), ("+5", "5"), ("-0x10", "-16"),
        ("20_000_000", "20000000"), ("18446744073709551616", "1.8446744073709552e+19"),
        ("1e3", "1000"), ("1000000.0", "1e+06"), ("0.00001", "1e-05"), ("123456789.5", "1.234567895e+08"),
        ("1e400", "1e400"), ("1.2.3", "1.2.3"), ("22:22", "22:22"), ("0x", "0x"), ("1e", "1e"),
        ("2001-1-1", "2001-01-01 00:00:00 +0000 UTC"), ("2001-13-01", "2001-13-01"),
        ("2001-01-01T01:02:03.50+01:00", "2001-01-01 01:02:03.5 +0100 +0100"),
        ("2001-01-01T01:02:03", "2001-01-01T01:02:03"), ("2001-01-01 01:02:03", "2001-01-01 01:02:03 +0000 UTC"),
    ],
)  # fmt: skip
def test_numbers_and_flags_are_written_as_docker_compose_prints_them(written: str, printed: str) -> None:
    """The values are those of `docker compose config`, 2.26; tests/compose_corpus asks it."""
    assert one(f"environment:\n  V: {written}").env == (("V", printed),)


def test_an_alias_bomb_is_refused_soon() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    with pytest.raises(NodeError, match="holds too much: more than 100,000 parts, with what its aliases stand for"):
        parse_documents("\n".join(lines), "f")


def test_an_anchor_may_be_defined_again() -> None:
    assert plain(parse("a: &x 1\nb: *x\nc: &x 2\nd: *x\n")) == {"a": "1", "b": "1", "c": "2", "d": "2"}


def test_a_later_document_of_a_file_is_merged_over_the_earlier() -> None:
    text = "services:\n  web: {image: one, user: app}\n---\nservices:\n  web: {image: two}\n  db: {image: i}\n"
    found = specs(text)
    assert (found["web"].image, found["web"].container.user, list(found)) == ("two", "app", ["web", "db"])


@pytest.mark.parametrize(
    ("command", "words", "rest"),
    [
        ("a && b", ("a",), "&& b"),
        ("sh -c 'x | y' 2>&1; z", ("sh", "-c", "x | y"), ">&1; z"),
        ("a b>c", ("a", "b"), ">c"),
        ("a\\ b 'c'd \"\"", ("a b", "cd", ""), ""),
        ("a $$(b c) `d e`", ("a", "$(b c)", "`d e`"), ""),
    ],
)
def test_a_command_line_is_cut_as_docker_compose_cuts_it(command: str, words: tuple[str, ...], rest: str) -> None:
    text = f"services:\n  web:\n    image: i\n    command: {json.dumps(command)}\n"
    assert specs(text)["web"].command == words
    warnings = told(compose(text).warnings)
    assert [rest in warning for warning in warnings] == ([True] if rest else [])


def test_names_that_python_has_no_attribute_for_get_one() -> None:
    text = "services:\n  7zip: {image: i}\n  import: {image: i, depends_on: [7zip]}\n  self: {image: i}\n"
    found = specs(text)
    assert [(name, spec.container.aliases) for name, spec in found.items()] == [
        ("_7zip", ("7zip",)),
        ("import_", ("import",)),
        ("self_", ("self",)),
    ]
    assert found["import_"].needs == ("_7zip",)


def test_profiles_may_be_named_in_a_variable() -> None:
    text = "services: {web: {image: i}, debug: {image: i, profiles: [debug]}, tool: {image: i, profiles: [tool]}}"
    assert list(specs(text, files={".env": "COMPOSE_PROFILES=debug,x"})) == ["web", "debug"]
    assert list(specs(text, environ={"COMPOSE_PROFILES": "debug"}, profiles="tool")) == ["web", "tool"]
