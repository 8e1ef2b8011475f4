"""The networks of an engine that speaks Docker's API."""

from __future__ import annotations

import pytest

from pytest_isolate.engine.docker.network_api import bridge_gateway


@pytest.mark.parametrize(
    ("configs", "gateway"),
    [
        ([{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.9"}], "172.17.0.9"),
        ([{"Subnet": "172.17.0.0/16"}], "172.17.0.1"),  # as Docker 20.10 has it until it is started again
        ([{}, {"Subnet": "10.1.2.0/24"}], "10.1.2.1"),
        ([], ""),
    ],
)
def test_the_gateway_of_the_default_bridge_is_known(configs: list[dict[str, str]], gateway: str) -> None:
    assert bridge_gateway(configs) == gateway
