"""Paths as pytest shows them: within its root folder, from there on."""

from __future__ import annotations

import os
import re
from pathlib import Path


def without_root(text: str, root: Path) -> str:
    """A text with the root folder taken off every path in it, but not out of an address such as unix:///path."""
    return re.sub(rf"(?<!//){re.escape(str(root))}{re.escape(os.sep)}", "", text)
