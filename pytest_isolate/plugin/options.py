"""Every option in one table, from which come the command line, the keys of pytest's configuration, and the settings.

To add one: a row in OPTIONS with its field in Settings, and the place that reads that field. This module is imported in
every run of pytest, so whatever a value is parsed with is imported when one is given.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pytest_isolate.plugin.option import Given, Option

DEFAULT_SUBNETS = "10.189.0.0/16"
DEFAULT_BIND = "127.0.0.1"
DEFAULT_IN_MEMORY_BYTES = 1 << 30
KEEP_NEVER, KEEP_FAILED, KEEP_ALWAYS = "never", "failed", "always"
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")


class Settings(NamedTuple):
    """Settings of a run, checked."""

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


def _values() -> Any:
    from pytest_isolate.declarations import values  # only where a value is given

    return values


def _parse_pool(given: Given) -> str:
    from ipaddress import IPv4Network  # the same

    valid = f"an IPv4 network such as {DEFAULT_SUBNETS}"
    try:
        smallest = IPv4Network(given.text).prefixlen > 28
    except ValueError as error:
        raise _values().InvalidValue(str(error), valid) from None
    if smallest:
        raise _values().InvalidValue("smaller than a /28, which one network needs", valid)
    return given.text


def _parse_address(given: Given) -> str:
    from ipaddress import IPv4Address  # the same

    try:
        return str(IPv4Address(given.text))
    except ValueError:
        raise _values().InvalidValue("not an IPv4 address", "such as 127.0.0.1, or 0.0.0.0 for all") from None


def _parse_host(given: Given) -> str:
    if not _HOST.fullmatch(given.text):
        raise _values().InvalidValue("not a host", "a name or an IPv4 address, without a port")
    return given.text


def _parse_count(given: Given) -> int:
    if not given.text.isdecimal() or int(given.text) < 1:
        raise _values().InvalidValue(f"{given.text!r} is not a number of containers", "a whole number from 1")
    return int(given.text)


def _parse_keep(given: Given) -> str:
    valid = (KEEP_NEVER, KEEP_FAILED, KEEP_ALWAYS)
    if given.text not in valid:
        raise _values().InvalidValue(f"{given.text!r} does not say when", ", ".join(valid))
    return given.text


def _parse_folder(given: Given) -> Path:
    path = given.folder / given.text
    if path.exists() and not path.is_dir():
        raise ValueError("is not a folder")
    return path


def _parse_file(given: Given) -> Path:
    path = given.folder / given.text
    if path.is_dir():
        raise _values().InvalidValue("is a folder", f"a file, such as {given.text}/report.html")
    return path


def _parse_engine(given: Given) -> str:
    valid = ("docker", "kubernetes")
    if given.text not in valid:
        raise _values().InvalidValue(f"{given.text!r} is no kind of engine", ", ".join(valid))
    return given.text


def _parse_wait(given: Given) -> str:
    return f"{_values().parse_duration(given.text):g}"


def _parse_template(given: Given) -> str:
    path = given.folder / given.text
    if not path.is_file():
        raise ValueError("is not a file")
    return str(path)


# A row is easier to compare with others when it is not spread over one line for each argument.
# fmt: off
ISOLATE = Option(
    "", False, "start the services that the tests need, in containers", ini="start services as if --isolate was given")
PLAN = Option(
    "plan", False, "print which services the selected tests would start, and for which of them; run nothing",
    field="plan_only", ini="")
BIND = Option(
    "bind", "", f"address of the engine's host on which services are published (default: {DEFAULT_BIND}, this host "
    "only; on an engine elsewhere all its addresses)", "ADDRESS", field="bind", parse=_parse_address)
HOST = Option(
    "host", "", "where published services answer, for tests (default: found out from the engine's own address)",
    "ADDRESS", field="host", parse=_parse_host, variable="PYTEST_ISOLATE_HOST")
VARIANT = Option(
    "variant", (), "run the tests that reach a service with this alternative of it only: one of its variants, or an "
    "image; may be given several times", "SERVICE=ALTERNATIVE", ini="")
USE = Option(
    "use", (), "hand tests this service, which runs already, instead of starting one; may be given several times",
    "SERVICE=URL", ini="default of {flag}: SERVICE=URL, one a line", variable="PYTEST_ISOLATE_USE")
REGISTRY = Option(
    "registry", (), "fetch images from here: those of Docker Hub, or with REGISTRY=PREFIX those of another registry "
    "(*: of all); may be given several times", "PREFIX", ini="default of {flag}, one a line",
    variable="PYTEST_ISOLATE_REGISTRY")
PULL = Option(
    "pull", "missing", "missing, always or never: when images are fetched from their registry", "WHEN",
    parse=lambda given: _values().parse_pull(given.text), value="missing")
PLATFORM = Option(
    "platform", "", "run images of this platform, such as linux/amd64 (default: the engine's own)", "PLATFORM",
    parse=lambda given: _values().parse_platform(given.text), value=None)

EARLY = Option(
    "early", True, ini="false: start nothing before the tests are collected", key="isolate_early")
READY_FIRST = Option(
    "ready-first", False, "run the tests first that need no service, or only such as are ready",
    ini="order tests as if {flag} was given, where no other order is asked for")
# What reaches an engine reads these of the environment: in workers, in the guardian, in commands.
ENGINE_OPTIONS = (
    Option(
        "engine", "", "docker or kubernetes: where services run (default: the engine that answers)", "ENGINE",
        parse=_parse_engine, variable="PYTEST_ISOLATE_ENGINE"),
    Option(
        "kube-context", "", "the context of kubectl's configuration that names the cluster (default: the current one)",
        "NAME", variable="PYTEST_ISOLATE_KUBE_CONTEXT"),
    Option(
        "namespace", "", "the namespace of the cluster that services run in (default: the context's)", "NAME",
        variable="PYTEST_ISOLATE_NAMESPACE"),
    Option(
        "pod-template", "", "what every Pod gets besides: its labels, tolerations, pull secrets", "FILE",
        parse=_parse_template, variable="PYTEST_ISOLATE_POD_TEMPLATE", ini="default of {flag}, from the root folder"),
    Option(
        "push", "", "for a cluster, build images with Docker and push them here, where its nodes pull them", "REGISTRY",
        variable="PYTEST_ISOLATE_PUSH"),
    Option(
        "pod-wait", "", "how long a Pod may wait for room in its namespace's quota, for a node, and for its image "
        "(default: 5m)", "TIME", parse=_parse_wait, variable="PYTEST_ISOLATE_POD_WAIT"),
)

OPTIONS = (
    ISOLATE,
    PLAN,
    *ENGINE_OPTIONS,
    Option(
        "subnets", DEFAULT_SUBNETS, "address pool for the stacks' private networks", "CIDR",
        field="subnets", parse=_parse_pool, value=DEFAULT_SUBNETS),
    BIND,
    HOST,
    Option(
        "no-cache", True, "start every service from its own image, and save nothing of what it makes at its first "
        "start", field="cache", ini="false: as if {flag} was given", key="isolate_cache"),
    Option(
        "in-memory", "1g", "most that a database may keep in memory, where its data is meant for one run only; 0 keeps "
        "it on disk", "SIZE", field="in_memory_bytes", value=DEFAULT_IN_MEMORY_BYTES,
        parse=lambda given: 0 if given.text == "0" else _values().parse_size(given.text)),
    Option("ryuk", False, field="ryuk", ini="on an engine elsewhere, have Ryuk clean up too"),
    Option(
        "reuse", False, "keep what lives for the whole run, and use it again in the next run if nothing of it has "
        "changed", field="reuse", ini="keep services as if {flag} was given"),
    Option(
        "reuse-idle", "1h", "how long kept services may be unused before a later run removes them", "TIME",
        field="reuse_idle_s", parse=lambda given: _values().parse_duration(given.text), value=3600.0),
    Option(
        "project", "", "share kept services with every checkout that gives this name (default: the root folder, so no "
        "other)", "NAME", field="project"),
    Option(
        "max-memory", "", "memory that all services of the run may take together (default: 80%% of this machine's)",
        "SIZE", field="max_memory_bytes", parse=lambda given: _values().parse_size(given.text), value=None),
    Option(
        "max-containers", "", "containers that may run at once (default: 200)", "NUMBER",
        field="max_containers", parse=_parse_count, value=None),
    Option(
        "keep", KEEP_NEVER, "never, failed or always: leave what failed tests have used, or all that is there at the "
        "end, for you to look inside", "WHEN", field="keep", parse=_parse_keep, value=KEEP_NEVER),
    Option(
        "artifacts", "", "store what services wrote during failed tests in this folder, whole", "DIR",
        field="artifacts", parse=_parse_folder, value=None, ini="default of {flag}, from the root folder"),
    Option(
        "report", "", "write a page about the run: its timeline, its services, what they wrote and what they took",
        "FILE.html", field="page", parse=_parse_file, value=None, ini="default of {flag}, from the root folder"),
    VARIANT,
    USE,
    REGISTRY,
    PULL,
    PLATFORM,
    EARLY,
    READY_FIRST,
)
# fmt: on


def add_options(parser: pytest.Parser) -> None:
    """Add everything that can be set; docs/options.md describes each."""
    group = parser.getgroup("isolate", "services in containers (pytest-isolate)")
    for option in OPTIONS:
        if option.help:
            option.add(group)
        if option.ini:
            option.add_key(parser)


def are_services_wanted(config: pytest.Config, options: argparse.Namespace | None = None) -> bool:
    """True if this run is to start services, or to say which it would start."""
    return bool(ISOLATE.read(config, options) or PLAN.read(config, options))


def build_settings(config: pytest.Config) -> Settings:
    """The settings, whether services are asked for or not; pytest.UsageError for a value that cannot be used."""
    settings = Settings(**{option.field: option.read(config) for option in OPTIONS if option.field})
    return settings if settings.project else settings._replace(project=str(config.rootpath))


def has_service_options(config: pytest.Config) -> bool:
    """True if an option is given that is about all services: only then what reads it is imported."""
    return any(option.is_set(config) for option in (USE, REGISTRY, PULL, PLATFORM))


def runs_no_tests(config: pytest.Config, settings: Settings) -> bool:
    """True if the options say that no test will run, so that nothing may be started."""
    names = ("help", "markers", "cacheshow", "collectonly", "setupplan", "showfixtures", "show_fixtures_per_test")
    return settings.plan_only or any(getattr(config.option, name, False) for name in names)


def parse_variants(config: pytest.Config) -> dict[str, list[str]]:
    """The alternatives that are named, by service; pytest.UsageError for what names none."""
    chosen: dict[str, list[str]] = {}
    for given in VARIANT.given(config):
        name, _, value = given.text.partition("=")
        if not (name and value):
            valid = "SERVICE=ALTERNATIVE, such as db=postgres:17"
            raise pytest.UsageError(f"{VARIANT.flag}={given.text}: names no alternative of a service\n  valid  {valid}")
        chosen.setdefault(name, []).append(value)
    return chosen
