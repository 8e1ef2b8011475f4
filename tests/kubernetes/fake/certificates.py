"""A certificate authority of a fake cluster's own, made by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path

_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(*args: str, text: str = "") -> None:
    subprocess.run(["openssl", *args], input=text, text=True, check=True, capture_output=True)


def make_authority(folder: Path) -> None:
    """Make ca.crt and ca.key."""
    _openssl(
        *("req", "-x509", *_CURVE, "-days", "2", "-subj", "/CN=fake-cluster-ca"),
        *("-keyout", f"{folder}/ca.key", "-out", f"{folder}/ca.crt"),
    )


def make_certificate(folder: Path, name: str, *, user: str = "", hosts: tuple[str, ...] = ()) -> None:
    """Make NAME.crt and NAME.key, signed by the authority: for a user, or for a server with these addresses."""
    _openssl(
        *("req", *_CURVE, "-subj", f"/CN={user or name}"),
        *("-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.csr"),
    )
    kinds = [f"IP:{host}" if host.replace(".", "").isdigit() else f"DNS:{host}" for host in hosts]
    extensions = f"subjectAltName={','.join(kinds)}\n" if kinds else "extendedKeyUsage=clientAuth\n"
    (folder / f"{name}.ext").write_text(extensions)
    _openssl(
        *("x509", "-req", "-days", "2", "-in", f"{folder}/{name}.csr", "-CA", f"{folder}/ca.crt"),
        *("-CAkey", f"{folder}/ca.key", "-CAcreateserial", "-out", f"{folder}/{name}.crt"),
        *("-extfile", f"{folder}/{name}.ext"),
    )
