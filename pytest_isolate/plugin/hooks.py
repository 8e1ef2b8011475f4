"""Entry point: what pytest calls in every run. Without --isolate it only skips tests, so it imports next to nothing."""

from __future__ import annotations

import pytest

from pytest_isolate.plugin.fixtures import NEEDS_ISOLATE, SESSION_KEY, asks_for_service
from pytest_isolate.plugin.options import add_options, parse_settings

_SUMMARY = "isolate: skipped {count}; to run {them}: pytest --isolate"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options; but first make sure that no other plugin owns them."""
    _refuse_other_distribution()
    add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Offer our own hooks."""
    from pytest_isolate.plugin import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    """Turn declarations in TOML into fixtures; with --isolate, build the session that runs services."""
    from pytest_isolate.plugin.configuration import find_configuration

    settings = parse_settings(config)
    source = find_configuration(config.rootpath)
    if source:
        from pytest_isolate.plugin.toml import build_plugin

        config.pluginmanager.register(build_plugin(source), "isolate-toml")
    if settings:
        from pytest_isolate.plugin.session import IsolateSession

        session = config.stash[SESSION_KEY] = IsolateSession(config, settings)
        config.pluginmanager.register(session, "isolate-session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without --isolate, skip what needs a service."""
    if SESSION_KEY in config.stash:
        return
    for item in items:
        if asks_for_service(item):
            item.add_marker(pytest.mark.skip(reason=NEEDS_ISOLATE))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say in one line how to run what was skipped."""
    if SESSION_KEY in config.stash:
        return
    reports = terminalreporter.stats.get("skipped", ())
    count = sum(isinstance(r.longrepr, tuple) and NEEDS_ISOLATE in r.longrepr[-1] for r in reports)
    if count:
        what = ("1 test that needs services", "it") if count == 1 else (f"{count} tests that need services", "them")
        terminalreporter.write_line(_SUMMARY.format(count=what[0], them=what[1]), yellow=True)


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
