"""Images from an engine into a folder, and from there onto an engine; only what is missing is moved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from pytest_isolate.engine.api import Engine, ImageFacts
from pytest_isolate.engine.image_archive import Parts, Store
from pytest_isolate.errors import IsolateError, build_message
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
    """A service, as some test asks for it."""

    service: str
    stack: str
    spec: ServiceSpec


def find_required_images(
    engine: Engine, images: Images, snapshots: Snapshots | None, uses: Iterable[ImageUse]
) -> list[RequiredImage]:
    """Each image once, pulled or built where it is missing; snapshots only where an earlier run has taken them."""
    found: dict[str, RequiredImage] = {}
    for use in uses:
        image = images.ensure(use.spec)
        for needed in (_own(engine, use, image), *_snapshots(engine, use, image, snapshots)):
            before = found.get(needed.image_id)
            found[needed.image_id] = _merge(before, needed) if before else needed
    return list(found.values())


def _own(engine: Engine, use: ImageUse, image: ImageFacts) -> RequiredImage:
    return RequiredImage(
        image_id=image.image_id,
        names=(image_tag(use.spec),),
        services=(use.service,),
        origins=tuple(_origins(engine, use.spec)),
    )


def _origins(engine: Engine, spec: ServiceSpec) -> Iterator[BuildOrigin]:
    """What an image is built from; nothing where that cannot be read, and where it is pulled."""
    if spec.build:
        request = build_request(spec)
        sources = digest_anywhere(request)
        if sources:
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
    """The same image, needed twice."""
    return replace(
        one,
        names=tuple(dict.fromkeys((*one.names, *other.names))),
        services=tuple(dict.fromkeys((*one.services, *other.services))),
        origins=(*one.origins, *(origin for origin in other.origins if origin not in one.origins)),
    )


SAVED, UNCHANGED, LOADED, PRESENT = "saved", "unchanged", "loaded", "present"


class Transfer(Protocol):
    """What is asked of an engine beside what runs ask."""

    def save(self, image_ids: Sequence[str], store: Store) -> list[Parts]:
        """What each of these images consists of, kept in a store, in their order."""

    def load(self, images: Sequence[Parts], store: Store) -> list[str]:
        """The id, or the name, of each image, which the engine has from now on, in their order."""


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of an image. `left` are names of it that belong to another image on the engine, and stay so."""

    status: str
    saved: StoredImage
    name_conflicts: tuple[str, ...] = ()


def export_images(
    engine: Engine, transfer: Transfer, image_store: ImageStore, needed: Sequence[RequiredImage]
) -> list[Outcome]:
    """Have these images in the folder, and no others."""
    machine = engine.facts().machine
    before = image_store.read()
    # What was saved for another kind of processor has other ids anyway.
    there = {s.image.image_id: s.parts for s in image_store.complete_images(before)} if before else {}
    missing = [image.image_id for image in needed if image.image_id not in there]
    taken = dict(zip(missing, transfer.save(missing, image_store), strict=True))
    found = [StoredImage(image=image, parts={**there, **taken}[image.image_id]) for image in needed]
    image_store.publish(Index(machine=machine, images=tuple(found)))
    return [Outcome(status=SAVED if s.image.image_id in taken else UNCHANGED, saved=s) for s in found]


def import_images(
    engine: Engine, transfer: Transfer, image_store: ImageStore, index: Index, usage: Usage, notes: ImportedImages
) -> list[Outcome]:
    """Have the folder's images on the engine, under their names, where those are not taken."""
    _check(engine, image_store, index)
    there = {s.image.image_id for s in index.images if engine.find_image(s.image.image_id)}
    missing = [s for s in index.images if s.image.image_id not in there]
    # An engine may keep images in another way than the one that they come from, and then calls them otherwise.
    loaded = transfer.load([s.parts for s in missing], image_store) if missing else []
    ids = {s.image.image_id: image_id for s, image_id in zip(missing, loaded, strict=True)}
    outcomes = []
    for saved in index.images:
        image = saved.image
        image_id = ids.get(image.image_id, image.image_id)
        left = tuple(_name(engine, image_id, image.names))
        notes.note(image_id, image.origins, image.frozen)
        if image.frozen:
            usage.note(image.frozen.digest)
        fate = LOADED if image.image_id in ids else PRESENT
        outcomes.append(Outcome(status=fate, saved=saved, name_conflicts=left))
    return outcomes


def _name(engine: Engine, image_id: str, names: Iterable[str]) -> Iterable[str]:
    """Give an image its names; those that another image has are left to it."""
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
            build_message(
                f"the images in {image_store.folder} are for another kind of processor",
                found=f"they were saved for {index.machine}; the engine's is {machine}",
                do="save them on a machine of this kind, into a folder of their own",
            )
        )
    whole = image_store.complete_images(index)
    broken = [saved for saved in index.images if saved not in whole]
    if broken:
        raise IsolateError(
            build_message(
                f"{len(broken)} of the {len(index.images)} images in {image_store.folder} are not whole",
                found=[f"files of {', '.join(s.image.names)} are missing, or cut short" for s in broken],
                do="save them again: pytest-isolate images save; nothing was loaded",
            )
        )
