"""Command line and ini into frozen settings."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

DEFAULT_SUBNETS = "10.189.0.0/16"
DEFAULT_BIND = "127.0.0.1"


@dataclass(frozen=True)
class Settings:
    """How this run isolates."""

    is_on: bool
    plan_only: bool
    subnets: str
    bind: str


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
        help=f"address of this host on which services are published (default: {DEFAULT_BIND}, this host only)",
    )
    parser.addini("isolate", "start services as if --isolate was given", type="bool", default=False)
    parser.addini("isolate_subnets", "default of --isolate-subnets", default=DEFAULT_SUBNETS)
    parser.addini("isolate_bind", "default of --isolate-bind", default=DEFAULT_BIND)


def parse_settings(config: pytest.Config) -> Settings:
    """The settings in force; pytest.UsageError for a value that cannot be used."""
    plan_only = config.getoption("--isolate-plan")
    settings = Settings(
        is_on=config.getoption("--isolate") or bool(config.getini("isolate")) or plan_only,
        plan_only=plan_only,
        subnets=config.getoption("--isolate-subnets") or config.getini("isolate_subnets"),
        bind=config.getoption("--isolate-bind") or config.getini("isolate_bind"),
    )
    if settings.is_on:
        _check_addresses(settings)
    return settings


def _check_addresses(settings: Settings) -> None:
    from ipaddress import IPv4Address, IPv4Network  # costs milliseconds that a run without --isolate need not pay

    try:
        if IPv4Network(settings.subnets).prefixlen > 28:
            raise ValueError("smaller than a /28, which one network needs")
    except ValueError as error:
        raise pytest.UsageError(
            f"--isolate-subnets={settings.subnets}: {error}\n  valid  an IPv4 network such as {DEFAULT_SUBNETS}"
        ) from None
    try:
        IPv4Address(settings.bind)
    except ValueError:
        raise pytest.UsageError(
            f"--isolate-bind={settings.bind}: not an IPv4 address\n  valid  such as 127.0.0.1, or 0.0.0.0 for all"
        ) from None
