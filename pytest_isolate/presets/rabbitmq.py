"""RabbitMQ, as in the public image `rabbitmq` and in images that follow its environment variables."""

from __future__ import annotations

from pytest_isolate.model.declaration import Preset, Secret, build_preset
from pytest_isolate.model.probes import Tcp

# A client of AMQP 0-9-1 says its version first. A server that is up answers with connection.start: a method frame of
# channel 0, then class 10 and method 10. The broker opens this port at the end of its start, when the user is there.
READY = Tcp(send=b"AMQP\x00\x00\x09\x01", expect=r"(?s)\A\x01\x00\x00.{4}\x00\x0a\x00\x0a")


def rabbitmq(version: str = "4", /, **changes: object) -> Preset:
    """A RabbitMQ broker: `rabbitmq("4")`, or with any key of `service()` changed.

    The value has `user`, `password` (random where none is given), `database` (the virtual host) and an `amqp://` url.
    """
    values = {
        "image": f"rabbitmq:{version}",
        "port": 5672,
        "user": "app",
        "password": Secret.RANDOM,
        "database": "/",
        "url": "amqp://{user}:{password}@{host}:{port}/{database}",
        "env": {
            "RABBITMQ_DEFAULT_USER": "{self.user}",
            "RABBITMQ_DEFAULT_PASS": "{self.password}",
            "RABBITMQ_DEFAULT_VHOST": "{self.database}",
        },
        "ready": READY,
    }
    return build_preset("rabbitmq", values, changes)
