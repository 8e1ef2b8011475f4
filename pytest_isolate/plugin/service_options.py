"""The options that are about all services, from the command line, the environment and the configuration file."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator

import pytest

from pytest_isolate.declarations.external import parse_used
from pytest_isolate.declarations.run_options import RunOverrides, parse_registries
from pytest_isolate.declarations.values import InvalidValue, parse_platform, parse_pull
from pytest_isolate.model.endpoint import ExternalService
from pytest_isolate.plugin.options import REGISTRY_OPTION, REGISTRY_VARIABLE, USE_OPTION, USE_VARIABLE

_KEY: pytest.StashKey[RunOverrides] = pytest.StashKey()


def adjustment_of(config: pytest.Config) -> RunOverrides:
    """What the options make of every service; pytest.UsageError for a value that cannot be used."""
    if _KEY not in config.stash:
        config.stash[_KEY] = _read(config, config.option)
    return config.stash[_KEY]


def read_early(config: pytest.Config) -> RunOverrides:
    """The same, before pytest has loaded all plugins and knows all options."""
    return _read(config, config.known_args_namespace)


def _read(config: pytest.Config, options: argparse.Namespace) -> RunOverrides:
    pull = options.isolate_pull or str(config.getini("isolate_pull"))
    platform = options.isolate_platform or str(config.getini("isolate_platform"))
    places = _several(config, options.isolate_registry, REGISTRY_OPTION, REGISTRY_VARIABLE)
    try:
        subject = f"--isolate-pull={pull}"
        known_pull = parse_pull(pull)
        subject = f"--isolate-platform={platform}"
        known_platform = parse_platform(platform) if platform else None
        prefixes: dict[str, str] = {}
        for given_by, text in places:
            subject = f"{given_by}={text}"
            prefixes = {**parse_registries([text]), **prefixes}
        used: dict[str, ExternalService] = {}
        for given_by, text in _several(config, options.isolate_use, USE_OPTION, USE_VARIABLE):
            subject = given_by  # what stands there may hold a password
            name, found = parse_used(text, given_by)
            used.setdefault(name, found)
    except InvalidValue as wrong:
        subject = f"{subject}: {wrong.key}" if wrong.key else subject
        raise pytest.UsageError(f"{subject}: {wrong.reason}\n  valid  {wrong.valid}") from None
    return RunOverrides(prefixes=prefixes, pull=known_pull, platform=known_platform, external=used)


def _several(config: pytest.Config, given: Iterable[str], option: str, variable: str) -> Iterator[tuple[str, str]]:
    """Each text with what gives it; what comes first wins: the command line, the environment, the file."""
    key = option.lstrip("-").replace("-", "_")
    yield from ((option, text) for text in given)
    yield from ((variable, text) for text in os.environ.get(variable, "").split())
    yield from ((key, text) for text in config.getini(key))
