"""A project that uses the key of docs/extending.md."""

import pytest
from fakes.programs import IMAGE, program

from pytest_isolate import ServiceChanges, service
from pytest_isolate.declarations.fingerprint import fingerprint
from pytest_isolate.declarations.keys import KEYS, leave_out
from pytest_isolate.engine.docker.wire import container_body
from pytest_isolate.model.location import Location
from pytest_isolate.model.service import ContainerSettings, ServiceSpec
from pytest_isolate.running.images.snapshot_key import snapshot_digest

web = service(IMAGE, command=program("serve 80"), port=80, cpuset="0-1", container={"hostname": "web"})


def cpuset_of(service, engine):
    return container_body(engine.containers[service.container_id].request)["HostConfig"]["CpusetCpus"]


def test_the_engine_is_told(web, engine):
    assert cpuset_of(web, engine) == "0-1"
    assert engine.containers[web.container_id].request.settings.hostname == "web"


@pytest.mark.isolate(web={"cpuset": "0"})
def test_a_marker_changes_it(web, engine):
    assert cpuset_of(web, engine) == "0"


def test_what_depends_on_it():
    plain = ServiceSpec(name="x", location=Location("conftest.py"))
    bound = ServiceSpec(name="x", location=Location("conftest.py"), container=ContainerSettings(cpuset="0"))
    assert fingerprint(plain, stack="") != fingerprint(bound, stack="")
    assert snapshot_digest(plain, "", "", {}, b"") == snapshot_digest(bound, "", "", {}, b"")
    assert leave_out(bound, [KEYS["cpuset"]]) == plain
    assert "cpuset" in ServiceChanges.__annotations__
