"""How a person gets into an instance: commands for a shell of this host. Pure.

`{container}` in a command stands for the container's name. A random password is never part of one: the shell asks the
container for it.
"""

from __future__ import annotations

import re
import shlex
from urllib.parse import quote

from msgspec import Struct

from pytest_isolate.model.service import Secret, ServiceSpec
from pytest_isolate.running.containers.view import ServiceView, default_url

CONTAINER = "{container}"
_OWN_PASSWORD = "{self.password}"  # noqa: S105  # a placeholder
_SHELL = "docker exec -it {container} sh"
STOPPED = ("docker logs {container}", "docker start {container}")
"""What there is to do with an instance that does not run."""
_REDIS = "exec $(command -v redis-cli || command -v valkey-cli)"
_MARIADB = "exec $(command -v mariadb || command -v mysql)"


class AccessHints(Struct, frozen=True, kw_only=True):
    """URL of an instance as seen from this host, empty where it has none, and commands that lead into it."""

    url: str
    commands: tuple[str, ...]


def for_program(program: str, command: str) -> str:
    """A command for a shell with another program in the place of docker."""
    return re.sub(r"\bdocker (?=exec|inspect|logs|start)", f"{program} ", command)


def build_entrance(view: ServiceView) -> AccessHints:
    """The ways into an instance that runs; into a database of it where the view is that of a copy."""
    client = _client(view)
    return AccessHints(url=_url(view), commands=(*([client] if client else []), _SHELL))


def password_words(spec: ServiceSpec, password: str) -> str:
    """What a shell replaces by the password, within double quotes; empty where the container does not tell it."""
    if spec.password is not Secret.RANDOM:
        return shlex.quote(password)
    for name, value in spec.env:
        if value == _OWN_PASSWORD:
            return f"$(docker exec {CONTAINER} printenv {name})"
    for number, word in enumerate(spec.command or ()):
        if word == _OWN_PASSWORD:
            return f"$(docker inspect -f '{{{{index .Config.Cmd {number}}}}}' {CONTAINER})"
    return ""


def _url(view: ServiceView) -> str:
    """A url for double quotes of a shell."""
    if not view.spec.ports:
        return ""
    template = view.spec.url or default_url(view.spec)
    if view.spec.password is not Secret.RANDOM or "{password}" not in template:
        return view.url(view.outside)
    words = {"user": view.spec.user, "database": view.spec.database}
    quoted = {key: quote(value or "", safe="") for key, value in words.items()}
    secret = password_words(view.spec, "") or "***"
    return template.format(host=view.outside.host, port=view.outside.port, password=secret, **quoted)


def _client(view: ServiceView) -> str:
    """The server's own client, inside the container, where we know its protocol."""
    spec = view.spec
    user, database = shlex.quote(spec.user or ""), shlex.quote(spec.database or "")
    match spec.copies:
        case "postgres":
            return _enter(view, "PGPASSWORD", f"psql -h 127.0.0.1 -p {spec.ports[0]} -U {user} -d {database}")
        case "mariadb":
            words = f"{_MARIADB} -h 127.0.0.1 -P {spec.ports[0]} -u {user} {database}"
            return _enter(view, "MYSQL_PWD", f"sh -c {shlex.quote(words)}")
        case "redis":
            words = f"{_REDIS} -p {spec.ports[0]} -n {database}"
            return _enter(view, "REDISCLI_AUTH", f"sh -c {shlex.quote(words)}")
    return ""


def _enter(view: ServiceView, variable: str, command: str) -> str:
    secret = password_words(view.spec, view.password or "")
    given = f'-e {variable}="{secret}" ' if secret.startswith("$") else f"-e {variable}={secret} " if secret else ""
    return f"docker exec -it {given}{CONTAINER} {command}"
