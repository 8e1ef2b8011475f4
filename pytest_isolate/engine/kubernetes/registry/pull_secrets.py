"""Logins to registries of images, as pull secrets of a namespace have them. Pure."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import json
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from pytest_isolate.model.service import HUB

HUB_HOST = "registry-1.docker.io"
HUB_NAMES = (HUB, HUB_HOST, f"index.{HUB}", f"registry.{HUB}")


class RegistryLogin(Struct, frozen=True, kw_only=True):
    """A login to a registry, or a token that stands for one."""

    user: str = ""
    password: str = ""
    identity_token: str = ""


def read_pull_secrets(secrets: Iterable[Mapping[str, Any]]) -> dict[str, RegistryLogin]:
    """The logins in Secrets of type kubernetes.io/dockerconfigjson or dockercfg; of others, nothing."""
    found: dict[str, RegistryLogin] = {}
    for secret in secrets:
        held = secret.get("data") or {}
        try:
            if ".dockerconfigjson" in held:
                entries = json.loads(base64.b64decode(held[".dockerconfigjson"])).get("auths") or {}
            elif ".dockercfg" in held:
                entries = json.loads(base64.b64decode(held[".dockercfg"]))
            else:
                continue
            found |= {_login_key(key): _read_login(entry) for key, entry in entries.items()}
        except (ValueError, AttributeError, binascii.Error):
            continue  # kubelet passes over such a one, too
    return found


def find_login(logins: Mapping[str, RegistryLogin], host: str, repository: str) -> RegistryLogin | None:
    """The login for a repository: of all that fit, the one with the longest path. Hosts may have `*` in them."""
    names = (*HUB_NAMES, f"index.{HUB}/v1") if host == HUB_HOST else (host,)
    fitting = []
    for key in logins:
        key_host, _, path = key.partition("/")
        fits_host = any(_is_host(name.partition("/")[0], key_host) for name in names)
        is_hub = host == HUB_HOST and path in ("v1", "v2")  # docker login writes https://index.docker.io/v1/
        if fits_host and (is_hub or not path or f"{repository}/".startswith(f"{path}/")):
            fitting.append((0 if is_hub else len(path), key))
    return logins[max(fitting)[1]] if fitting else None


def _is_host(host: str, pattern: str) -> bool:
    """Tell that a host is meant: a `*` stands for one part of its name."""
    parts, wanted = host.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def _login_key(key: str) -> str:
    return key.partition("://")[2].rstrip("/") if "://" in key else key.rstrip("/")


def _read_login(entry: Mapping[str, Any]) -> RegistryLogin:
    user, _, password = base64.b64decode(entry.get("auth") or "").decode().partition(":")
    return RegistryLogin(
        user=entry.get("username") or user,
        password=entry.get("password") or password,
        identity_token=entry.get("identitytoken") or "",
    )
