"""The options that are about all services, as what they change of each."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pytest_isolate.declarations.external import parse_used
from pytest_isolate.declarations.run_options import RunOverrides, parse_registries
from pytest_isolate.declarations.values import InvalidValue
from pytest_isolate.model.endpoint import ExternalService
from pytest_isolate.plugin.options import PLATFORM, PULL, REGISTRY, USE

_KEY: pytest.StashKey[RunOverrides] = pytest.StashKey()


def run_overrides(config: pytest.Config) -> RunOverrides:
    """Changes that the options make to every service; pytest.UsageError for a value that cannot be used."""
    if _KEY not in config.stash:
        config.stash[_KEY] = read_run_overrides(config, config.option)
    return config.stash[_KEY]


def read_run_overrides(config: pytest.Config, options: argparse.Namespace) -> RunOverrides:
    """Read them from these options, which may be those known before pytest has loaded all plugins."""
    pull, platform = PULL.read(config, options), PLATFORM.read(config, options)
    prefixes: dict[str, str] = {}
    for given in REGISTRY.given(config, options):
        with _usage_errors_of(f"{given.source}={given.text}"):
            prefixes = {**parse_registries([given.text]), **prefixes}
    external: dict[str, ExternalService] = {}
    for given in USE.given(config, options):
        with _usage_errors_of(given.source):  # what stands there may hold a password
            name, service = parse_used(given.text, given.source)
            external.setdefault(name, service)
    return RunOverrides(prefixes=prefixes, pull=pull, platform=platform, external=external)


@contextmanager
def _usage_errors_of(subject: str) -> Iterator[None]:
    try:
        yield
    except InvalidValue as wrong:
        subject = f"{subject}: {wrong.key}" if wrong.key else subject
        raise pytest.UsageError(f"{subject}: {wrong.reason}\n  valid  {wrong.valid}") from None
