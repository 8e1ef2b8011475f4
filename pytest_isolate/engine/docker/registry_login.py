"""Logins to registries, as `docker login` and credential helpers keep them: read, never written, never told."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docker import auth
from docker.errors import DockerException
from msgspec import Struct

from pytest_isolate.user_files import find_home

_HELPER = "docker-credential-"


class Login(Struct, frozen=True, kw_only=True):
    """A login to show a registry; empty for none. `where` says what was read, without any secret."""

    content: Mapping[str, Any] = {}
    where: str
    trouble: str = ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(where={self.where!r}, trouble={self.trouble!r})"


def find_login(registry: str) -> Login:
    """The login for a registry from Docker's configuration: its helper's, else the file's own.

    A helper that is not there, as in a configuration that was copied from another machine, is done without: what is
    public needs no login, and the error of what is not says so.
    """
    file = config_file()
    config = _load_config()
    helper = config.get_credential_store(registry)
    trouble = ""
    if helper and not _is_there(helper):
        trouble = f"{_HELPER}{helper}, which {file} names, is not on PATH"
        config, helper = auth.AuthConfig({"auths": config.auths}), None
    try:
        found = config.resolve_authconfig(registry)
    except DockerException as error:
        return Login(where=f"no login for {registry}", trouble=f"{_HELPER}{helper} failed: {error}")
    except (ValueError, KeyError, TypeError):  # of what it has said nothing is told: it may be a secret
        return Login(where=f"no login for {registry}", trouble=f"{_HELPER}{helper} said nothing that is a login")
    if not found:
        return Login(where=f"no login for {registry} in {file}", trouble=trouble)
    user = found.get("username") or found.get("Username") or "a token"
    source = f"{_HELPER}{helper}" if "ServerAddress" in found else str(file)
    return Login(content=found, where=f"logged in as {user}, from {source}", trouble=trouble)


def usable_logins() -> auth.AuthConfig:
    """All logins, but for those of helpers that are not there."""
    config = _load_config()
    helpers = {registry: name for registry, name in config.cred_helpers.items() if _is_there(name)}
    usable = {"auths": config.auths, "credHelpers": helpers}
    if config.creds_store and _is_there(config.creds_store):
        usable["credsStore"] = config.creds_store
    return auth.AuthConfig(usable)


def _load_config() -> auth.AuthConfig:
    # The SDK would wait for the other end of a pipe.
    is_odd = config_file().exists() and not config_file().is_file()
    return auth.AuthConfig({}) if is_odd else auth.load_config()


def config_file() -> Path:
    """Path of the configuration of Docker's client."""
    return Path(os.environ.get("DOCKER_CONFIG") or (find_home() or Path(os.devnull)) / ".docker") / "config.json"


def _is_there(helper: str) -> bool:
    return shutil.which(f"{_HELPER}{helper}") is not None
