"""Entry point: what pytest calls in every run. What runs services is imported when a test needs one, and only then."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pytest_isolate.plugin.declaring.fixtures import (
    NEEDS_ISOLATE,
    SESSION_KEY,
    may_need_services,
    needs_service,
    sees_variants,
)
from pytest_isolate.plugin.options import (
    EARLY,
    ENGINE_OPTIONS,
    Settings,
    add_options,
    are_services_wanted,
    build_settings,
    has_service_options,
    parse_variants,
    runs_no_tests,
)

if TYPE_CHECKING:
    from pytest_isolate.plugin.declaring.toml import TomlReader
    from pytest_isolate.plugin.session import IsolateSession

_SETTINGS_KEY: pytest.StashKey[Settings | None] = pytest.StashKey()
_TOML_KEY: pytest.StashKey[TomlReader | None] = pytest.StashKey()
_MARKER = (
    "isolate(service={key: value}): run the test, or the tests of a class or module, with a service changed; see "
    "docs/variants.md of pytest-isolate"
)
_NEEDED_ENGINE = "isolate/needed-engine"
_FIRST_SERVICES = "isolate/first-services"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options; but first make sure that no other plugin owns them."""
    _refuse_other_distribution()
    add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Offer our own hooks."""
    from pytest_isolate.plugin import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, object, object]:
    """Set the environment variables of the project's TOML: before pytest-django reads settings."""
    if any(option.is_set(early_config, early_config.known_args_namespace) for option in ENGINE_OPTIONS):
        from pytest_isolate.plugin.declaring.process_variables import set_engine_variables

        set_engine_variables(early_config)
    reader = _find_toml(early_config)
    if reader and reader.may_have_variables:
        if are_services_wanted(early_config, early_config.known_args_namespace):
            from pytest_isolate.plugin.declaring.environment import set_environment

            set_environment(early_config, reader)
        elif any(name not in os.environ for name in reader.read_variables()):
            from pytest_isolate.plugin.declaring.stand_ins import set_stand_ins

            set_stand_ins(early_config, reader)
    return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """Read the options, and turn declarations in TOML into fixtures."""
    config.addinivalue_line("markers", _MARKER)
    config.stash[_SETTINGS_KEY] = _read_settings(config)
    parse_variants(config)
    reader = _find_toml(config)
    if reader:
        from pytest_isolate.plugin.declaring.toml import build_plugin

        config.pluginmanager.register(build_plugin(reader), "isolate-toml")
    settings, cache = config.stash[_SETTINGS_KEY], _cache_of(config)
    if settings and cache and cache.get(_NEEDED_ENGINE, False) and not runs_no_tests(config, settings):
        from pytest_isolate.plugin.run.early import start_guardian_early

        start_guardian_early(config)


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Begin to start what the last run with the same selection needed first, where that is known."""
    config, settings = session.config, session.config.stash[_SETTINGS_KEY]
    cache = getattr(config, "cache", None)
    if not settings or not EARLY.read(config) or hasattr(config, "workerinput") or runs_no_tests(config, settings):
        return
    if cache and cache.get(_FIRST_SERVICES, None):
        _ensure_run(config, settings).begin_early(session)


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize tests that use services with variants, also without --isolate, so that test ids do not change."""
    if not needs_service(metafunc.definition):
        return
    if parse_variants(metafunc.config) or sees_variants(metafunc.definition):
        from pytest_isolate.plugin.items.catalogues import parametrize

        parametrize(metafunc)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without --isolate, skip what needs a service."""
    if config.stash[_SETTINGS_KEY]:
        return
    for item in items:
        if needs_service(item):
            item.add_marker(pytest.mark.skip(reason=NEEDS_ISOLATE))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """With --isolate, begin the run, where a test may need a service."""
    settings = session.config.stash[_SETTINGS_KEY]
    has_begun = SESSION_KEY in session.config.stash
    if settings and (settings.plan_only or settings.page or has_begun or may_need_services(session)):
        _ensure_run(session.config, settings).begin(session)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """In xdist's controller: a worker is about to start."""
    settings = node.config.stash[_SETTINGS_KEY]
    if settings:
        with _refusing():
            _ensure_run(node.config, settings).welcome_worker(node)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Note for the next run whether it is likely to need an engine."""
    cache = _cache_of(session.config)
    if session.config.stash[_SETTINGS_KEY] and cache and session.testscollected:
        run = session.config.stash.get(SESSION_KEY, None)
        needed = bool(run and run.has_engine)
        if cache.get(_NEEDED_ENGINE, False) != needed:
            cache.set(_NEEDED_ENGINE, needed)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say in one line how to run what was skipped."""
    if config.stash.get(_SETTINGS_KEY, None):
        return
    reports = terminalreporter.stats.get("skipped", ())
    number = sum(isinstance(r.longrepr, tuple) and NEEDS_ISOLATE in r.longrepr[-1] for r in reports)
    if number:
        from pytest_isolate.text import count

        tests = count(number, "test that needs services", "tests that need services")
        them = "it" if number == 1 else "them"
        terminalreporter.write_line(f"isolate: skipped {tests}; to run {them}: pytest --isolate", yellow=True)


def _find_toml(config: pytest.Config) -> TomlReader | None:
    """Reader of the project's declarations in TOML; None where there are none. The file is read and parsed once."""
    if _TOML_KEY not in config.stash:
        from pytest_isolate.plugin.declaring.configuration import find_configuration

        source = find_configuration(config.rootpath)
        if source:
            from pytest_isolate.plugin.declaring.toml import TomlReader
        config.stash[_TOML_KEY] = TomlReader(source) if source else None
    return config.stash[_TOML_KEY]


def _read_settings(config: pytest.Config) -> Settings | None:
    """The settings in force, None for a run without services; pytest.UsageError for a value that cannot be used."""
    if not are_services_wanted(config):
        return None
    if has_service_options(config):
        from pytest_isolate.plugin.service_options import run_overrides  # with all of what a service is: 17 ms

        run_overrides(config)
    return build_settings(config)


def _cache_of(config: pytest.Config) -> pytest.Cache | None:
    """pytest's cache; None where there is none, or where xdist spreads the run over processes."""
    is_one_of_many = hasattr(config, "workerinput") or getattr(config.option, "dist", "no") != "no"
    return None if is_one_of_many or not hasattr(config, "cache") else config.cache


def _ensure_run(config: pytest.Config, settings: Settings) -> IsolateSession:
    """The plugin object that runs services, which hears pytest's hooks from here on."""
    from pytest_isolate.plugin.session import IsolateSession

    run = config.stash.get(SESSION_KEY, None)
    if not isinstance(run, IsolateSession):
        with _refusing():
            run = config.stash[SESSION_KEY] = IsolateSession(config, settings)
        config.pluginmanager.register(run, "isolate-session")
    return run


@contextmanager
def _refusing() -> Iterator[None]:
    """End the run with exit code 4 for what is wrong."""
    from pytest_isolate.errors import IsolateError

    try:
        yield
    except IsolateError as error:
        raise pytest.UsageError(str(error)) from None


def _refuse_other_distribution() -> None:
    """The distribution `pytest-isolate` (ours is `pytest-isolate-containers`) has the same package and option names."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        distribution("pytest-isolate")
    except PackageNotFoundError:
        return
    raise pytest.UsageError(
        "both pytest-isolate and pytest-isolate-containers are installed, and they share the option --isolate and the "
        "package pytest_isolate: uninstall pytest-isolate, then reinstall pytest-isolate-containers "
        "(pip uninstall pytest-isolate; pip install --force-reinstall pytest-isolate-containers)"
    )
