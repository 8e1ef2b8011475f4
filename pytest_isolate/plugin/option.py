"""One thing that can be set for a run: how pytest is told of it, and which of the values that are given wins."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Given(NamedTuple):
    """A text that is given for an option, what gives it, and the folder that a path in it starts from."""

    text: str
    source: str
    folder: Path


class Option(NamedTuple):
    """One thing that can be set: by an option, by a variable of the environment, by a key of the configuration file.

    The default says what it is: a bool makes a flag, a tuple an option that may be given several times. Without a text
    for `help` there is no option, without one for `ini` no key.
    """

    name: str
    default: str | bool | tuple[()] = ""
    help: str = ""
    metavar: str = ""
    field: str = ""
    """Its field in Settings; empty for what is read elsewhere."""
    parse: Callable[[Given], Any] = lambda given: given.text
    value: Any = ""
    """The value of a default text: parsing it in every run would cost imports."""
    ini: str = "default of {flag}"
    key: str = ""
    variable: str = ""

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return f"--isolate-{self.name}".rstrip("-")

    @property
    def _name_on_line(self) -> str:
        return self.flag.lstrip("-").replace("-", "_")

    @property
    def ini_key(self) -> str:
        """The key in the configuration file."""
        return self.key or self._name_on_line

    def add(self, group: pytest.OptionGroup) -> None:
        """Add it to the command line."""
        if isinstance(self.default, bool):
            group.addoption(self.flag, action="store_true", help=self.help)
        elif isinstance(self.default, tuple):
            group.addoption(self.flag, metavar=self.metavar, action="append", default=[], help=self.help)
        else:
            known = f" (default: {self.default})" if self.default else ""
            group.addoption(self.flag, metavar=self.metavar, help=self.help + known)

    def add_key(self, parser: pytest.Parser) -> None:
        """Add it to the keys of the configuration file."""
        text = self.ini.format(flag=self.flag)
        if isinstance(self.default, bool):
            parser.addini(self.ini_key, text, type="bool", default=self.default)
        elif isinstance(self.default, tuple):
            parser.addini(self.ini_key, text, type="linelist", default=[])
        else:
            parser.addini(self.ini_key, text, default=self.default)

    def given(self, config: pytest.Config, options: argparse.Namespace | None = None) -> Iterator[Given]:
        """Each text that is given, what wins first: the command line, the environment, the configuration file.

        `options` are those of the command line, where pytest has not read all of it yet. The environment comes before a
        file, because the same project runs on a laptop and in a container of a CI service.
        """
        is_list = isinstance(self.default, tuple)
        on_line = getattr(options or config.option, self._name_on_line)
        for text in on_line if is_list else [on_line or ""]:
            yield Given(text, self.flag, config.invocation_params.dir)
        variable = os.environ.get(self.variable, "") if self.variable else ""
        for text in variable.split() if is_list else [variable]:
            yield Given(text, self.variable, config.invocation_params.dir)
        written = config.getini(self.ini_key) if self.ini else ""
        for text in written if is_list else [str(written)]:
            yield Given(text, self.ini_key, config.rootpath)

    def read(self, config: pytest.Config, options: argparse.Namespace | None = None) -> Any:
        """The value that wins; pytest.UsageError for one that cannot be used."""
        if isinstance(self.default, bool):
            if self.help and getattr(options or config.option, self._name_on_line):
                return not self.default
            return bool(config.getini(self.ini_key)) if self.ini else self.default
        given = next((given for given in self.given(config, options) if given.text), None)
        if given is None or given.text == self.default:
            return self.value
        try:
            return self.parse(given)
        except ValueError as error:
            valid = getattr(error, "valid", "")
            # A value from the environment is told with its variable: there is no file that shows it.
            text = f"{given.source if self.variable else self.flag}={given.text}: {error}"
            raise pytest.UsageError(text + (f"\n  valid  {valid}" if valid else "")) from None

    def is_on_line(self, config: pytest.Config) -> bool:
        """True where the command line has this flag."""
        return bool(getattr(config.option, self._name_on_line))

    def is_set(self, config: pytest.Config, options: argparse.Namespace | None = None) -> bool:
        """True where anything but the default is given."""
        found = self.given(config, options)
        return any(isinstance(self.default, tuple) or given.text not in ("", self.default) for given in found)
