"""Print the command of Docker Compose 2: of the one that is installed, or of one that is fetched from Debian.

    scripts/docker_compose.py

The benchmarks need it because pytest-docker runs it, and tests/compose_corpus because it says what a file means.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parent.parent
_RELEASE = "trixie"  # bookworm has only Compose 1, which is much slower: a comparison with it would flatter us
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_PLUGIN = "usr/libexec/docker/cli-plugins/docker-compose"


def find_compose() -> tuple[str, str] | None:
    """Return the command of Docker Compose and its version, where there is one."""
    for command in ("docker compose", shlex.quote(str(_unpacked() / _PLUGIN)), "docker-compose"):
        with suppress(OSError):
            argv = [*shlex.split(command), "version", "--short"]
            done = subprocess.run(argv, check=False, capture_output=True, text=True)
            if done.returncode == 0:
                return command, done.stdout.strip()
    return None


def ensure_compose() -> None:
    """Fetch Docker Compose 2 where it is missing; where that fails, install Debian's version 1."""
    found = find_compose()
    if found and not is_old(found[1]):
        return
    try:
        _unpack()
    except (OSError, subprocess.CalledProcessError):  # no Debian, or no mirror that has it
        if not found:
            # Says itself what is missing where it cannot install; pytest-docker is then left out.
            subprocess.run([ROOT / "scripts/apt-install", "docker-compose"], check=False)


def is_old(version: str) -> bool:
    """Return true for version 1, which is another program, written in Python."""
    return version.removeprefix("v").startswith("1.")


def _unpack() -> None:
    """Unpack the package into the cache. With lists of packages of its own, so that the machine stays as it is."""
    mirror = _call("apt-get", "indextargets", "--format", "$(REPO_URI)", "Label: Debian", "Component: main").split()[:1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "lists/partial").mkdir(parents=True)
        (folder / "archives/partial").mkdir(parents=True)
        (folder / "sources").write_text(f"deb [signed-by={_KEYRING}] {' '.join(mirror)} {_RELEASE} main\n")
        settings = {
            "Dir::Etc::SourceList": folder / "sources",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State::Lists": folder / "lists",
            "Dir::Cache": folder,
        }
        apt = ["apt-get", *(f"--option={key}={value}" for key, value in settings.items())]
        _call(*apt, "update")
        _call(*apt, "download", "docker-compose", folder=folder)
        for package in folder.glob("docker-compose_*.deb"):
            _unpacked().parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="unpacking-", dir=_unpacked().parent) as unpacking:
                _call("dpkg-deb", "--extract", str(package), unpacking)
                # Another process may do the same at this moment, as workers of one test run do: the first has it.
                with suppress(OSError):
                    (Path(unpacking) / "usr").rename(_made(_unpacked()) / "usr")


def _unpacked() -> Path:
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "pytest-isolate-docker-compose"


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _call(*argv: str, folder: Path | None = None) -> str:
    return subprocess.run(argv, check=True, cwd=folder, capture_output=True, text=True).stdout


def _main() -> int:
    ensure_compose()
    found = find_compose()
    if found is None or is_old(found[1]):
        print("Docker Compose 2 is not installed and could not be fetched from Debian", file=sys.stderr)
        return 1
    print(found[0])
    return 0


if __name__ == "__main__":
    sys.exit(_main())
