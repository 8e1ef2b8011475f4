"""Runs pytest in the folder it is started in, and prints as JSON how many seconds it spent on plugins, by what.

Run by overhead.py with the interpreter of the environment that is measured, so it imports nothing of this repository.
It reaches into pytest and pluggy: where these change, only this table is lost.
"""

import contextlib
import functools
import io
import json
import time
from importlib.metadata import EntryPoint

import pluggy
import pytest

seconds: dict[str, float] = {}


def measured(function, name):
    """The function, its time added up under a name."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        began = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            seconds[name] = seconds.get(name, 0) + time.perf_counter() - began

    return wrapper


def load_measured(entry_point, load=EntryPoint.load):
    return measured(load, f"part: import of plugin {entry_point.name}")(entry_point)


def init_measured(self, plugin, plugin_name, function, opts, init=pluggy.HookImpl.__init__):
    init(self, plugin, plugin_name, function, opts)
    if plugin_name == "isolate":
        self.function = measured(self.function, f"{function.__name__} of isolate")


EntryPoint.load = load_measured
pluggy.HookImpl.__init__ = init_measured
for owner, method, name in [
    (pytest.PytestPluginManager, "load_setuptools_entrypoints", "entry points, imports included"),
    (pytest.Config, "_mark_plugins_for_rewrite", "list of plugins' files"),
    (pytest.PytestPluginManager, "_importconftest", "conftest.py"),
]:
    setattr(owner, method, measured(getattr(owner, method), name))

with contextlib.redirect_stdout(io.StringIO()):
    pytest.main([])
print(json.dumps(seconds))
