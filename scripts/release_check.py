"""Check that this commit can be released: its version, its changelog, its sdist and wheel, and the quickstart with it.

`make release-check` runs it in the tox environment of that name, which has build, towncrier and twine.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "pytest_isolate"
DATA_FILES = {"page.css", "page.html", "page.js", "py.typed"}
METADATA_FILES = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
QUICKSTART = "examples/quickstart"
# What a reader of the quickstart installs beside the plugin.
QUICKSTART_NEEDS = "httpx"


class Problem(Exception):
    """What keeps this commit from being released."""


class Built(NamedTuple):
    sdist: Path
    wheel: Path

    @property
    def version(self) -> str:
        return self.wheel.name.split("-")[1]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="release-check-") as name:
        folder = Path(name)
        try:
            fragments = check_fragments()
            built = build(folder / "dist")
            check_changelog(built.version)
            check_tags(built.version, fragments)
            check_metadata(built)
            check_wheel(built.wheel)
            run_quickstart(built.wheel, folder)
        except Problem as problem:
            sys.exit(f"release-check: {problem}")
    say(f"{built.version} can be released")


def check_fragments() -> list[str]:
    """Let towncrier read changelog.d, which refuses names that are not <issue>.<type>[.<n>].md. Return their names."""
    folder = ROOT / "changelog.d"
    names = sorted(path.name for path in folder.glob("*.md") if path.name != "README.md")
    for name in names:
        if not (folder / name).read_text().strip():
            raise Problem(f"changelog.d/{name} is empty")
    run(sys.executable, "-m", "towncrier", "build", "--draft", "--version", "next", quiet=True)
    say(f"changelog.d: {len(names)} fragments wait for the next version")
    return names


def build(folder: Path) -> Built:
    """Build the sdist, and the wheel from it: a file that the sdist lacks cannot be in the wheel."""
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, quiet=True)
    built = Built(next(folder.glob("*.tar.gz")), next(folder.glob("*.whl")))
    say(f"built {built.sdist.name} and {built.wheel.name}")
    return built


def check_changelog(version: str) -> None:
    found = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    newest = found[1] if found else "nothing"
    if newest != version:
        raise Problem(f"pyproject.toml says {version}, but the first section of CHANGELOG.md is about {newest}")
    say(f"CHANGELOG.md begins with {version}")


def check_tags(version: str, fragments: list[str]) -> None:
    """A tag on this commit names this version; one on another commit means that this version is taken."""
    tag = f"v{version}"
    here = [name for name in git("tag", "--points-at", "HEAD") if re.match(r"v\d", name)]
    if wrong := [name for name in here if name != tag]:
        raise Problem(f"this commit has the tag {wrong[0]}, but its version is {version}")
    if not here and git("tag", "--list", tag):
        raise Problem(f"another commit has the tag {tag}: raise the version in pyproject.toml")
    if here and fragments:
        raise Problem(f"this commit has the tag {tag}, but changelog.d still holds {', '.join(fragments)}")
    say(f"the tag {tag} is on this commit" if here else f"the tag {tag} is free")


def check_metadata(built: Built) -> None:
    run(sys.executable, "-m", "twine", "check", "--strict", built.sdist, built.wheel, quiet=True)
    say("twine finds nothing wrong")


def check_wheel(wheel: Path) -> None:
    """The wheel holds every committed module and data file of the package, its metadata, and nothing else."""
    committed = git("ls-files", PACKAGE)
    modules = {name for name in committed if name.endswith(".py")}
    data = {name for name in committed if Path(name).name in DATA_FILES}
    if missing := DATA_FILES - {Path(name).name for name in data}:
        raise Problem(f"{PACKAGE} has no {in_words(missing)}")
    metadata = {f"{'-'.join(wheel.name.split('-')[:2])}.dist-info/{name}" for name in METADATA_FILES}
    belongs = modules | data | metadata
    with ZipFile(wheel) as archive:
        holds = set(archive.namelist())
    if missing := belongs - holds:
        raise Problem(f"the wheel lacks {in_words(missing)}")
    if extra := holds - belongs:
        raise Problem(f"the wheel holds what does not belong into it: {in_words(extra)}")
    say(f"the wheel holds {len(modules)} modules, {in_words(DATA_FILES)} and its metadata")


def run_quickstart(wheel: Path, folder: Path) -> None:
    """Install the wheel in an empty environment, and run a copy of the quickstart out of this checkout's sight."""
    run(sys.executable, "-m", "venv", folder / "env")
    python, pytest = folder / "env/bin/python", folder / "env/bin/pytest"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel, QUICKSTART_NEEDS)
    run(python, "-m", "pip", "check", quiet=True)
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    say(f"pytest --isolate {QUICKSTART}, with the wheel:")
    run(pytest, "--isolate", QUICKSTART, cwd=folder)


def run(*command: str | Path, cwd: Path = ROOT, quiet: bool = False) -> None:
    """Run a command; what a quiet one printed is shown when it fails."""
    sys.stdout.flush()
    output = subprocess.PIPE if quiet else None
    done = subprocess.run(command, cwd=cwd, stdout=output, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        print(done.stdout or "", end="")
        raise Problem(f"{' '.join(map(str, command))} ended with code {done.returncode}")


def git(*arguments: str) -> list[str]:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Problem(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.splitlines()


def in_words(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def say(text: str) -> None:
    print(f"release-check: {text}", flush=True)


if __name__ == "__main__":
    main()
