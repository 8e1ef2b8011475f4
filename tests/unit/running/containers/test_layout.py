"""Mounts and copied files of a container."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from pytest_isolate.engine.api import PathFacts, PathOwner
from pytest_isolate.model.location import Location
from pytest_isolate.model.service import ContainerSettings, File, ServiceSpec
from pytest_isolate.running.archive import Copied
from pytest_isolate.running.containers.layout import Layout, lay_out
from pytest_isolate.running.images.paths import ImagePaths

FOLDERS = ("/h/conf", "/h/app")
FOLDER = PathFacts(path="/conf", is_folder=True, mode=0o750)


def spec(*volumes: tuple[str, str], read_only: bool = False, tmpfs: Collection[str] = ()) -> ServiceSpec:
    settings = ContainerSettings(read_only=read_only, tmpfs=tuple((path, "") for path in tmpfs))
    return ServiceSpec(name="web", volumes=volumes, container=settings, location=Location(file="x"))


def laid_out(
    declared: ServiceSpec,
    *files: File,
    image: ImagePaths | None = None,
    shares_files: bool = True,
    written: Collection[str] = (),
) -> Layout:
    return lay_out(
        declared,
        files,
        image or ImagePaths(),
        shares_files=shares_files,
        written=written,
        is_folder=lambda path: path in FOLDERS,
    )


def places(copied: Collection[Copied]) -> list[str]:
    return [item.target for item in copied]


def test_what_is_only_read_is_bound_as_it_is() -> None:
    found = laid_out(spec(("/h/conf", "/etc/conf:ro"), ("/h/file", "/etc/file:ro")))
    assert found == Layout(binds=(("/etc/conf", "/h/conf:ro"), ("/etc/file", "/h/file:ro")))


def test_what_the_stack_writes_to_is_a_volume_of_the_stack() -> None:
    found = laid_out(spec(("/h/app", "/app:ro"), ("/h/file", "/file")), written={"/h/app", "/h/file"})
    assert (found.volumes, found.binds) == ((("/h/app", "/app:ro"),), ())
    assert found.filled["/h/app"] == (Copied(target="/app", source="/h/app", owner=None),)
    assert found.copied == {"/": (Copied(target="/file", source="/h/file", owner=None),)}


def test_an_engine_without_this_hosts_files_gets_copies() -> None:
    found = laid_out(spec(("/h/conf", "/c:ro"), ("/h/file", "/file:ro")), shares_files=False)
    assert found.volumes == (("/h/conf", "/c:ro"),)
    assert places(found.copied["/"]) == ["/file"]


def test_volumes_within_a_folder_hide_what_it_has_there() -> None:
    found = laid_out(spec(("/h/app", "/app"), ("own", "/app/modules")), written={"/h/app"})
    assert found.filled["/h/app"][0].hidden == ("/app/modules",)


def test_a_folder_hides_one_of_the_image_and_keeps_its_owner() -> None:
    image = ImagePaths(places={"/conf": FOLDER}, folder_owners={"/conf": PathOwner(1, 2)})
    found = laid_out(spec(), File(target="/conf", source="/h/conf"), File(target="/new", source="/h/app"), image=image)
    assert found.folders == {"/conf": False}
    top = found.copied["/"][0]
    assert (top.top_owner, top.top_mode, top.owner) == (PathOwner(1, 2), 0o750, PathOwner(0, 0))


@pytest.mark.parametrize(
    ("target", "tmpfs", "folders"),
    [
        ("/run/app/token", ["/run"], {"/run/app": False}),
        ("/run/token", [], {"/run": False}),
        ("/runner/token", ["/run"], {}),
    ],
)
def test_files_below_a_folder_in_memory_lie_in_a_volume(
    target: str, tmpfs: list[str], folders: dict[str, bool]
) -> None:
    found = laid_out(spec(tmpfs=["/run"]), File(target=target, text="x"))
    assert ([path for path, _ in found.tmpfs], found.folders) == (tmpfs, folders)


def test_a_read_only_container_gets_files_by_the_folders_that_they_lie_in() -> None:
    files = [File(target=path, text="x") for path in ("/etc/a/one", "/etc/a/b/two", "/data/three")]
    found = laid_out(spec(("data", "/data"), read_only=True), *files)
    assert found.folders == {"/etc/a": True}
    assert {folder: places(items) for folder, items in found.copied.items()} == {
        "/etc/a": ["/etc/a/one", "/etc/a/b/two"],
        "/data": ["/data/three"],
    }


def test_what_lies_in_a_folder_that_is_only_read_goes_into_its_copy() -> None:
    found = laid_out(spec(("/h/conf", "/c:ro")), File(target="/c/deep/x", text="x"))
    assert (found.binds, found.copied) == ((), {})
    assert places(found.filled["/h/conf"]) == ["/c", "/c/deep/x"]


def test_links_of_the_image_are_followed() -> None:
    image = ImagePaths(places={"/etc/x": PathFacts(path="/opt/x"), "/m": PathFacts(path="/opt/m", is_folder=True)})
    found = laid_out(spec(("/h/app", "/m")), File(target="/etc/x", text=""), image=image, written={"/h/app"})
    assert places(found.copied["/"]) == ["/opt/x"]
    assert places(found.filled["/h/app"]) == ["/opt/m"]
