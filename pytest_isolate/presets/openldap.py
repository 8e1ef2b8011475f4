"""OpenLDAP, as in the public image `osixia/openldap` and in images that follow its environment variables."""

from __future__ import annotations

from pytest_isolate.model.declaration import Preset, Secret, build_preset
from pytest_isolate.model.probes import Tcp

# The temporary server of the image's initialisation listens on port 389 of every address, and its answers are those of
# the final one. The port of the final one can be chosen; what listens there is no other.
PORT = 1389
# An anonymous bind, message 1: LDAP 3, no name, no password. Any bind response counts, also one that refuses, but for
# the codes 51 (busy) and 52 (unavailable). Format: RFC 4511, sections 4.2 and 5.1.
READY = Tcp(
    send=b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00",
    expect=r"(?s)\A\x30(?:[\x00-\x7f]|\x81.|\x82..)\x02\x01\x01\x61(?:[\x00-\x7f]|\x81.|\x82..)\x0a\x01[^\x33\x34]",
)


def openldap(version: str = "1.5.0", /, **changes: object) -> Preset:
    """An OpenLDAP server: `openldap("1.5.0")`, or with any key of `service()` changed.

    The value has `user` (the administrator's name), `password` (random where none is given), `database` (the base of
    all names) and an `ldap://` url.
    """
    values = {
        "image": f"osixia/openldap:{version}",
        "port": PORT,
        "user": "cn=admin,dc=example,dc=org",
        "password": Secret.RANDOM,
        "database": "dc=example,dc=org",
        "url": "ldap://{host}:{port}",
        "env": {
            "LDAP_DOMAIN": "example.org",
            "LDAP_BASE_DN": "{self.database}",
            "LDAP_ADMIN_PASSWORD": "{self.password}",
            "LDAP_CONFIG_PASSWORD": "{self.password}",
            "LDAP_PORT": str(PORT),
            # With it the image spends its first start on certificates that no client trusts.
            "LDAP_TLS": "false",
        },
        "ready": READY,
    }
    return build_preset("openldap", values, changes)
