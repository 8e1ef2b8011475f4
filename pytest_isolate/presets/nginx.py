"""nginx, as in the public image `nginx`."""

from __future__ import annotations

from pytest_isolate.model.declaration import Preset, build_preset
from pytest_isolate.model.probes import Tcp

# Any answer below 500: which pages there are, and who may see them, is the user's configuration.
READY = Tcp(
    send=b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    expect=r"\AHTTP/1\.[01] [1-4]\d\d ",
)
URL = "http://{host}:{port}"


def nginx(version: str = "1.28", /, **changes: object) -> Preset:
    """An nginx server: `nginx("1.28")`, or with any key of `service()` changed.

    The value has an `http://` url.
    """
    values = {"image": f"nginx:{version}", "port": 80, "url": URL, "ready": READY}
    return build_preset("nginx", values, changes)
