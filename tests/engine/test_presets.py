"""Every preset, on real servers: all of them at once in one run, each spoken to by a client of its own protocol.

The images are made from Debian's packages and follow the public ones (examples/services); MySQL's is MariaDB's.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.conftest import Project
from pytest_isolate.presets.catalogue import PRESETS

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.usefixtures("base_image")]

SERVICES = Path(__file__).parents[2] / "examples" / "services"
# What the image of each preset is built from here, and what its start is given to show that it is understood.
DECLARED = """
SEED_SQL = "SELECT SLEEP(1); CREATE TABLE seed (n INT); INSERT INTO seed VALUES (42);"
SEED_LDIF = "dn: cn=seed,dc=example,dc=org\\nobjectClass: person\\ncn: seed\\nsn: Seed\\n"
# The temporary server is there for a second longer than the image needs it.
SLOW = {"text": "#!/bin/sh\\nsleep 1\\nexec /usr/bin/ldapadd \\"$@\\"\\n", "mode": "0755"}

def build(folder, **more):
    return {"context": f"SERVICES/{folder}", "network": "host", **more}

a_postgres = service(postgres(build=build("postgres")))
a_mariadb = service(mariadb(build=build("mariadb"), files={"/docker-entrypoint-initdb.d/seed.sql": SEED_SQL}))
a_mysql = service(
    mysql(
        build=build("mariadb", dockerfile="mysql.Dockerfile"),
        files={"/docker-entrypoint-initdb.d/seed.sql": SEED_SQL},
    )
)
a_redis = service(redis(build=build("redis")))
a_valkey = service(valkey(build=build("redis", args={"SERVER": "valkey"})))
a_rabbitmq = service(rabbitmq(build=build("rabbitmq")))
a_nats = service(nats(build=build("nats")))
a_memcached = service(memcached(build=build("memcached")))
a_mosquitto = service(mosquitto(build=build("mosquitto")))
a_openldap = service(
    openldap(
        build=build("openldap"),
        files={
            "/container/service/slapd/assets/config/bootstrap/ldif/custom/seed.ldif": SEED_LDIF,
            "/usr/local/bin/ldapadd": SLOW,
        },
    )
)
a_nginx = service(nginx(build=build("nginx"), files={"/usr/share/nginx/html/hello.txt": "hello"}))
a_apache = service(apache(build=build("httpd"), files={"/usr/local/apache2/htdocs/hello.txt": "hello"}))
""".replace("SERVICES", str(SERVICES))
# First those whose images have a temporary server, in the order in which they become ready: whoever took that one for
# the final one would not find the seed in it.
SPOKEN = {
    "openldap": "ldap",
    "mysql": "mysql",
    "mariadb": "mysql",
    "apache": "http",
    "memcached": "memcache",
    "mosquitto": "mqtt",
    "nats": "nats",
    "nginx": "http",
    "postgres": "postgresql",
    "rabbitmq": "amqp",
    "redis": "redis",
    "valkey": "redis",
}
# Of the clients: one takes names from pyasn1 that have newer ones, others forget their socket when they are refused.
ALLOWED = ["-W", "ignore::DeprecationWarning:ldap3.utils.asn1", "-W", "ignore::ResourceWarning"]


def test_all_presets_work_side_by_side(project: Project) -> None:
    assert SPOKEN.keys() == PRESETS.keys()
    project.conftest(DECLARED)
    tests = [f"def test_{name}(a_{name}):\n    speak_{how}(a_{name})\n" for name, how in SPOKEN.items()]
    project.tests("from engine.speaking import *", *tests)
    # A first start is what the images' phases are about, and this module leaves no snapshots behind.
    run = project.start("--isolate-no-cache", *ALLOWED)
    # On a fresh machine a dozen images are built first.
    run.result(timeout_s=600).assert_outcomes(passed=len(SPOKEN))


def test_servers_without_a_password_and_any_web_server_are_ready_too(project: Project) -> None:
    """Where a declaration says otherwise, the probes understand the other answer; any image that speaks HTTP works."""
    project.conftest(
        DECLARED,
        """
        open_redis = service(a_redis, command=["redis-server", "--protected-mode", "no"], password=None)
        open_nats = service(a_nats, command=["--port", "4222"], user=None, password=None)
        empty_nginx = service(a_nginx, files={"/etc/nginx/conf.d/default.conf": "server { listen 80; return 404; }"})
        any_web = service(build=build("nginx"), port=80, ready=http("/"))
        """,
    )
    project.tests(
        """
        def test_them(open_redis, open_nats, empty_nginx, any_web):
            assert any_web.url == f"http://{any_web.address}"
        """
    )
    project.run().assert_outcomes(passed=1)
