"""What a hint may name to make the next start of a service quick."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_isolate.declarations.loading import Catalogue
from pytest_isolate.planning.placement import Instance, ItemPosition, place_instances
from pytest_isolate.plugin.run.advice import REUSE, SNAPSHOT, advise
from unit.builders import declare, load_all, raw, sid

WHERE = ItemPosition(test="t.py::test", test_class="", module="t.py", worker="gw0")


def planned(*wanted: str, **services: dict[str, Any]) -> list[Instance]:
    raws = {name: raw(image="app:1", port=1, **values) for name, values in services.items()}
    catalogue: Catalogue = load_all(declare(**raws))
    return list(place_instances([sid(name) for name in wanted or services], catalogue, WHERE))


def advice(instances: list[Instance], **allowed: bool) -> list[str]:
    return advise(instances[-1], instances, **{"can_save": True, "can_keep": True, **allowed})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, [SNAPSHOT, REUSE]),
        ({"snapshot": "/data"}, [REUSE]),
        ({"volumes": {"d": "/data"}}, [REUSE]),
        ({"env": {"SELF": "{self.external_port}"}}, [REUSE]),
        ({"scope": "module"}, [SNAPSHOT]),
        ({"share": "worker"}, [SNAPSHOT]),
        ({"scope": "module", "volumes": {"d": "/data"}}, []),
    ],
)
def test_only_what_the_declaration_allows_is_advised(values: dict[str, Any], expected: list[str]) -> None:
    assert advice(planned(app=values)) == expected


def test_what_needs_a_service_that_cannot_be_kept_cannot_be_kept_either() -> None:
    needing = {"env": {"DB": "{db.host}"}}
    assert advice(planned("app", db={}, app=needing)) == [REUSE]
    assert advice(planned("app", db={"share": "worker"}, app={**needing, "share": "worker"})) == []


def test_what_the_run_does_not_do_or_does_already_is_not_advised() -> None:
    assert advice(planned(app={}), can_save=False) == [REUSE]
    assert advice(planned(app={}), can_keep=False) == [SNAPSHOT]
