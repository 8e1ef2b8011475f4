"""Equal content means that init runs once; every change of it means that it runs again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_isolate.model.fresh import FreshSpec, Init, InitCommand, InitFiles, InitFunction
from pytest_isolate.running.data.templates import digest_init, init_files
from unit.builders import HERE, sid

SUFFIXES = (".sql",)
TABLE = "create table t(x int)"


def digest(init: Init | None = None, key: str | None = None, name: str = "orders", run: str = "run") -> str:
    return digest_init(FreshSpec(name=name, base=sid("db"), init=init, key=key, location=HERE), run, SUFFIXES)


def of(function: Callable[[Any], object], run: str = "run") -> str:
    return digest(InitFunction(function=function), run=run)


def helper() -> str:
    return "one"


def migrate(handle: Any) -> None:
    handle.exec(TABLE, helper())


def make(text: str) -> Callable[[Any], object]:
    def inner(handle: Any) -> None:
        handle.exec(text)

    return inner


def test_a_files_content_counts_and_not_its_folder(tmp_path: Path) -> None:
    for folder, text in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "schema.sql").write_text(text)
    one, same, other = (digest(InitFiles(path=str(tmp_path / f / "schema.sql"))) for f in "abc")

    assert one == same != other


def test_a_folder_is_its_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("2.sql", "1.sql", "sub/3.sql", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    before = digest(InitFiles(path=str(tmp_path)))

    assert [p.name for p in init_files(str(tmp_path), SUFFIXES)] == ["1.sql", "2.sql", "3.sql"]
    (tmp_path / "sub" / "3.sql").write_text("changed")
    assert digest(InitFiles(path=str(tmp_path))) != before


def test_the_name_of_the_fixture_does_not_count() -> None:
    init = InitCommand(argv=("migrate",))

    assert digest(init, name="orders") == digest(init, name="stock")
    assert digest(init) != digest(InitCommand(argv=("migrate", "now")))


def test_a_key_stands_for_everything() -> None:
    assert digest(InitCommand(argv=("a",)), key="1") == digest(InitCommand(argv=("b",)), key="1")
    assert digest(InitCommand(argv=("a",)), key="1") != digest(InitCommand(argv=("a",)), key="2")


def test_a_function_without_a_key_is_not_used_by_another_run() -> None:
    assert of(migrate) == of(migrate)
    assert of(migrate) != of(migrate, run="another")
    assert digest(InitFunction(function=migrate), key="1") == digest(InitFunction(function=migrate), key="1", run="2")


def test_what_a_function_has_closed_over_counts() -> None:
    assert of(make("a")) == of(make("a"))
    assert of(make("a")) != of(make("b"))


@pytest.mark.parametrize(("name", "value"), [("TABLE", "create table u(x int)"), ("helper", lambda: "two")])
def test_constants_and_functions_of_its_own_module_count(
    monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    before = of(migrate)

    monkeypatch.setitem(globals(), name, value)

    assert of(migrate) != before


def test_a_callable_that_is_no_function_is_known_by_what_it_says_of_itself() -> None:
    class Migration:
        def __init__(self, name: str) -> None:
            self.name = name

        def __repr__(self) -> str:
            return self.name

        def __call__(self, handle: Any) -> None:
            raise AssertionError

    assert of(Migration("a")) == of(Migration("a")) != of(Migration("b"))
