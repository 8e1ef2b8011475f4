"""Labels of ours as labels and annotations of a cluster's objects."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_isolate.engine.kubernetes.objects.object_labels import (
    CONTAINER,
    describe_object,
    has_all,
    object_name,
    read_labels,
    select,
    select_by_name,
)

VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
PART = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
KEY = re.compile(rf"({PART}(\.{PART})*/)?" r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LABELS = st.dictionaries(st.text(min_size=1), st.text(), max_size=5)


@given(LABELS)
@example({"/0": ""})
@example({"a..b/c": "", "a-.b/c": "", "a.b/c": ""})
def test_any_labels_come_back_as_they_were(labels: dict[str, str]) -> None:
    made = {"metadata": describe_object(CONTAINER, "name", labels)}
    assert read_labels(made) == labels
    assert has_all(made, labels)
    assert all(KEY.fullmatch(key) and VALUE.fullmatch(value) for key, value in made["metadata"]["labels"].items())


@given(LABELS)
def test_what_selects_stands_on_the_object(labels: dict[str, str]) -> None:
    made = describe_object(CONTAINER, "name", labels)["labels"]
    asked = select(CONTAINER, labels)["labelSelector"].split(",")
    assert dict(pair.split("=", 1) for pair in asked).items() <= made.items()
    for name in labels:
        assert select_by_name(CONTAINER, name)["labelSelector"].split(",")[1] in made


def test_labels_that_fit_stand_as_they_are() -> None:
    labels = {"pytest-isolate.run": "a1b2", "com.example/team": "web", "empty": ""}
    assert labels.items() <= describe_object(CONTAINER, "name", labels)["labels"].items()


def test_a_digest_is_not_taken_for_the_text() -> None:
    made = {"metadata": describe_object(CONTAINER, "name", {"owner": '{"pid": 1}'})}
    written = made["metadata"]["labels"]["owner"]
    assert not has_all(made, {"owner": written})
    assert has_all(made, {"owner": '{"pid": 1}'})


def test_an_object_of_others_has_no_labels_of_ours() -> None:
    assert read_labels({"metadata": {"name": "theirs"}}) == {}


@given(st.text(min_size=1), st.text(min_size=1))
def test_names_fit_and_differ(one: str, other: str) -> None:
    assert NAME.fullmatch(object_name(one))
    assert len(object_name(one)) <= 50
    assert (object_name(one) == object_name(other)) == (one == other)


@pytest.mark.parametrize("name", ["isolate-3f2a-My_Db", "x" * 200])
def test_names_are_readable(name: str) -> None:
    assert object_name(name).startswith(name.lower().replace("_", "-")[:30])
