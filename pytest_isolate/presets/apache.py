"""Apache's web server, as in the public image `httpd`."""

from __future__ import annotations

from pytest_isolate.model.declaration import Preset, build_preset
from pytest_isolate.presets.nginx import READY, URL


def apache(version: str = "2.4", /, **changes: object) -> Preset:
    """An Apache web server: `apache("2.4")`, or with any key of `service()` changed.

    The value has an `http://` url.
    """
    values = {"image": f"httpd:{version}", "port": 80, "url": URL, "ready": READY}
    return build_preset("apache", values, changes)
