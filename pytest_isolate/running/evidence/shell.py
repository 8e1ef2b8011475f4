"""Commands for a shell of this host that lead into an instance, in the words of its engine. Pure.

`{container}` in a command stands for the container's name. A random password is never part of one: the shell asks the
container for it.
"""

from __future__ import annotations

import shlex
from urllib.parse import quote

from msgspec import Struct

from pytest_isolate.engine.api import Commands
from pytest_isolate.model.declaration import Secret
from pytest_isolate.model.fresh import COPY_METHODS
from pytest_isolate.model.service import ServiceSpec
from pytest_isolate.running.containers.view import ServiceView, default_url

CONTAINER = "{container}"
_OWN_PASSWORD = "{self.password}"  # noqa: S105  # a placeholder


class AccessHints(Struct, frozen=True, kw_only=True):
    """URL of an instance as seen from this host, empty where it has none, and commands that lead into it."""

    url: str
    commands: tuple[str, ...]


def build_entrance(view: ServiceView, commands: Commands) -> AccessHints:
    """The ways into an instance that runs; into a database of it where the view is that of a copy."""
    client = _client(view, commands)
    return AccessHints(url=_url(view, commands), commands=(*([client] if client else []), commands.enter(CONTAINER)))


def password_words(spec: ServiceSpec, password: str, commands: Commands) -> str:
    """Text that a shell replaces by the password, within double quotes; empty where the container does not tell it."""
    if spec.password is not Secret.RANDOM:
        return shlex.quote(password)
    for name, value in spec.env:
        if value == _OWN_PASSWORD:
            return f"$({commands.read_variable(CONTAINER, name)})"
    for number, word in enumerate(spec.command or ()):
        if word == _OWN_PASSWORD:
            return f"$({commands.read_argument(CONTAINER, number)})"
    return ""


def _url(view: ServiceView, commands: Commands) -> str:
    if not view.spec.ports:
        return ""
    template = view.spec.url or default_url(view.spec)
    if view.spec.password is not Secret.RANDOM or "{password}" not in template:
        return view.url(view.outside)
    words = {"user": view.spec.user, "database": view.spec.database}
    quoted = {key: quote(value or "", safe="") for key, value in words.items()}
    secret = password_words(view.spec, "", commands) or "***"
    return template.format(host=view.outside.host, port=view.outside.port, password=secret, **quoted)


def _client(view: ServiceView, commands: Commands) -> str:
    spec = view.spec
    method = COPY_METHODS.get(spec.copies or "")
    if method is None or not (method.client and spec.ports):
        return ""
    user, database = shlex.quote(spec.user or ""), shlex.quote(spec.database or "")
    words = method.client.format(port=spec.ports[0], user=user, database=database)
    in_shell = f"sh -c {shlex.quote(words)}" if words.startswith("exec ") else words
    return _enter(view, commands, method.password_variable, in_shell)


def _enter(view: ServiceView, commands: Commands, variable: str, command: str) -> str:
    secret = password_words(view.spec, view.password or "", commands)
    given = f'{variable}="{secret}"' if secret.startswith("$") else f"{variable}={secret}" if secret else ""
    return commands.run_inside(CONTAINER, command, given)
