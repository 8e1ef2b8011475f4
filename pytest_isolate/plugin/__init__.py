"""Everything that knows pytest."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


class _AsTheyAre(MetaPathFinder):
    """Finds the modules of this package before pytest does, which would rewrite the asserts of each.

    It does that to all plugins, and keeps the result; but on a new machine, as in most jobs of a CI service, there is
    none, and all that `pip install` has compiled would be compiled once more.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(fullname, path, target) if fullname.startswith("pytest_isolate.") else None


sys.meta_path.insert(0, _AsTheyAre())
