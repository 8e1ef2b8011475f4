"""Mosquitto, as in the public image `eclipse-mosquitto`."""

from __future__ import annotations

from pytest_isolate.model.declaration import Preset, Secret, build_preset
from pytest_isolate.model.probes import Tcp

_CONFIG = "/mosquitto/config/mosquitto.conf"
_PASSWORDS = "/mosquitto/config/passwords"
# Without a listener of its own the server answers on its container's loopback address only.
CONFIG = f"listener 1883\nallow_anonymous false\npassword_file {_PASSWORDS}\npersistence false\n"
# The server reads hashed passwords only, and as its own user. One that is not root owns what it makes.
_SCRIPT = (
    f"umask 077 && : >{_PASSWORDS} && "
    f'mosquitto_passwd -b {_PASSWORDS} "$1" "$2" && '
    f"{{ [ $(id -u) != 0 ] || chown mosquitto:mosquitto {_PASSWORDS}; }} && "
    f"exec mosquitto -c {_CONFIG}"
)
COMMAND = ("sh", "-c", _SCRIPT, "mosquitto", "{self.user}", "{self.password}")
# CONNECT of MQTT 3.1.1: clean session, 10 s, no client id, no user. CONNACK says 0 (accepted), 4 (wrong password) or 5
# (not authorised) when the server serves. Format: "MQTT Version 3.1.1", sections 3.1 and 3.2.
READY = Tcp(
    send=b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x0a\x00\x00",
    expect=r"\A\x20\x02\x00[\x00\x04\x05]",
)


def mosquitto(version: str = "2", /, **changes: object) -> Preset:
    """A Mosquitto broker: `mosquitto("2")`, or with any key of `service()` changed.

    The value has `user`, `password` (random where none is given) and an `mqtt://` url.
    """
    values = {
        "image": f"eclipse-mosquitto:{version}",
        "command": COMMAND,
        "files": {_CONFIG: CONFIG},
        "port": 1883,
        "user": "app",
        "password": Secret.RANDOM,
        "url": "mqtt://{user}:{password}@{host}:{port}",
        "ready": READY,
    }
    return build_preset("mosquitto", values, changes)
