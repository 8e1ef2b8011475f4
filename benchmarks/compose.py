"""Docker Compose, which pytest-docker runs: the one that is installed, or one from Debian."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from benchmarks.environments import ROOT, cache_folder

_RELEASE = "trixie"  # bookworm has only Compose 1, which is much slower: a comparison with it would flatter us
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_PLUGIN = "usr/libexec/docker/cli-plugins/docker-compose"


def find_compose() -> tuple[str, str] | None:
    """The command of Docker Compose and its version, where there is one."""
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
            _call("dpkg-deb", "--extract", str(package), str(_unpacked()))


def _unpacked() -> Path:
    return cache_folder() / "compose"


def _call(*argv: str, folder: Path | None = None) -> str:
    return subprocess.run(argv, check=True, cwd=folder, capture_output=True, text=True).stdout
