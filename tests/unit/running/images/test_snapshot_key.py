"""What makes a snapshot usable again, and what makes another one."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from pytest_isolate.model.declaration import Secret
from pytest_isolate.model.service import File, ServiceSpec
from pytest_isolate.running.images.snapshot_key import can_be_snapshotted, snapshot_digest
from unit.builders import spec

DATABASE = spec("db", snapshot=("/srv/data",), env=(("PASSWORD", "{self.password}"),), password=Secret.RANDOM)


def digest(
    service: ServiceSpec = DATABASE,
    stack: str = "",
    image: str = "sha256:1",
    content: str = "a",
    secret: bytes = b"s",
) -> str:
    return snapshot_digest(service, stack, image, {"/seed.sql": content}, secret)


def test_database_of_its_own_may_be_frozen() -> None:
    assert can_be_snapshotted(DATABASE)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"snapshot": ()}, id="not asked for"),
        pytest.param({"needs": ("auth",)}, id="needs another"),
        pytest.param({"volumes": (("data", "/srv/data"),)}, id="has a volume"),
        pytest.param({"password": "given"}, id="the user's own password"),
        pytest.param({"env": (("DB", "{db.url}"),)}, id="refers to another"),
        pytest.param({"env": (("ME", "{self.host}"),)}, id="knows its name"),
        pytest.param({"command": ("--advertise", "{self.external_address}")}, id="knows its address"),
        pytest.param({"entrypoint": ("run", "{self.url}")}, id="knows its url"),
        pytest.param({"files": (File(target="/etc/app", text="{self.address}"),)}, id="is told its address in a file"),
    ],
)
def test_what_depends_on_more_than_itself_may_not(change: dict[str, object]) -> None:
    assert not can_be_snapshotted(replace(DATABASE, **change))


@pytest.mark.parametrize("change", [{"password": None}, {"files": (File(target="/seed.sql", source="/seed.sql"),)}])
def test_what_depends_on_itself_alone_may(change: dict[str, object]) -> None:
    assert can_be_snapshotted(replace(DATABASE, **change))


@pytest.mark.parametrize(
    "change",
    [
        {"env": (("PASSWORD", "{self.password}"), ("MORE", "1"))},
        {"command": ("run", "--other")},
        {"entrypoint": ("run",)},
        {"snapshot": ("/srv/other",)},
        {"user": "other"},
        {"database": "other"},
        {"files": (File(target="/etc/app", text="other"),)},
    ],
)
def test_any_change_of_what_the_first_start_reads_makes_another(change: dict[str, object]) -> None:
    assert digest(replace(DATABASE, **change)) != digest()


def test_another_image_seed_or_secret_makes_another() -> None:
    seeded = replace(DATABASE, files=(File(target="/seed.sql", source="/seed.sql"),))

    assert len({digest(seeded), digest(seeded, image="sha256:2"), digest(seeded, content="b")}) == 3
    assert digest(secret=b"other") != digest()
    assert digest(stack="hr") != digest(stack="sales"), "stacks have passwords of their own"


@pytest.mark.parametrize("change", [{"name": "database"}, {"memory_bytes": 2**28}, {"cpus": 0.5}, {"timeout_s": 5.0}])
def test_name_and_limits_make_no_other(change: dict[str, object]) -> None:
    assert digest(replace(DATABASE, **change)) == digest()
