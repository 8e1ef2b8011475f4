"""The package as a whole: its public names, and what every module must have."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pytest_isolate
from pytest_isolate.plugin.option import Given
from pytest_isolate.plugin.options import OPTIONS, Settings

ROOT = Path(pytest_isolate.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))


def test_the_public_names_are_these() -> None:
    assert pytest_isolate.__all__ == [
        "BinaryExecResult",
        "ExecResult",
        "FreshService",
        "IsolateError",
        "IsolateWarning",
        "ModuleService",
        "Service",
        "ServiceChanges",
        "Stack",
        "apache",
        "command",
        "compose",
        "ended",
        "fresh",
        "http",
        "log",
        "mariadb",
        "member",
        "memcached",
        "mosquitto",
        "mysql",
        "nats",
        "nginx",
        "openldap",
        "override",
        "postgres",
        "rabbitmq",
        "redis",
        "service",
        "stack",
        "tcp",
        "valkey",
        "variants",
    ]


@pytest.mark.parametrize("name", pytest_isolate.__all__)
def test_a_public_name_can_be_imported_and_says_what_it_is(name: str) -> None:
    assert getattr(pytest_isolate, name).__doc__


@pytest.mark.parametrize("name", pytest_isolate.__all__)
def test_a_public_name_is_known_to_type_checkers_too(name: str) -> None:
    text = (ROOT / "__init__.py").read_text()
    assert re.search(rf"^    from pytest_isolate\.[\w.]+ import (?:\w+, )*{name}(?:,|$)", text, re.MULTILINE)


def test_public_names_are_listed_for_completion() -> None:
    assert set(pytest_isolate.__all__) <= set(dir(pytest_isolate))


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'pytest_isolate' has no attribute 'postgress'"):
        getattr(pytest_isolate, "postgress")  # noqa: B009  # the attribute is what is tested


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, pytest_isolate; print(sorted({m.partition('.')[0] for m in sys.modules}))"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert not {"docker", "requests", "testcontainers", "rich", "psutil", "filelock", "pytest"} & set(
        ast.literal_eval(loaded)
    )


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "py.typed").exists()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_what_it_owns(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_defaults_of_options_are_what_their_texts_say() -> None:
    for option in OPTIONS:
        if isinstance(option.default, str) and option.default:
            assert option.parse(Given(option.default, option.flag, ROOT)) == option.value


def test_every_setting_is_made_from_one_option() -> None:
    assert sorted(option.field for option in OPTIONS if option.field) == sorted(Settings._fields)
