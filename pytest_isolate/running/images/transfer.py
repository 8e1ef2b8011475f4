"""Transfer of images from an engine into a folder, and from there to an engine; only missing ones are moved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from pytest_isolate.engine.api import Engine, ImageFacts
from pytest_isolate.engine.command_api import ImageTransfer
from pytest_isolate.errors import IsolateError
from pytest_isolate.model.service import ServiceSpec
from pytest_isolate.running.images.build_digest import digest_anywhere, read_bases
from pytest_isolate.running.images.images import Images, build_request, image_tag
from pytest_isolate.running.images.imported import ImportedImages
from pytest_isolate.running.images.snapshots import Snapshots
from pytest_isolate.running.images.store import (
    BuildOrigin,
    ImageStore,
    Index,
    RequiredImage,
    SnapshotOrigin,
    StoredImage,
)
from pytest_isolate.sharing.folders import Usage


class ImageUse(Struct, frozen=True, kw_only=True):
    """A service as tests use it."""

    service: str
    stack: str
    spec: ServiceSpec


def find_required_images(
    engine: Engine, images: Images, snapshots: Snapshots | None, uses: Iterable[ImageUse]
) -> list[RequiredImage]:
    """Find each image once, and pull or build the missing ones; snapshots only where an earlier run has saved them."""
    found: dict[str, RequiredImage] = {}
    for use in uses:
        image = images.ensure(use.spec)
        for required in (_own(engine, use, image), *_snapshots(engine, use, image, snapshots)):
            before = found.get(required.image_id)
            found[required.image_id] = _merge(before, required) if before else required
    return list(found.values())


def _own(engine: Engine, use: ImageUse, image: ImageFacts) -> RequiredImage:
    return RequiredImage(
        image_id=image.image_id,
        names=(image_tag(use.spec),),
        services=(use.service,),
        origins=tuple(_origins(engine, use.spec)),
    )


def _origins(engine: Engine, spec: ServiceSpec) -> Iterator[BuildOrigin]:
    if spec.build:
        request = build_request(spec)
        sources = digest_anywhere(request)
        if sources:  # else they cannot be read
            yield BuildOrigin(sources=sources, bases=read_bases(request, engine.find_image))


def _snapshots(
    engine: Engine, use: ImageUse, image: ImageFacts, snapshots: Snapshots | None
) -> Iterator[RequiredImage]:
    snapshot = snapshots.identify(use.spec, use.stack, image) if snapshots else None
    found = engine.find_image(snapshot.tag) if snapshot else None
    if snapshot and found:
        frozen = SnapshotOrigin(digest=snapshot.digest, anywhere=snapshot.anywhere, password=snapshot.password)
        yield RequiredImage(image_id=found.image_id, names=(snapshot.tag,), services=(use.service,), frozen=frozen)


def _merge(one: RequiredImage, other: RequiredImage) -> RequiredImage:
    return replace(
        one,
        names=tuple(dict.fromkeys((*one.names, *other.names))),
        services=tuple(dict.fromkeys((*one.services, *other.services))),
        origins=(*one.origins, *(origin for origin in other.origins if origin not in one.origins)),
    )


SAVED, UNCHANGED, LOADED, PRESENT = "saved", "unchanged", "loaded", "present"


class Outcome(Struct, frozen=True, kw_only=True):
    """Result for one image; `name_conflicts` are names that belong to another image on the engine, and stay with it."""

    status: str
    saved: StoredImage
    name_conflicts: tuple[str, ...] = ()


def export_images(
    engine: Engine, transfer: ImageTransfer, image_store: ImageStore, required: Sequence[RequiredImage]
) -> list[Outcome]:
    """Have exactly these images in the folder."""
    # Images for another kind of processor have other ids, so that none of them counts as being there.
    before = image_store.complete_images(image_store.read() or Index())
    parts = {stored.image.image_id: stored.parts for stored in before}
    missing = [image.image_id for image in required if image.image_id not in parts]
    parts |= dict(zip(missing, transfer.save(missing, image_store), strict=True))
    stored = tuple(StoredImage(image=image, parts=parts[image.image_id]) for image in required)
    image_store.publish(Index(machine=engine.facts().machine, images=stored))
    return [Outcome(status=SAVED if s.image.image_id in missing else UNCHANGED, saved=s) for s in stored]


def import_images(
    engine: Engine, transfer: ImageTransfer, image_store: ImageStore, index: Index, usage: Usage, notes: ImportedImages
) -> list[Outcome]:
    """Have the folder's images on the engine, under their names as far as these are free."""
    _check(engine, image_store, index)
    missing = [stored for stored in index.images if not engine.find_image(stored.image.image_id)]
    # An engine that stores images in another way than the one they come from gives them other ids.
    loaded = transfer.load([stored.parts for stored in missing], image_store) if missing else []
    ids = {stored.image.image_id: image_id for stored, image_id in zip(missing, loaded, strict=True)}
    outcomes = []
    for stored in index.images:
        image = stored.image
        image_id = ids.get(image.image_id, image.image_id)
        conflicts = tuple(_name(engine, image_id, image.names))
        notes.note(image_id, image.origins, image.frozen)
        if image.frozen:
            usage.note(image.frozen.digest)
        status = LOADED if image.image_id in ids else PRESENT
        outcomes.append(Outcome(status=status, saved=stored, name_conflicts=conflicts))
    return outcomes


def _name(engine: Engine, image_id: str, names: Iterable[str]) -> Iterable[str]:
    """Give an image its names; yield those that another image has, which stay with it."""
    found = engine.find_image(image_id)
    for name in names:
        other = engine.find_image(name)
        if other is None:
            engine.tag_image(image_id, name)
        elif found is None or other.image_id != found.image_id:
            yield name


def _check(engine: Engine, image_store: ImageStore, index: Index) -> None:
    machine = engine.facts().machine
    if machine and index.machine and machine != index.machine:
        raise IsolateError(
            f"the images in {image_store.folder} are for another kind of processor",
            found=f"they were saved for {index.machine}; the engine's is {machine}",
            do="save them on a machine of this kind, into a folder of their own",
        )
    complete = image_store.complete_images(index)
    broken = [stored for stored in index.images if stored not in complete]
    if broken:
        raise IsolateError(
            f"{len(broken)} of the {len(index.images)} images in {image_store.folder} are not whole",
            found=[f"files of {', '.join(stored.image.names)} are missing, or cut short" for stored in broken],
            do="save them again: pytest-isolate images save; nothing was loaded",
        )
