"""A registry of images on this host, with one image, that takes its time (OCI Distribution Specification, "Pull")."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PIECES = 10
_TYPES = "application/vnd.docker"


@contextmanager
def open_registry(size_bytes: int, seconds: float) -> Iterator[str]:
    """The name of an image of that size, which takes so long to pull."""
    layer = _build_layer(size_bytes)
    config = json.dumps(_config(layer)).encode()
    packed = gzip.compress(layer, 1)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{_TYPES}.distribution.manifest.v2+json",
            "config": _describe(config, f"{_TYPES}.container.image.v1+json"),
            "layers": [_describe(packed, f"{_TYPES}.image.rootfs.diff.tar.gzip")],
        }
    ).encode()
    contents = {_digest(content): content for content in (config, packed)}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(with_content=False)

        def do_GET(self) -> None:
            self._answer(with_content=True)

        def _answer(self, *, with_content: bool) -> None:
            content = manifest if "/manifests/" in self.path else contents.get(self.path.rsplit("/", 1)[-1], b"{}")
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Docker-Content-Digest", _digest(content))
            is_manifest = content is manifest
            self.send_header("Content-Type", f"{_TYPES}.distribution.manifest.v2+json" if is_manifest else "text/plain")
            self.end_headers()
            if with_content:
                self._send(content)

        def _send(self, content: bytes) -> None:
            piece = max(1, len(content) // _PIECES)
            for start in range(0, len(content), piece):
                self.wfile.write(content[start : start + piece])
                if content is packed:
                    time.sleep(seconds / _PIECES)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}/slow:1"
        finally:
            server.shutdown()
            thread.join()


def _build_layer(size_bytes: int) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        entry = tarfile.TarInfo("noise")
        entry.size = size_bytes
        archive.addfile(entry, io.BytesIO(os.urandom(size_bytes)))
    return raw.getvalue()


def _config(layer: bytes) -> dict[str, object]:
    return {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    }


def _describe(content: bytes, kind: str) -> dict[str, object]:
    return {"mediaType": kind, "size": len(content), "digest": _digest(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
