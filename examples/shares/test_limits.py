"""The limits that are declared are the limits that the kernel applies."""

import pytest
from cgroup import cpu_share, memory_limit

from pytest_isolate import Service

MIB = 1024 * 1024


def test_each_service_has_its_share_of_a_processor(mail: Service, auth: Service, groupware: Service) -> None:
    assert cpu_share(mail) == pytest.approx(1 / 4, rel=0.001)
    assert cpu_share(auth) == pytest.approx(1 / 3, rel=0.001)
    assert cpu_share(groupware) == pytest.approx(1 / 5, rel=0.001)


def test_each_service_has_its_limit_of_memory(mail: Service, auth: Service, groupware: Service) -> None:
    assert memory_limit(mail) == 96 * MIB
    assert memory_limit(auth) == 256 * MIB
    assert memory_limit(groupware) == 128 * MIB
