"""docs/errors*.md show the texts as they are printed."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from docs.conftest import Project
from docs.pages import ERROR_PAGES, ROOT, Block, read_blocks
from pytest_isolate.engine.api import Engine

BLOCKS = [block for page in ERROR_PAGES for block in read_blocks(page)]
AT_THE_START = "DeclarationError"
AT_RUN_TIME = ("StartError", "NotReadyError")


def pairs(*chapters: str) -> list[tuple[list[Block], Block]]:
    """Each text of these chapters with the declarations between it and the text before it."""
    found = []
    code: list[Block] = []
    for block in (b for b in BLOCKS if b.headings[1] in chapters):
        if block.language != "text":
            code.append(block)
            continue
        if code:
            found.append((code, block))
        code = []
    return found


def is_printed(shown: str, output: str) -> bool:
    """Whether the output has these lines, one below the other; `...` stands for anything, as a line for any lines.

    Seconds stand for any: how long it takes depends on the machine.
    """
    wanted = [re.escape(line).replace(r"\.\.\.", ".*") for line in shown.splitlines()]
    wanted = [re.sub(r"\d+\\\.\d(?=\\ s\b)", r"\\d+\\.\\d", line) for line in wanted]
    printed = output.splitlines()
    return any(_begins(wanted, printed[start:]) for start in range(len(printed)))


def _begins(wanted: list[str], printed: list[str]) -> bool:
    if not wanted:
        return True
    if re.fullmatch(r"(\\ )*\.\*", wanted[0]):
        return any(_begins(wanted[1:], printed[skipped:]) for skipped in range(len(printed) + 1))
    return bool(printed) and re.fullmatch(wanted[0], printed[0]) is not None and _begins(wanted[1:], printed[1:])


def plain(output: str) -> str:
    """What was printed, without colours, pytest's margin, and the folder of this test."""
    return re.sub(r"\x1b\[[0-9;]*m|^E   (?=\S)|^E(?=  )", "", output, flags=re.MULTILINE)


@pytest.mark.parametrize(("code", "text"), [pytest.param(*pair, id=str(pair[1])) for pair in pairs(AT_THE_START)])
def test_wrong_declarations_are_answered_as_shown(project: Project, code: list[Block], text: Block) -> None:
    project.write(code)
    result = project.plan()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    output = plain(result.stderr.str())
    assert is_printed(text.text, output), f"shown:\n{text.text}\nprinted:\n{output}"


@pytest.mark.parametrize(("code", "text"), [pytest.param(*pair, id=str(pair[1])) for pair in pairs("PlanError")])
def test_plans_that_cannot_be_carried_out_are_refused_as_shown(
    project: Project, code: list[Block], text: Block
) -> None:
    project.write(code)
    (project.path / "test_it.py").write_text("def test_it(one, two):\n    pass\n")
    budget = ["--isolate-max-containers=1"] if "budget" in text.text else []
    result = project.plan("--isolate-reuse", *budget)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    output = plain(result.stderr.str())
    assert is_printed(text.text, output), f"shown:\n{text.text}\nprinted:\n{output}"


@pytest.mark.engine
def test_services_that_do_not_come_up_are_explained_as_shown(project: Project, real_engine: Engine) -> None:
    found = pairs(*AT_RUN_TIME)
    project.write(block for code, _ in found for block in code)
    declared = re.findall(r"^(\w+) = service", (project.path / "conftest.py").read_text(), re.MULTILINE)
    tests = [f"def test_{name}({name}):\n    pass\n" for name in declared]
    (project.path / "test_all.py").write_text("\n\n".join(tests))
    result = project.run("--tb=short")
    result.assert_outcomes(errors=len(declared))
    output = plain(result.stdout.str())
    missing = [text.text for _, text in found if not is_printed(text.text, output)]
    assert not missing, f"shown, but not printed:\n{''.join(missing)}\nprinted:\n{output}"


def test_texts_of_options_are_as_shown(pytester: pytest.Pytester) -> None:
    for block in (b for b in BLOCKS if b.headings[1] == "Options" and "--isolate" in b.text):
        option = re.match(r"ERROR: (\S+):", block.text)
        assert option
        result = pytester.runpytest_inprocess("--isolate", option[1])
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert block.text in result.stderr.str()


PROVED = [text for _, text in pairs(AT_THE_START, *AT_RUN_TIME)]


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "text" and b not in PROVED], ids=str)
def test_no_text_is_shown_that_the_code_does_not_have(block: Block) -> None:
    """For errors that are too much to provoke here: what happened and what to do are in the code in these words."""
    templates = texts_in_the_code()
    for line in block.text.splitlines():
        if match := re.match(r"(?:  do +)?([a-zA-Z].*)", line):
            said = match[1]
            assert any(t.search(said) for t in templates), f"nothing in the code says {said!r}"


@cache
def texts_in_the_code() -> tuple[re.Pattern[str], ...]:
    """Every text in the package that is long enough to be told from others; what is filled in may be anything."""
    found = []
    for path in (ROOT / "pytest_isolate").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            literal = [p.value if isinstance(p, ast.Constant) and isinstance(p.value, str) else None for p in parts]
            if sum(len(part) for part in literal if part) >= 8:
                found.append(re.compile(".*".join(re.escape(part.strip("\n")) if part else "" for part in literal)))
    return tuple(found)
