"""Images: found, pulled or built, once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pytest_isolate.engine.api import BuildRequest, ImageFacts, Progress
from pytest_isolate.errors import ImageNotFound
from pytest_isolate.model.service import Build
from pytest_isolate.running.images.images import Images, image_tag, is_for, missing_images
from pytest_isolate.sharing.board import Board
from unit.builders import spec
from unit.stub_engine import StubEngine

BUILD = Build(context="/srv/auth", dockerfile="/srv/auth/Dockerfile")


class Locks:
    """Writes down who holds which lock among the engine's calls; may let another process act first."""

    def __init__(self, engine: StubEngine) -> None:
        self.engine = engine
        self.meanwhile: dict[str, ImageFacts] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self.engine.calls.append(f"lock {name}")
        self.engine.images |= self.meanwhile
        yield
        self.engine.calls.append("unlock")


@pytest.fixture
def engine() -> StubEngine:
    return StubEngine()


@pytest.fixture
def locks(engine: StubEngine) -> Locks:
    return Locks(engine)


@pytest.fixture
def said() -> list[Progress]:
    return []


@pytest.fixture
def images(engine: StubEngine, locks: Locks, said: list[Progress], tmp_path: Path) -> Images:
    return Images(engine, locks, Board(tmp_path / "built"), Board(tmp_path / "run"), said.append)


def test_an_image_that_is_there_is_taken_without_a_lock(images: Images, engine: StubEngine) -> None:
    engine.images["image:1"] = ImageFacts(image_id="sha256:1")

    assert images.ensure(spec(image="image:1")) == ImageFacts(image_id="sha256:1")
    assert engine.calls == ["find image:1"]


def test_an_image_that_is_not_there_is_pulled_under_a_lock(
    images: Images, engine: StubEngine, said: list[Progress]
) -> None:
    assert images.ensure(spec(image="image:1")).image_id == "pulled image:1"
    assert engine.calls == ["find image:1", "lock pull image:1", "find image:1", "pull image:1", "unlock"]
    assert said == [Progress(text="pulling image:1", done=1, total=2, unit="bytes")]


def test_what_another_process_has_pulled_meanwhile_is_taken(images: Images, engine: StubEngine, locks: Locks) -> None:
    locks.meanwhile = {"image:1": ImageFacts(image_id="sha256:1")}

    assert images.ensure(spec(image="image:1")).image_id == "sha256:1"
    assert "pull image:1" not in engine.calls


def test_an_image_is_built_under_a_lock(images: Images, engine: StubEngine, said: list[Progress]) -> None:
    build = Build(context="/c", dockerfile="/c/D", args=(("A", "1"),), target="t", network="host")
    tag = "auth:1"

    facts = images.ensure(spec(image=tag, build=build))

    request = BuildRequest(tag=tag, context="/c", dockerfile="/c/D", args={"A": "1"}, target="t", network="host")
    assert facts.image_id == "built auth:1"
    assert engine.calls == ["lock build auth:1", "find auth:1", f"build {request}", "unlock"]
    assert said == [Progress(text="FROM scratch", done=1, total=3, unit="steps")]


def builds(engine: StubEngine, locks: Locks, folder: Path) -> int:
    """How many builds the next run asks for; what it builds is there from then on."""
    before = sum(call.startswith("build") for call in engine.calls)
    build = Build(context=str(folder / "context"), dockerfile=str(folder / "context" / "Dockerfile"))
    facts = Images(engine, locks, Board(folder / "built"), Board(folder / "run"), lambda _: None).ensure(
        spec(image="auth:1", build=build)
    )
    engine.images["auth:1"] = facts
    return sum(call.startswith("build") for call in engine.calls) - before


def test_a_build_in_which_nothing_has_changed_is_not_asked_for_again(
    engine: StubEngine, locks: Locks, tmp_path: Path
) -> None:
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "Dockerfile").write_text("FROM base:1\nCOPY . .\n")
    engine.images["base:1"] = ImageFacts(image_id="sha256:1")
    assert [builds(engine, locks, tmp_path) for _ in range(3)] == [1, 0, 0]

    (tmp_path / "context" / "new").touch()
    assert [builds(engine, locks, tmp_path) for _ in range(2)] == [1, 0]

    engine.images["base:1"] = ImageFacts(image_id="sha256:2")
    assert [builds(engine, locks, tmp_path) for _ in range(2)] == [1, 0]

    del engine.images["auth:1"]
    assert [builds(engine, locks, tmp_path) for _ in range(2)] == [1, 0]

    engine.images["auth:1"] = ImageFacts(image_id="sha256:somebody else's")
    assert [builds(engine, locks, tmp_path) for _ in range(2)] == [1, 0]


def test_what_changes_while_it_is_built_is_built_again(
    engine: StubEngine, locks: Locks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "Dockerfile").write_text("FROM scratch\n")
    build = engine.build_image

    def change_meanwhile(*given: Any) -> ImageFacts:
        (tmp_path / "context" / "new").touch()
        return build(*given)

    monkeypatch.setattr(engine, "build_image", change_meanwhile)
    assert [builds(engine, locks, tmp_path) for _ in range(3)] == [1, 1, 0]


def test_an_image_is_made_once_for_all_who_need_it_at_the_same_time(images: Images, engine: StubEngine) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(images.ensure, [spec(image=None, build=BUILD)] * 8))

    assert len([call for call in engine.calls if call.startswith("build")]) == 1


def test_services_that_are_built_alike_share_one_image_whatever_their_names(images: Images, engine: StubEngine) -> None:
    services = [spec(name, image=None, build=BUILD) for name in ("auth", "_auth", "größe")]

    assert len({images.ensure(service).image_id for service in services}) == 1
    assert len({image_tag(service) for service in services}) == 1


def test_another_build_has_another_tag() -> None:
    other = Build(context="/srv/auth", dockerfile="/srv/auth/Dockerfile", args=(("A", "1"),))

    assert image_tag(spec(image=None, build=BUILD)) != image_tag(spec(image=None, build=other))


@pytest.mark.parametrize(
    ("context", "start"),
    [
        ("/srv/auth", "pytest-isolate/auth:"),
        ("/srv/My Service_", "pytest-isolate/my-service:"),
        ("/srv/größe", "pytest-isolate/gr-e:"),
        ("/srv/日本", "pytest-isolate/build:"),
        ("/", "pytest-isolate/build:"),
    ],
)
def test_a_tag_is_valid_whatever_the_folder_is_called(context: str, start: str) -> None:
    tag = image_tag(spec(image=None, build=Build(context=context, dockerfile="D")))

    assert tag.startswith(start)
    part = "[a-z0-9]+(-+[a-z0-9]+)*"
    assert re.fullmatch(f"{part}/{part}:[0-9a-f]{{12}}", tag)


def test_missing_images_are_told_once_and_in_order(engine: StubEngine) -> None:
    engine.images["b:1"] = ImageFacts(image_id="sha256:1")

    missing = missing_images(engine, [spec(image=image) for image in ("c:1", "b:1", "a:1", "c:1")])

    assert missing == ["c:1", "a:1"]


# -- when, and for which platform -------------------------------------------------------------------------------------


def test_with_always_the_newest_is_pulled_once_in_a_run(images: Images, engine: StubEngine, tmp_path: Path) -> None:
    engine.images["image:1"] = ImageFacts(image_id="sha256:1")
    always = spec(image="image:1", pull="always")

    pulled = images.ensure(always)
    engine.images["image:1"] = pulled
    another_process = Images(engine, Locks(engine), Board(tmp_path / "built"), Board(tmp_path / "run"), lambda _: None)

    assert pulled.image_id == "pulled image:1"
    assert another_process.ensure(always) == pulled
    assert engine.calls.count("pull image:1") == 1


def test_with_never_what_is_not_there_is_an_error_that_says_what_to_do(images: Images, engine: StubEngine) -> None:
    with pytest.raises(ImageNotFound) as caught:
        images.ensure(spec(image="image:1", pull="never"))

    assert str(caught.value) == (
        "image image:1 is not on the engine, and is not to be pulled\n"
        "  found  the engine has no image of this name, and pull is 'never'\n"
        "  do     get it there: docker pull image:1\n"
        "         or have it pulled: --isolate-pull=missing, or pull= of the service"
    )
    assert "pull image:1" not in engine.calls


def test_with_never_what_is_there_is_used(images: Images, engine: StubEngine) -> None:
    engine.images["image:1"] = ImageFacts(image_id="sha256:1")

    assert images.ensure(spec(image="image:1", pull="never")).image_id == "sha256:1"
    assert missing_images(engine, [spec(image="other:1", pull="never")]) == []


def test_an_image_of_another_platform_is_pulled_anew(images: Images, engine: StubEngine) -> None:
    engine.images["image:1"] = ImageFacts(image_id="sha256:1", platform="linux/amd64")

    assert images.ensure(spec(image="image:1", platform="linux/amd64")).image_id == "sha256:1"
    assert images.ensure(spec(image="image:1", platform="linux/arm64")).image_id == "pulled image:1"
    assert engine.calls[-2:] == ["pull image:1 for linux/arm64", "unlock"]


def test_with_never_an_image_of_another_platform_is_not_used(images: Images, engine: StubEngine) -> None:
    engine.images["image:1"] = ImageFacts(image_id="sha256:1", platform="linux/amd64")

    with pytest.raises(ImageNotFound, match="the engine has it for linux/amd64 only, and pull is 'never'"):
        images.ensure(spec(image="image:1", pull="never", platform="linux/arm64"))


def test_a_registry_that_gives_another_platform_is_told_of(images: Images, engine: StubEngine) -> None:
    engine.pulled_platform = "linux/amd64"

    with pytest.raises(ImageNotFound, match=r"image image:1 is not made for linux/s390x\n"):
        images.ensure(spec(image="image:1", platform="linux/s390x"))


@pytest.mark.parametrize(
    ("wanted", "found", "expected"),
    [
        (None, "linux/amd64", True),
        ("linux/amd64", "", True),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm/v7", "linux/arm/v6", False),
        ("linux/arm64", "linux/amd64", False),
    ],
)
def test_a_platform_is_compared_as_far_as_both_say_it(wanted: str | None, found: str, expected: bool) -> None:
    assert is_for(wanted, ImageFacts(image_id="", platform=found)) is expected
