"""Virtual environments and copies of projects, kept in the user's cache folder, outside this repository."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
_PROJECTS = Path(__file__).parent / "projects"


def ensure_venv(name: str, *requirements: str) -> Path:
    """The folder with the commands of a virtual environment that holds just these."""
    folder = cache_folder() / name
    wanted = f"{sys.version} {requirements}"
    stamp = folder / ".holds"
    if not stamp.exists() or stamp.read_text() != wanted:
        _call(sys.executable, "-m", "venv", "--clear", str(folder))
        _pip_install(folder, *requirements)
        stamp.write_text(wanted)
    return folder / "bin"


def ensure_venv_with_plugin(name: str, *requirements: str) -> Path:
    """The same with this project in it, installed as users would (not editable), as it is right now."""
    commands = ensure_venv(name, *requirements, str(ROOT))
    _pip_install(commands.parent, "--force-reinstall", "--no-deps", str(ROOT))
    return commands


def copy_project(name: str, place: str = "") -> Path:
    """A fresh copy of `projects/<name>`, where no configuration of this repository is found."""
    target = cache_folder() / "projects" / (place or name)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(_PROJECTS / name, target, ignore=shutil.ignore_patterns("__pycache__"))
    return target


def version_of(commands: Path, package: str) -> str:
    """The version of a package in a virtual environment."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return _call(str(commands / "python"), "-c", code).strip()


def clone_id() -> str:
    """Tells clones of this repository apart, so that two can measure at once."""
    return hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]


def cache_folder() -> Path:
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "pytest-isolate-benchmarks" / clone_id()


def _pip_install(folder: Path, *arguments: str) -> None:
    _call(str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments)


def _call(*argv: str) -> str:
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)} ended with code {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout
