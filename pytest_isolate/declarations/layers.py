"""Layers of a service merged: what several calls, tables and presets say of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from pytest_isolate.declarations.files import anchor_files
from pytest_isolate.declarations.keys import KEYS
from pytest_isolate.declarations.testcontainers import unfold
from pytest_isolate.model.declaration import Layer
from pytest_isolate.model.location import Location

_TOGETHER = (("image", "build"), ("port", "ports"))
"""Keys of which a layer replaces all as soon as it sets one."""


class LayeredValue(Struct, frozen=True):
    """A value and the place that sets it."""

    value: object
    location: Location


def merge_layers(layers: Iterable[Layer]) -> dict[str, LayeredValue]:
    """Each key's last value and its place; tables are merged entry by entry, None takes out what was set before."""
    merged: dict[str, LayeredValue] = {}
    for layer in layers:
        values = unfold(layer.values)
        for together in _TOGETHER:
            if any(values.get(key) is not None for key in together):
                for key in together:
                    merged.pop(key, None)
        for key, value in values.items():
            if value is None:
                merged.pop(key, None)
            else:
                merged[key] = LayeredValue(_merge(key, merged.get(key), value, layer.location), layer.location)
    return merged


def _merge(key: str, before: LayeredValue | None, value: object, location: Location) -> object:
    if key == "files":
        value = anchor_files(value, location)
    if key not in KEYS or not KEYS[key].is_merged or not isinstance(value, Mapping):
        return value
    under = before.value if before and isinstance(before.value, Mapping) else {}
    return {entry: content for entry, content in {**under, **value}.items() if content is not None}
