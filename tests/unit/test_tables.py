"""The tables that say the same of one thing at two heights of the house agree."""

from __future__ import annotations

from msgspec.structs import fields

from pytest_isolate.declarations.keys import KEYS
from pytest_isolate.model.fresh import COPY_METHODS
from pytest_isolate.model.probes import PROBES
from pytest_isolate.model.service import ContainerSettings, ServiceSpec
from pytest_isolate.running.data.backends.table import BACKENDS
from pytest_isolate.running.readiness.probing import _ASKED


def test_every_key_has_its_field() -> None:
    own, inner = ({field.name for field in fields(spec)} for spec in (ServiceSpec, ContainerSettings))
    for key in KEYS.values():
        assert (key.field or key.name) in (inner if key.in_settings else own), key.name
    # Those of UDP are among the ports.
    not_declared = {"name", "module", "external", "location", "udp_ports"}
    assert {key.field or key.name for key in KEYS.values() if not key.in_settings} == own - not_declared


def test_every_probe_is_asked() -> None:
    assert set(_ASKED) == set(PROBES.values())


def test_every_way_to_copy_data_has_its_backend() -> None:
    assert set(BACKENDS) == set(COPY_METHODS)
    for name, method in COPY_METHODS.items():
        assert (BACKENDS[name].open_external is not None) == method.is_for_external, name
