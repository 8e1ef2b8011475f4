"""The pages of this project's documentation: blocks of code, tables, headings and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
# What these show is wrong on purpose: test_errors_page.py reads them.
ERROR_PAGES = tuple(DOCS / f"{name}.md" for name in ("errors", "errors-declarations", "errors-stacks", "errors-engine"))
NAMES = (
    "how-it-works",
    "declaring",
    "fresh",
    "presets",
    "testcontainers",
    "compose",
    "variants",
    "handle",
    "faults",
    "options",
    "command",
    "report",
    "registries",
    "builds",
    "running-services",
    "snapshots",
)
CHECKED = [
    ROOT / "README.md",
    *(DOCS / f"{name}.md" for name in NAMES),
]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(DOCS.rglob("*.md")),
    *sorted(ROOT.glob("examples/**/*.md")),
]


@dataclass(frozen=True)
class Block:
    """Fenced code: where it stands, its language, and its text."""

    page: Path
    line: int
    headings: tuple[str, ...]
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def section(self) -> tuple[str, ...]:
        """The heading of the second level that it stands under."""
        return self.headings[:2]

    @property
    def file_name(self) -> str:
        """The file that its first line names, as in `# shop/conftest.py`."""
        match = re.match(r"# ([\w/.-]+\.(?:py|toml|ya?ml))\n", self.text)
        return match[1] if match else ""

    @property
    def is_test_module(self) -> bool:
        return self.language == "python" and re.search(r"^\s*(async )?def test_", self.text, re.MULTILINE) is not None


def read_blocks(page: Path) -> list[Block]:
    """Every fenced block of a page, in order."""
    blocks = []
    opened: tuple[int, str, str] | None = None
    inside: list[str] = []
    headings: tuple[str, ...] = ()
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        fence = re.match(r"( *)```([\w-]*)", line)
        if opened is None:
            if fence:
                opened, inside = (number, fence[1], fence[2]), []
            elif match := re.match(r"(#+) (.*)", line):
                headings = (*headings[: len(match[1]) - 1], match[2])
        elif fence:
            text = "".join(f"{each.removeprefix(opened[1])}\n" for each in inside)
            blocks.append(Block(page, opened[0], headings, opened[2], text))
            opened = None
        else:
            inside.append(line)
    return blocks


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^( *)```.*?^\1```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def headings(page: Path) -> list[str]:
    """The texts of a page's headings."""
    return re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)


def section(page: Path, heading: str) -> str:
    """What stands under a heading, down to the next one of its level or above."""
    match = re.search(rf"^(#+) {re.escape(heading)}$", prose(page), re.MULTILINE)
    assert match, f"{page.name} has no heading {heading!r}"
    rest = prose(page)[match.end() :]
    end = re.search(rf"^#{{1,{len(match[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def first_cells(text: str) -> list[str]:
    """The words in `code` in the first column of the tables in a text."""
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return [word for cell in rows for word in re.findall(r"`([^`]+)`", cell)]


def links(page: Path) -> Iterator[str]:
    """The targets of a page's links."""
    return iter(re.findall(r"\]\(([^)\s]+)\)", prose(page)))


def anchor(heading: str) -> str:
    """A heading's anchor, as code forges make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
