"""Command line and ini into frozen settings."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest

Value = TypeVar("Value")

VARIANT_OPTION = "--isolate-variant"
USE_OPTION = "--isolate-use"
REGISTRY_OPTION = "--isolate-registry"
USE_VARIABLE = "PYTEST_ISOLATE_USE"
REGISTRY_VARIABLE = "PYTEST_ISOLATE_REGISTRY"
DEFAULT_SUBNETS = "10.189.0.0/16"
DEFAULT_BIND = "127.0.0.1"
DEFAULT_IDLE = "1h"
DEFAULT_IDLE_S = 3600.0
DEFAULT_IN_MEMORY = "1g"
DEFAULT_PULL = "missing"
DEFAULT_IN_MEMORY_BYTES = 1 << 30
HOST_VARIABLE = "PYTEST_ISOLATE_HOST"
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")
KEEP_NEVER, KEEP_FAILED, KEEP_ALWAYS = "never", "failed", "always"
_DEFAULTS = {
    "subnets": DEFAULT_SUBNETS,
    "reuse-idle": DEFAULT_IDLE,
    "in-memory": DEFAULT_IN_MEMORY,
    "keep": KEEP_NEVER,
}


class Settings(NamedTuple):
    """How this run isolates."""

    plan_only: bool
    subnets: str
    bind: str
    host: str
    cache: bool
    in_memory_bytes: int
    reuse: bool
    reuse_idle_s: float
    project: str
    max_memory_bytes: int | None
    max_containers: int | None
    keep: str
    artifacts: Path | None = None
    page: Path | None = None
    ryuk: bool = False


def add_options(parser: pytest.Parser) -> None:
    """The options of this plugin; docs/options.md describes each."""
    group = parser.getgroup("isolate", "services in containers (pytest-isolate)")
    group.addoption("--isolate", action="store_true", help="start the services that the tests need, in containers")
    group.addoption(
        "--isolate-plan",
        action="store_true",
        help="print which services the selected tests would start, and for which of them; run nothing",
    )
    group.addoption(
        "--isolate-subnets",
        metavar="CIDR",
        help=f"address pool for the stacks' private networks (default: {DEFAULT_SUBNETS})",
    )
    group.addoption(
        "--isolate-bind",
        metavar="ADDRESS",
        help=f"address of the engine's host on which services are published (default: {DEFAULT_BIND}, this host only; "
        "on an engine elsewhere all its addresses)",
    )
    group.addoption(
        "--isolate-host",
        metavar="ADDRESS",
        help="where published services answer, for tests (default: found out from the engine's own address)",
    )
    group.addoption(
        "--isolate-no-cache",
        action="store_true",
        help="start every service from its own image, and save nothing of what it makes at its first start",
    )
    group.addoption(
        "--isolate-in-memory",
        metavar="SIZE",
        help="most that a database may keep in memory, where its data is meant for one run only; 0 keeps it on disk "
        f"(default: {DEFAULT_IN_MEMORY})",
    )
    group.addoption(
        "--isolate-reuse",
        action="store_true",
        help="keep what lives for the whole run, and use it again in the next run if nothing of it has changed",
    )
    group.addoption(
        "--isolate-reuse-idle",
        metavar="TIME",
        help=f"how long kept services may be unused before a later run removes them (default: {DEFAULT_IDLE})",
    )
    group.addoption(
        "--isolate-project",
        metavar="NAME",
        help="share kept services with every checkout that gives this name (default: the root folder, so no other)",
    )
    group.addoption(
        "--isolate-max-memory",
        metavar="SIZE",
        help="memory that all services of the run may take together (default: 80%% of this machine's)",
    )
    group.addoption(
        "--isolate-max-containers",
        metavar="NUMBER",
        help="containers that may run at once (default: 200)",
    )
    group.addoption(
        "--isolate-keep",
        metavar="WHEN",
        help="never, failed or always: leave what failed tests have used, or all that is there at the end, for you to "
        f"look inside (default: {KEEP_NEVER})",
    )
    group.addoption(
        "--isolate-artifacts",
        metavar="DIR",
        help="store what services wrote during failed tests in this folder, whole",
    )
    group.addoption(
        "--isolate-report",
        metavar="FILE.html",
        help="write a page about the run: its timeline, its services, what they wrote and what they took",
    )
    group.addoption(
        VARIANT_OPTION,
        metavar="SERVICE=ALTERNATIVE",
        action="append",
        default=[],
        help="run the tests that reach a service with this alternative of it only: one of its variants, or an image; "
        "may be given several times",
    )
    group.addoption(
        USE_OPTION,
        metavar="SERVICE=URL",
        action="append",
        default=[],
        help="hand tests this service, which runs already, instead of starting one; may be given several times",
    )
    group.addoption(
        REGISTRY_OPTION,
        metavar="PREFIX",
        action="append",
        default=[],
        help="fetch images from here: those of Docker Hub, or with REGISTRY=PREFIX those of another registry (*: of "
        "all); may be given several times",
    )
    group.addoption(
        "--isolate-pull",
        metavar="WHEN",
        help=f"missing, always or never: when images are fetched from their registry (default: {DEFAULT_PULL})",
    )
    group.addoption(
        "--isolate-platform",
        metavar="PLATFORM",
        help="run images of this platform, such as linux/amd64 (default: the engine's own)",
    )
    parser.addini("isolate", "start services as if --isolate was given", type="bool", default=False)
    parser.addini("isolate_subnets", "default of --isolate-subnets", default=DEFAULT_SUBNETS)
    parser.addini("isolate_bind", "default of --isolate-bind", default="")
    parser.addini("isolate_host", "default of --isolate-host", default="")
    parser.addini("isolate_cache", "false: as if --isolate-no-cache was given", type="bool", default=True)
    parser.addini("isolate_in_memory", "default of --isolate-in-memory", default=DEFAULT_IN_MEMORY)
    parser.addini("isolate_ryuk", "on an engine elsewhere, have Ryuk clean up too", type="bool", default=False)
    parser.addini("isolate_reuse", "keep services as if --isolate-reuse was given", type="bool", default=False)
    parser.addini("isolate_reuse_idle", "default of --isolate-reuse-idle", default=DEFAULT_IDLE)
    parser.addini("isolate_project", "default of --isolate-project", default="")
    parser.addini("isolate_keep", "default of --isolate-keep", default=KEEP_NEVER)
    parser.addini("isolate_max_memory", "default of --isolate-max-memory", default="")
    parser.addini("isolate_max_containers", "default of --isolate-max-containers", default="")
    parser.addini("isolate_artifacts", "default of --isolate-artifacts, from the root folder", default="")
    parser.addini("isolate_use", "default of --isolate-use: SERVICE=URL, one a line", type="linelist", default=[])
    parser.addini("isolate_registry", "default of --isolate-registry, one a line", type="linelist", default=[])
    parser.addini("isolate_pull", "default of --isolate-pull", default=DEFAULT_PULL)
    parser.addini("isolate_platform", "default of --isolate-platform", default="")
    parser.addini("isolate_report", "default of --isolate-report, from the root folder", default="")


def parse_settings(config: pytest.Config) -> Settings | None:
    """The settings in force, None for a run without services; pytest.UsageError for a value that cannot be used."""
    plan_only = config.getoption("--isolate-plan")
    if not (config.getoption("--isolate") or config.getini("isolate") or plan_only):
        return None
    return build_settings(config)


def _has_service_options(config: pytest.Config) -> bool:
    """Whether there is anything to be wrong about in the options that are about all services."""
    option = config.option
    given = (option.isolate_use, option.isolate_registry, option.isolate_pull, option.isolate_platform)
    written = (config.getini("isolate_use"), config.getini("isolate_registry"), config.getini("isolate_platform"))
    variables = (os.environ.get(USE_VARIABLE), os.environ.get(REGISTRY_VARIABLE))
    return any((*given, *written, *variables)) or config.getini("isolate_pull") != DEFAULT_PULL


def build_settings(config: pytest.Config) -> Settings:
    """The settings, whether services are asked for or not; pytest.UsageError for a value that cannot be used."""
    if _has_service_options(config):
        from pytest_isolate.plugin.service_options import adjustment_of  # with all of what a service is: 17 ms

        adjustment_of(config)
    plan_only = config.getoption("--isolate-plan")
    memory, containers = _value(config, "max-memory"), _value(config, "max-containers")
    return Settings(
        plan_only=plan_only,
        subnets=_parse(config, "subnets", _parse_pool, DEFAULT_SUBNETS),
        bind=_parse(config, "bind", _parse_address) if _value(config, "bind") else "",
        host=chosen_host(config.getoption("--isolate-host"), str(config.getini("isolate_host"))),
        cache=not config.getoption("--isolate-no-cache") and bool(config.getini("isolate_cache")),
        in_memory_bytes=_parse(config, "in-memory", _parse_size_or_nothing, DEFAULT_IN_MEMORY_BYTES),
        reuse=config.getoption("--isolate-reuse") or bool(config.getini("isolate_reuse")),
        reuse_idle_s=_parse(config, "reuse-idle", _parse_duration, DEFAULT_IDLE_S),
        project=_value(config, "project") or str(config.rootpath),
        max_memory_bytes=_parse(config, "max-memory", _parse_size) if memory else None,
        max_containers=_parse(config, "max-containers", _parse_count) if containers else None,
        keep=_parse(config, "keep", _parse_keep, KEEP_NEVER),
        artifacts=_artifacts(config),
        page=_page(config),
        ryuk=bool(config.getini("isolate_ryuk")),
    )


def runs_no_tests(config: pytest.Config, settings: Settings) -> bool:
    """Whether the options say that no test will run, so that nothing may be started."""
    names = ("help", "markers", "cacheshow", "collectonly", "setupplan", "showfixtures", "show_fixtures_per_test")
    return settings.plan_only or any(getattr(config.option, name, False) for name in names)


def chosen_host(option: str | None, ini: str) -> str:
    """Where services answer, by the command line, the environment or the configuration; pytest.UsageError if nowhere.

    The environment comes before a file: the same project runs on a laptop, and in a container of a CI service.
    """
    named = [("--isolate-host", option), (HOST_VARIABLE, os.environ.get(HOST_VARIABLE)), ("isolate_host", ini)]
    for name, value in named:
        if value and not _HOST.fullmatch(value):
            raise pytest.UsageError(f"{name}={value}: not a host\n  valid  a name or an IPv4 address, without a port")
        if value:
            return value
    return ""


def parse_variants(config: pytest.Config) -> dict[str, list[str]]:
    """The alternatives that are named, by service; pytest.UsageError for what names none."""
    chosen: dict[str, list[str]] = {}
    for text in config.getoption(VARIANT_OPTION):
        name, _, value = text.partition("=")
        if not (name and value):
            valid = "SERVICE=ALTERNATIVE, such as db=postgres:17"
            raise pytest.UsageError(f"{VARIANT_OPTION}={text}: names no alternative of a service\n  valid  {valid}")
        chosen.setdefault(name, []).append(value)
    return chosen


def _value(config: pytest.Config, name: str) -> str:
    return config.getoption(f"--isolate-{name}") or str(config.getini(f"isolate_{name.replace('-', '_')}"))


def _artifacts(config: pytest.Config) -> Path | None:
    """A folder on the command line is meant from where pytest was called, one in a file from the root folder."""
    option = config.getoption("--isolate-artifacts")
    folder = option or str(config.getini("isolate_artifacts"))
    if not folder:
        return None
    path = (config.invocation_params.dir if option else config.rootpath) / folder
    if path.exists() and not path.is_dir():
        raise pytest.UsageError(f"--isolate-artifacts={folder}: is not a folder")
    return path


def _page(config: pytest.Config) -> Path | None:
    """A file on the command line is meant from where pytest was called, one in a file from the root folder."""
    option = config.getoption("--isolate-report")
    file = option or str(config.getini("isolate_report"))
    if not file:
        return None
    path = (config.invocation_params.dir if option else config.rootpath) / file
    if path.is_dir():
        raise pytest.UsageError(f"--isolate-report={file}: is a folder\n  valid  a file, such as {file}/report.html")
    return path


def _parse(config: pytest.Config, name: str, parse: Callable[[str], Value], default: Value | None = None) -> Value:
    """The value of an option; with a default, what that one is parsed to: parsing costs imports."""
    value = _value(config, name)
    if default is not None and value == _DEFAULTS.get(name):
        return default
    try:
        return parse(value)
    except ValueError as error:
        valid = getattr(error, "valid", "")
        text = f"--isolate-{name}={value}: {error}" + (f"\n  valid  {valid}" if valid else "")
        raise pytest.UsageError(text) from None


def _parse_duration(value: str) -> float:
    from pytest_isolate.declarations.values import parse_duration

    return parse_duration(value)


def _parse_size(value: str) -> int:
    from pytest_isolate.declarations.values import parse_size

    return parse_size(value)


def _parse_size_or_nothing(value: str) -> int:
    return 0 if value == "0" else _parse_size(value)


def _parse_pool(value: str) -> str:
    from ipaddress import IPv4Network

    from pytest_isolate.declarations.values import InvalidValue

    try:
        smallest = IPv4Network(value).prefixlen > 28
    except ValueError as error:
        raise InvalidValue(str(error), f"an IPv4 network such as {DEFAULT_SUBNETS}") from None
    if smallest:
        raise InvalidValue("smaller than a /28, which one network needs", f"an IPv4 network such as {DEFAULT_SUBNETS}")
    return value


def _parse_address(value: str) -> str:
    from ipaddress import IPv4Address

    from pytest_isolate.declarations.values import InvalidValue

    try:
        return str(IPv4Address(value))
    except ValueError:
        raise InvalidValue("not an IPv4 address", "such as 127.0.0.1, or 0.0.0.0 for all") from None


def _parse_keep(value: str) -> str:
    from pytest_isolate.declarations.values import InvalidValue

    if value not in (KEEP_NEVER, KEEP_FAILED, KEEP_ALWAYS):
        raise InvalidValue(f"{value!r} does not say when", f"{KEEP_NEVER}, {KEEP_FAILED}, {KEEP_ALWAYS}")
    return value


def _parse_count(value: str) -> int:
    from pytest_isolate.declarations.values import InvalidValue

    if not value.isdecimal() or int(value) < 1:
        raise InvalidValue(f"{value!r} is not a number of containers", "a whole number from 1")
    return int(value)
