"""The images that services need, with all that another machine has to know of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from pytest_isolate.engine.api import Engine, ImageFacts
from pytest_isolate.model.service import ServiceSpec
from pytest_isolate.running.images.images import Images, build_request, image_tag
from pytest_isolate.running.images.snapshots import Snapshots
from pytest_isolate.running.images.build_digest import digest_anywhere, read_bases
from pytest_isolate.running.images.store import Frozen, Needed, Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A service, as some test asks for it."""

    service: str
    stack: str
    spec: ServiceSpec


def find_needed(engine: Engine, images: Images, snapshots: Snapshots | None, uses: Iterable[Use]) -> list[Needed]:
    """Each image once, pulled or built where it is missing; snapshots only where an earlier run has taken them."""
    found: dict[str, Needed] = {}
    for use in uses:
        image = images.ensure(use.spec)
        for needed in (_own(engine, use, image), *_snapshots(engine, use, image, snapshots)):
            before = found.get(needed.image_id)
            found[needed.image_id] = _merge(before, needed) if before else needed
    return list(found.values())


def _own(engine: Engine, use: Use, image: ImageFacts) -> Needed:
    return Needed(
        image_id=image.image_id,
        names=(image_tag(use.spec),),
        services=(use.service,),
        origins=tuple(_origins(engine, use.spec)),
    )


def _origins(engine: Engine, spec: ServiceSpec) -> Iterator[Origin]:
    """What an image is built from; nothing where that cannot be read, and where it is pulled."""
    if spec.build:
        request = build_request(spec)
        sources = digest_anywhere(request)
        if sources:
            yield Origin(sources=sources, bases=read_bases(request, engine.find_image))


def _snapshots(engine: Engine, use: Use, image: ImageFacts, snapshots: Snapshots | None) -> Iterator[Needed]:
    snapshot = snapshots.identify(use.spec, use.stack, image) if snapshots else None
    found = engine.find_image(snapshot.tag) if snapshot else None
    if snapshot and found:
        frozen = Frozen(digest=snapshot.digest, anywhere=snapshot.anywhere, password=snapshot.password)
        yield Needed(image_id=found.image_id, names=(snapshot.tag,), services=(use.service,), frozen=frozen)


def _merge(one: Needed, other: Needed) -> Needed:
    """The same image, needed twice."""
    return replace(
        one,
        names=tuple(dict.fromkeys((*one.names, *other.names))),
        services=tuple(dict.fromkeys((*one.services, *other.services))),
        origins=(*one.origins, *(origin for origin in other.origins if origin not in one.origins)),
    )
