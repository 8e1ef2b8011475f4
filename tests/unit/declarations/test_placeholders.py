"""The `{service.attribute}` placeholders."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_isolate.declarations.placeholders import Reference, parse_references, render

identifiers = st.from_regex(r"[A-Za-z_]\w{0,5}", fullmatch=True)
references = st.builds(Reference, identifiers, st.lists(identifiers, min_size=1, max_size=2).map(".".join))
# Text around placeholders; braces of its own would make others.
plain = st.text(st.characters(exclude_characters="{}"), max_size=10)
# Everything that could be taken for a placeholder, in any disorder.
tricky = st.lists(st.sampled_from(["{", "}", "{{", "}}", ".", "a", "b1", "_", " ", "$", "é", "\n", '"', ":"])).map(
    "".join
)


def mark(reference: Reference) -> str:
    return f"<{reference.service}|{reference.attribute}>"


def refuse(reference: Reference) -> str:
    raise AssertionError(f"{reference} is no placeholder")


@given(st.text(st.characters(exclude_characters="{")))
def test_text_without_an_opening_brace_renders_to_itself(text: str) -> None:
    assert render(text, refuse) == text


@given(st.lists(st.tuples(plain, references)), plain)
def test_each_reference_is_replaced_and_nothing_else(parts: list[tuple[str, Reference]], end: str) -> None:
    text = "".join(f"{before}{reference}" for before, reference in parts) + end

    assert render(text, mark) == "".join(f"{before}{mark(reference)}" for before, reference in parts) + end


@given(st.text() | tricky)
def test_the_references_found_are_the_references_rendered(text: str) -> None:
    asked: list[Reference] = []

    render(text, lambda reference: asked.append(reference) or "")

    assert tuple(asked) == parse_references(text)


@given(plain, references, plain)
def test_doubled_braces_give_the_literal_text(before: str, reference: Reference, after: str) -> None:
    text = f"{before}{{{reference}}}{after}"

    assert parse_references(text) == ()
    assert render(text, refuse) == f"{before}{reference}{after}"


def test_what_is_filled_in_is_not_read_again() -> None:
    assert render("{a.b}", lambda _: "{x.y} {{x.y}}") == "{x.y} {{x.y}}"


def test_references_are_told_in_order() -> None:
    assert parse_references("{db.host}:{db.port}") == (
        Reference("db", "host"),
        Reference("db", "port"),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{db.url}", [Reference("db", "url")]),
        ("{self.external_port.8000}", [Reference("self", "external_port.8000")]),
        ("{db.env.POSTGRES_DB}", [Reference("db", "env.POSTGRES_DB")]),
        ("postgres://{db.user}@{db.host}", [Reference("db", "user"), Reference("db", "host")]),
        ("{größe.host}", [Reference("größe", "host")]),
        ("${db.port}", [Reference("db", "port")]),
        ('{"url": "{db.url}"}', [Reference("db", "url")]),
        ("{{db.host}", [Reference("db", "host")]),
        ("{db.host}}", [Reference("db", "host")]),
    ],
)
def test_a_reference_is_found(text: str, expected: list[Reference]) -> None:
    assert list(parse_references(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(json.dumps({"a": {"b.c": [1, {"d": "e.f"}]}}), id="json"),
        pytest.param('{"a":{"b":{}}}', id="dense json"),
        pytest.param("location ~ \\.php$ { fastcgi_pass unix:/run/php.sock; }", id="nginx"),
        pytest.param("upstream a{server b.example.com;}", id="nginx without spaces"),
        pytest.param("{{.Values.image.tag}} {{ .Name }} {{- range $i := .Items -}}", id="go template"),
        pytest.param("{{ user.name }} {% for x in y.z %}", id="jinja with spaces"),
        pytest.param("${HOME} ${a:-b.c} ${x##*.} {a,b}.txt {1..9} awk '{print $1.$2}'", id="shell"),
        pytest.param("a { color: #fff; } .b{margin:.5em}", id="css"),
        pytest.param("{} {0} {0.real} {name} {name!r} {a.b!r} {a.b:>3} {a.}", id="python format"),
        pytest.param("%{host. } \\{ } }{", id="unbalanced"),
        pytest.param("{a.b", id="not closed"),
        pytest.param("{ a.b }", id="spaces inside"),
        pytest.param("{a..b} {.a} {a b.c} {1a.b} {a-b.c}", id="not quite names"),
        pytest.param("{a\u200b.b} \u202e{}\ufffd\x00", id="strange unicode"),
    ],
)
def test_text_of_other_languages_survives(text: str) -> None:
    assert render(text, refuse) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{db.host}}", "{db.host}"),
        ("{{{db.host}}}", "{{db.host}}"),
        ("${{db.host}}", "${db.host}"),
        ("{{db.host}} {db.host}", "{db.host} <db|host>"),
        ('{"a":{"b":{db.port}}}', '{"a":{"b":<db|port>}}'),
        ("{{db.host}", "{<db|host>"),
        ("{db.host}}", "<db|host>}"),
    ],
)
def test_braces_beside_a_reference(text: str, expected: str) -> None:
    assert render(text, mark) == expected


def test_a_reference_is_shown_as_it_is_written() -> None:
    assert str(Reference("db", "host")) == "{db.host}"
