"""The code on the pages works: declarations load, and complete test modules pass on a real engine."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from docs.conftest import IMPORTS, Project
from docs.pages import CHECKED, DOCS, ROOT, Block, read_blocks
from pytest_isolate.declarations.loading import load
from pytest_isolate.model.declaration import Declared
from pytest_isolate.model.location import Location
from pytest_isolate.model.service import ServiceId, ServiceSpec
from pytest_isolate.plugin.declaring.configuration import Source
from pytest_isolate.plugin.declaring.fixtures import DECLARATION
from pytest_isolate.plugin.declaring.toml import TomlReader, build_plugin

BLOCKS = [block for page in CHECKED for block in read_blocks(page)]
DECLARING = [block for block in BLOCKS if block.language in ("python", "toml")]
TEST_MODULES = [block for block in BLOCKS if block.is_test_module]


def before(block: Block) -> list[Block]:
    """The blocks of its kind that a reader of the same section has seen before."""
    return [b for b in DECLARING if b.section == block.section and b.language == block.language and b.line < block.line]


def files_beside(block: Block) -> list[Block]:
    """The files that its page shows for others to read, such as Compose files."""
    return [b for b in BLOCKS if b.page == block.page and b.language == "yaml" and b.file_name]


@pytest.mark.parametrize("block", DECLARING, ids=str)
def test_declarations_on_the_pages_are_right(project: Project, block: Block, request: pytest.FixtureRequest) -> None:
    if "testcontainers" in block.text:
        request.getfixturevalue("real_engine")  # which its objects ask as they are made
    seen = before(block) if block.language == "python" else []
    project.write([*files_beside(block), *seen, block])
    result = project.plan()
    assert result.ret in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED), result.stderr.str()


@pytest.mark.engine
@pytest.mark.parametrize("block", TEST_MODULES, ids=str)
@pytest.mark.usefixtures("built_images")
def test_test_modules_on_the_pages_pass(project: Project, block: Block) -> None:
    project.write([*files_beside(block), *(b for b in before(block) if not b.is_test_module), block])
    result = project.run()
    outcomes = result.parseoutcomes()
    assert outcomes.pop("passed", 0) >= 1
    assert set(outcomes) <= {"warnings"}


def test_python_and_toml_declare_the_same(tmp_path: Path) -> None:
    blocks = [b for b in read_blocks(DOCS / "declaring.md") if b.headings[1:] == ("TOML",)]
    toml, python = blocks[:2]
    assert (toml.language, python.language) == ("toml", "python")
    assert load_python(tmp_path, python) == load_toml(tmp_path, toml)


def load_toml(folder: Path, block: Block) -> dict[ServiceId, ServiceSpec]:
    plugin = build_plugin(TomlReader(Source(folder / "pyproject.toml", block.text, ("tool", "pytest-isolate"))))
    return load_all(vars(plugin))


def load_python(folder: Path, block: Block) -> dict[ServiceId, ServiceSpec]:
    names: dict[str, object] = {}
    exec(compile(IMPORTS + block.text, folder / "conftest.py", "exec"), names)
    return load_all(names)


def load_all(names: dict[str, object]) -> dict[ServiceId, ServiceSpec]:
    """What is declared, without the places where it is written."""
    raws = {name: getattr(value, DECLARATION) for name, value in names.items() if hasattr(value, DECLARATION)}
    catalogue = load([Declared(name=n, namespace="", raw=raw) for n, raw in raws.items()], exists=lambda _: True)
    nowhere = Location(file="")
    return {key: replace(spec, location=nowhere) for key, spec in catalogue.services.items()}


def test_every_http_client_of_the_examples_has_time_on_a_busy_machine() -> None:
    calls = {
        f"{path.relative_to(ROOT)}:{node.lineno}": {word.arg for word in node.keywords}
        for path in (ROOT / "examples").glob("**/*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and re.match(r"httpx\.(get|post|put|delete|Client)\b", ast.unparse(node))
    }
    assert calls
    assert [place for place, words in calls.items() if "timeout" not in words] == []
