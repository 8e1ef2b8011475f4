"""Ready-made services: the value, its probe, its defaults. `PRESETS` names them for TOML's `use`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pytest_isolate.model.declaration import Preset
from pytest_isolate.presets.mariadb import mariadb
from pytest_isolate.presets.postgres import postgres

PRESETS: Mapping[str, Callable[[], Preset]] = {"mariadb": mariadb, "postgres": postgres}
