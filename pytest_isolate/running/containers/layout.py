"""Mounts of a container and the files that are copied into it, from what its service declares. Pure.

As with Docker, what is mounted hides what the image has at that place and what others mount above it; but no container
may write to this host's own files.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import PurePosixPath

from msgspec import Struct
from msgspec.structs import replace

from pytest_isolate.model.service import File, Pairs, ServiceSpec, is_host_path, split_mode
from pytest_isolate.running.archive import ROOT, Copied, as_copied
from pytest_isolate.running.images.paths import ImagePaths


class Layout(Struct, frozen=True, kw_only=True):
    """Mounts of a container, and what is copied into it before it starts.

    `volumes` are those of the stack, by name, and `filled` the ones among them that begin as a copy of a folder of this
    host. `folders` are volumes of the container alone: true for one that begins with what the image has there. `copied`
    is by the folder that the engine unpacks it in.
    """

    volumes: Pairs = ()
    filled: Mapping[str, tuple[Copied, ...]] = {}
    binds: Pairs = ()
    folders: Mapping[str, bool] = {}
    tmpfs: Pairs = ()
    copied: Mapping[str, tuple[Copied, ...]] = {}


def lay_out(
    spec: ServiceSpec,
    files: Iterable[File],
    image: ImagePaths,
    *,
    shares_files: bool,
    written: Container[str],
    is_folder: Callable[[str], bool],
) -> Layout:
    """Decide on every mount of a service.

    `shares_files` tells that paths of this host are those of the engine's host too: it then mounts what no service of
    the stack writes to (`written`) as it is.
    """
    files = sorted(files, key=lambda file: len(PurePosixPath(file.target).parts))
    bound = _find_bound(spec, files, written, is_folder) if shares_files else ()
    volumes, filled, binds, copied = _mount_volumes(spec, image, bound, is_folder)
    taken = [*(split_mode(target)[0] for _, target in volumes), *(path for path, _ in binds)]
    tmpfs, folders = dict(spec.container.tmpfs), dict[str, bool]()
    for file in files:
        item = _as_copied(file, image)
        is_top = bool(item.source) and is_folder(item.source)
        mount = _covering(item.target, (*taken, *tmpfs, *folders))
        place = item.target if is_top else str(PurePosixPath(item.target).parent)
        if mount in tmpfs:
            # Docker's archives do not reach into memory. What is there as a volume they reach.
            if _is_below(mount, place):
                place = mount
                del tmpfs[mount]
            folders[place] = False
        elif mount is None and is_top and item.top_mode is not None:
            folders[place] = False
        elif mount is None and spec.container.read_only:
            folders[place] = not is_top
        copied.append(item)
    mounts = (*taken, *tmpfs, *folders)
    copied = _fill_what_is_only_read(copied, volumes, filled, mounts)
    return Layout(
        volumes=volumes,
        filled={name: tuple(_without(item, mounts) for item in items) for name, items in filled.items()},
        binds=binds,
        folders=folders,
        tmpfs=tuple(tmpfs.items()),
        copied=_by_folder((_without(item, mounts) for item in copied), mounts if spec.container.read_only else ()),
    )


def _find_bound(
    spec: ServiceSpec, files: Iterable[File], written: Container[str], is_folder: Callable[[str], bool]
) -> set[tuple[str, str]]:
    """Volumes that are bound as they are: what no service writes to, and nothing is copied into."""
    within = [file.target for file in files]
    within += [split_mode(target)[0] for name, target in spec.volumes if name in written and not is_folder(name)]
    return {
        (name, target)
        for name, target in spec.volumes
        if name not in written and not any(_is_below(path, split_mode(target)[0]) for path in within)
    }


def _mount_volumes(
    spec: ServiceSpec,
    image: ImagePaths,
    bound: Container[tuple[str, str]],
    is_folder: Callable[[str], bool],
) -> tuple[Pairs, dict[str, tuple[Copied, ...]], Pairs, list[Copied]]:
    """Mounts that the service declares: volumes, those that are filled, binds, and files of this host to be copied."""
    volumes, binds, copied = [], list(spec.container.binds), []
    filled: dict[str, tuple[Copied, ...]] = {}
    for name, target in spec.volumes:
        path, _ = split_mode(target)
        item = Copied(target=_place(path, image), source=name, owner=None)
        if not is_host_path(name):
            volumes.append((name, target))
        elif (name, target) in bound:
            binds.append((path, f"{name}:ro"))
        elif is_folder(name):
            volumes.append((name, target))
            filled.setdefault(name, (item,))
        else:
            copied.append(item)
    return tuple(volumes), filled, tuple(binds), copied


def _fill_what_is_only_read(
    copied: Iterable[Copied], volumes: Pairs, filled: dict[str, tuple[Copied, ...]], mounts: Iterable[str]
) -> list[Copied]:
    """Add what lies in a volume that its container only reads to what fills that volume; the rest is returned."""
    places = {split_mode(target)[0]: name for name, target in volumes if name in filled and split_mode(target)[1]}
    rest = []
    for item in copied:
        mount = _covering(item.target, mounts)
        if mount in places:
            filled[places[mount]] += (item,)
        else:
            rest.append(item)
    return rest


def _as_copied(file: File, image: ImagePaths) -> Copied:
    """A file at the place that a link of the image leads to; a folder that is there keeps its owner and its mode."""
    there, base = image.places.get(file.target), as_copied(file)
    owner = image.owners[file.owner] if file.owner else ROOT
    return Copied(
        target=_place(file.target, image),
        source=base.source,
        content=base.content,
        mode=file.mode,
        owner=owner,
        top_owner=owner if file.owner else image.folder_owners.get(file.target, owner),
        top_mode=there.mode if there and there.is_folder else None,
    )


def _place(path: str, image: ImagePaths) -> str:
    """The place that a link of the image leads to, or the path itself."""
    return image.places[path].path if path in image.places else path


def _without(item: Copied, mounts: Iterable[str]) -> Copied:
    hidden = [path for path in mounts if path != item.target and _is_below(path, item.target)]
    return replace(item, hidden=tuple(hidden))


def _by_folder(copied: Iterable[Copied], mounts: Iterable[str]) -> dict[str, tuple[Copied, ...]]:
    """Items by the folder to unpack them in: the root, or, where that is read-only, the mount that each lies in."""
    known, by_folder = tuple(mounts), dict[str, tuple[Copied, ...]]()
    for item in copied:
        folder = _covering(item.target, known) or "/"
        by_folder[folder] = (*by_folder.get(folder, ()), item)
    return by_folder


def _covering(path: str, mounts: Iterable[str]) -> str | None:
    """The mount that a path lies in; None for what lies in the image."""
    return max((mount for mount in mounts if _is_below(path, mount)), key=len, default=None)


def _is_below(path: str, above: str) -> bool:
    return PurePosixPath(path).is_relative_to(above)
