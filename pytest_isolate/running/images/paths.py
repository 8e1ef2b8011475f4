"""Paths in images: what is there where a file goes, and whose numbers a name has. Each image is asked once."""

from __future__ import annotations

import secrets
import tarfile
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from msgspec import Struct, ValidationError, convert, to_builtins

from pytest_isolate.engine.api import ContainerRequest, Engine, ImageFacts, PathFacts, PathOwner
from pytest_isolate.errors import EngineError, suggest
from pytest_isolate.model.identity import Run
from pytest_isolate.model.service import File
from pytest_isolate.sharing.board import Board

_MOST_BYTES = 1 << 20
_KEPT_S = 14 * 86400


class ImagePaths(Struct, frozen=True, kw_only=True):
    """Facts of an image about the places that files go to, and the numbers that their owners have there.

    `places` are by the path that is declared, without those that the image does not have. `folder_owners` are those
    of folders that are there, `owners` are by the text that names them.
    """

    places: Mapping[str, PathFacts] = {}
    folder_owners: Mapping[str, PathOwner] = {}
    owners: Mapping[str, PathOwner] = {}


class _Known(Struct, kw_only=True):
    """Facts that were found out about one image. A path without any is not there."""

    places: dict[str, PathFacts | None] = {}
    folder_owners: dict[str, PathOwner] = {}
    owners: dict[str, PathOwner] = {}
    filled: dict[str, bool] = {}
    """True for a folder with a file in it."""


class ImagePathReader:
    """Looks into images by a container that is never started. `notes` last from run to run: an image never changes."""

    def __init__(self, engine: Engine, run: Run, notes: Board | None) -> None:
        self._engine = engine
        self._run = run
        self._notes = notes
        self._known: dict[str, _Known] = {}
        # Services of one image start side by side.
        self._lock = threading.Lock()

    def read(
        self, image: ImageFacts, tag: str, files: Collection[File], is_folder: Callable[[str], bool]
    ) -> ImagePaths:
        """Facts needed to put files into a container of an image; EngineError for an owner that it lacks."""
        if not files:
            return ImagePaths()
        folders = {file.target for file in files if file.source and is_folder(file.source)}
        with self._lock:
            known = self._recall(image)
            # A place may be known from a file that went there, and its owner not.
            unowned = {
                f for f in folders - known.folder_owners.keys() if (place := known.places.get(f)) and place.is_folder
            }
            targets = {file.target for file in files} - known.places.keys() | unowned
            owners = {file.owner for file in files if file.owner} - known.owners.keys()
            if targets or owners:
                with self._container(tag) as container_id:
                    look = _Look(self._engine, container_id)
                    for target in sorted(targets):
                        place = known.places[target] = look.resolve(target)
                        if place and place.is_folder and target in folders:
                            known.folder_owners[target] = self._engine.read_owner(container_id, place.path)
                    for owner in sorted(owners):
                        known.owners[owner] = look.find_owner(owner)
                self._note(image, known)
            return ImagePaths(
                places={target: place for target, place in known.places.items() if place},
                folder_owners=dict(known.folder_owners),
                owners=dict(known.owners),
            )

    def has(self, image: ImageFacts, path: str, container_id: str) -> bool:
        """True for an image with a file or folder at a path; it is looked for in a container of the image."""
        with self._lock:
            known = self._recall(image)
            if path not in known.places:
                known.places[path] = _Look(self._engine, container_id).resolve(path)
                self._note(image, known)
            place = known.places[path]
        return place is not None and not place.is_missing

    def find_filled(self, image: ImageFacts, tag: str, folders: Collection[str]) -> set[str]:
        """Folders in which an image has a file."""
        with self._lock:
            known = self._recall(image)
            asked = set(folders) - known.filled.keys()
            if asked:
                with self._container(tag) as container_id:
                    look = _Look(self._engine, container_id)
                    known.filled |= {folder: look.holds_files(folder) for folder in asked}
                self._note(image, known)
            return {folder for folder in folders if known.filled[folder]}

    def _note(self, image: ImageFacts, known: _Known) -> None:
        if self._notes:
            self._notes.clear_older_than(_KEPT_S)
            self._notes.publish(image.image_id, to_builtins(known))

    def _recall(self, image: ImageFacts) -> _Known:
        known = self._known.get(image.image_id)
        if known is None:
            record: Any = self._notes.read(image.image_id) if self._notes else None
            try:
                known = convert(record or {}, _Known)
            except ValidationError:  # a note of another version
                known = _Known()
            self._known[image.image_id] = known
        return known

    @contextmanager
    def _container(self, tag: str) -> Iterator[str]:
        request = ContainerRequest(
            name=self._run.resource_name("look", secrets.token_hex(4)),
            image=tag,
            labels=self._run.labels(),
            entrypoint=("true",),
            command=(),
        )
        container_id = self._engine.create_container(request)
        try:
            yield container_id
        finally:
            with suppress(EngineError):  # the clean-up at the end finds it by its labels
                self._engine.remove_container(container_id)


class _Look:
    """One look into a container."""

    def __init__(self, engine: Engine, container_id: str) -> None:
        self._engine = engine
        self._container_id = container_id
        self._links: dict[str, str] = {"/": "/"}

    def resolve(self, path: str) -> PathFacts | None:
        """A file or folder, by the path that its links lead to; None where nothing is, and no link leads elsewhere."""
        above = self._resolve_folder(str(PurePosixPath(path).parent))
        own = str(PurePosixPath(above) / PurePosixPath(path).name)
        found = self._engine.find_path(self._container_id, own)
        if found and found.is_link:
            own, found = found.path, self._engine.find_path(self._container_id, found.path)
            return found or PathFacts(path=own, is_missing=True)
        return found or (PathFacts(path=own, is_missing=True) if own != path else None)

    def _resolve_folder(self, path: str) -> str:
        if path not in self._links:
            above = self._resolve_folder(str(PurePosixPath(path).parent))
            own = str(PurePosixPath(above) / PurePosixPath(path).name)
            found = self._engine.find_path(self._container_id, own)
            self._links[path] = found.path if found else own
        return self._links[path]

    def holds_files(self, folder: str) -> bool:
        """True for a folder with a file in it, however deep."""
        with tempfile.TemporaryDirectory() as here:
            archive = Path(here) / "archive"
            try:
                if not self._engine.save_archive(self._container_id, folder, archive, _MOST_BYTES):
                    return True
                with tarfile.open(archive) as found:
                    return any(entry.isfile() for entry in found)
            except (EngineError, tarfile.TarError):
                return False  # there is none, or the engine cannot tell

    def find_owner(self, text: str) -> PathOwner:
        """The numbers of `USER` or `USER:GROUP`; a number without a group is the group's as well, as Docker has it."""
        user, _, group = text.partition(":")
        if user.isdigit():
            uid, gid = int(user), int(user)
        else:
            fields = self._find(user, "/etc/passwd", "user")
            uid, gid = int(fields[2]), int(fields[3])
        if group:
            gid = int(group) if group.isdigit() else int(self._find(group, "/etc/group", "group")[2])
        return PathOwner(uid, gid)

    def _find(self, name: str, path: str, kind: str) -> list[str]:
        lines = [line.split(":") for line in self._read(path).splitlines()]
        for fields in lines:
            if fields[0] == name and len(fields) > 3 - (kind == "group"):
                return fields
        names = [fields[0] for fields in lines if fields[0]]
        raise EngineError(
            f"a file of it belongs to the {kind} {name!r}, which its image does not have{suggest(name, names)}",
            tried=f"{path} of the image",
            found=", ".join(names) or "no such file",
            do=f"name another one, or give its number: owner={kind}'s number",
        )

    def _read(self, path: str) -> str:
        if self._engine.find_path(self._container_id, path) is None:
            return ""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "archive"
            self._engine.save_archive(self._container_id, path, file, _MOST_BYTES)
            with tarfile.open(file) as archive:
                content = archive.extractfile(archive.getmembers()[0])
                return content.read().decode(errors="replace") if content else ""
