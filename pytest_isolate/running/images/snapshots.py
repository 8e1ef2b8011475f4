"""Snapshots: the data that a service writes at its first start, saved as a local image that later starts use."""

from __future__ import annotations

import hmac
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from pathlib import Path, PurePosixPath

from msgspec import Struct

from pytest_isolate.engine.api import BuildRequest, Capability, Engine, EngineFacts, ImageFacts, Labelled
from pytest_isolate.errors import EngineError, PathError
from pytest_isolate.model.declaration import Secret
from pytest_isolate.model.identity import LABEL_SNAPSHOT, LABEL_SNAPSHOT_BYTES
from pytest_isolate.model.service import ServiceSpec
from pytest_isolate.running.archive import read_digests
from pytest_isolate.running.images.images import Lock
from pytest_isolate.running.images.imported import ImportedImages
from pytest_isolate.running.images.snapshot_key import can_be_snapshotted, snapshot_digest
from pytest_isolate.sharing.folders import Usage, create_run_folder, remove_run_folder
from pytest_isolate.sharing.owners import Verdict, read_owner

_POLL_S = 0.1
REPOSITORY = "pytest-isolate/snapshot"
# A database of a test suite takes some 40 MB, so this is about a gigabyte; larger ones are limited by the next number.
KEPT = 25
KEPT_BYTES = 4 << 30
KEPT_DAYS = 14
# To list images takes 0.1 s where there are many (Docker 20.10), and the services of a run wait for it.
_JUDGED = "judged"
_JUDGED_EVERY_S = 3600
# The service is paused while a folder is saved, at some hundred megabytes a second.
MOST_BYTES = 1 << 30


class Snapshot(Struct, frozen=True, kw_only=True):
    """A snapshot that a service has or could have, with the password of its data.

    `digest` belongs to one user: this one, or the one whose snapshot was loaded; `anywhere` is the same for all users.
    """

    digest: str
    anywhere: str
    base: str
    folders: tuple[str, ...]
    password: str | None

    @property
    def tag(self) -> str:
        """Name of its image."""
        return f"{REPOSITORY}:{self.digest}"


_NEEDED = {Capability.PAUSE, Capability.FILES_OUT, Capability.BUILD}


class Snapshots:
    """Finds and saves snapshots. `secret` is this user's: random passwords in them are derived from it."""

    def __init__(
        self, engine: Engine, secret: bytes, usage: Usage, lock: Lock, imported: ImportedImages | None = None
    ) -> None:
        self._engine = engine
        self._imported = imported
        self._secret = secret
        self._usage = usage
        self._lock = lock
        self._builds: dict[str, Future[None]] = {}
        self._saved: set[str] = set()
        self._guard = threading.Lock()
        self._one_by_one = threading.Lock()

    def identify(self, spec: ServiceSpec, stack: str, image: ImageFacts) -> Snapshot | None:
        """Identify the snapshot of a service; None where its first start cannot be saved."""
        if not can_be_snapshotted(spec) or not can_save_snapshots(self._engine.facts()):
            return None
        contents = read_digests(spec.sources)
        anywhere = snapshot_digest(spec, stack, image.image_id, contents, b"")
        imported = self._find_imported(anywhere)
        own = snapshot_digest(spec, stack, image.image_id, contents, self._secret)
        digest, password = imported or (own, hmac.new(self._secret, own.encode(), "sha256").hexdigest()[:32])
        return Snapshot(
            digest=digest,
            anywhere=anywhere,
            base=image.image_id,
            folders=spec.snapshot,
            password=password if spec.password is Secret.RANDOM else None,
        )

    def _find_imported(self, anywhere: str) -> tuple[str, str | None] | None:
        found = self._imported.find_snapshot(anywhere) if self._imported else None
        return found if found and self._engine.find_image(f"{REPOSITORY}:{found[0]}") else None

    def wait_until_available(self, snapshot: Snapshot, raise_if_closing: Callable[[], None]) -> bool:
        """Wait until it can be used. False where there is none: the first caller then has to `save` or `release` it."""
        with self._guard:
            build = self._builds.get(snapshot.digest)
            if build is None and self._engine.find_image(snapshot.tag) is None:
                self._builds[snapshot.digest] = Future()
                return False
        while build and not wait([build], _POLL_S).done:
            raise_if_closing()
        if build and self._engine.find_image(snapshot.tag) is None:
            return False
        self._usage.note(snapshot.digest)
        return True

    def release(self, snapshot: Snapshot) -> None:
        """Let the next start try, after the one that was to save it has failed."""
        with self._guard:
            build = self._builds.pop(snapshot.digest, None)
            if build and not build.done():
                build.set_result(None)

    def save(self, snapshot: Snapshot, container_id: str) -> None:
        """Save the data of a service that has just become ready; the image is built in the background.

        Where that fails there is no snapshot, and the next run tries again. EngineError only where the service cannot
        be unpaused.
        """
        with self._guard:
            if snapshot.digest in self._saved:
                return
            self._saved.add(snapshot.digest)
            build = self._builds.setdefault(snapshot.digest, Future())
        folder = None if _too_large(snapshot) in self._usage.read() else _create_folder()
        if folder is None:
            build.set_result(None)
            return
        is_saved = False
        try:
            is_saved = self._save_paused(snapshot, container_id, folder)
        finally:
            # Starts that wait for the snapshot go on, whatever happened.
            if is_saved:
                threading.Thread(target=self._build, args=(snapshot, folder, build), daemon=True).start()
            else:
                _discard(folder, build)

    def finish(self, timeout_s: float) -> None:
        """Wait for the images that are being built, for at most `timeout_s` in all."""
        with self._guard:
            wait(self._builds.values(), timeout_s)

    def _save_paused(self, snapshot: Snapshot, container_id: str, folder: Path) -> bool:
        # Paused, so that all files are of one moment, as after a crash.
        try:
            self._engine.pause_container(container_id)
        except EngineError:
            return False
        try:
            for number, path in enumerate(snapshot.folders):
                if not self._engine.save_archive(container_id, path, folder / f"{number}.tar", MOST_BYTES):
                    self._usage.note(_too_large(snapshot))
                    return False
            return True
        except (EngineError, PathError, OSError):
            return False
        finally:
            self._engine.unpause_container(container_id)

    def _build(self, snapshot: Snapshot, folder: Path, build: Future[None]) -> None:
        try:
            size_bytes = sum(path.stat().st_size for path in folder.glob("*.tar"))
            (folder / "Dockerfile").write_text(_dockerfile(snapshot, size_bytes), encoding="utf-8", newline="\n")
            request = BuildRequest(tag=snapshot.tag, context=str(folder), dockerfile=str(folder / "Dockerfile"))
            # One at a time: services that are still starting need the machine more.
            with self._one_by_one, self._lock(f"build {snapshot.tag}"):
                if self._engine.find_image(snapshot.tag) is None:
                    self._engine.build_image(request, lambda _: None)
            self._usage.note(snapshot.digest)
            self._usage.forget(_JUDGED)
        except (EngineError, PathError, OSError):
            pass  # the run may have ended meanwhile; the next run tries again
        finally:
            _discard(folder, build)


def can_save_snapshots(facts: EngineFacts) -> bool:
    """True for an engine that has all abilities that a snapshot takes, and keeps images itself.

    Data of services is nothing to push to a registry, or to leave on the nodes of a cluster.
    """
    return facts.capabilities >= _NEEDED and not facts.nodes_pull


def must_be_judged(usage: Usage, now: float) -> bool:
    """True where there are new snapshots since the last judgement, or that was long ago."""
    return now - usage.read().get(_JUDGED, 0) >= _JUDGED_EVERY_S


def judge_snapshots(images: Sequence[Labelled], last_used: Mapping[str, float], now: float) -> list[Verdict]:
    """Return a verdict on each snapshot: too many or too large in all, the least recently used go; so do idle ones."""
    used = {image.name: last_used.get(image.labels[LABEL_SNAPSHOT]) for image in images}
    own = [image for image in images if used[image.name] is not None]
    reasons, size_bytes = {}, 0
    for number, image in enumerate(sorted(own, key=lambda image: -(used[image.name] or 0))):
        size_bytes += int(image.labels.get(LABEL_SNAPSHOT_BYTES, 0))
        if number >= KEPT:
            reasons[image.name] = f"snapshot, and {KEPT} others were used since"
        elif size_bytes > KEPT_BYTES:
            reasons[image.name] = f"snapshot, and with those that were used since it takes over {KEPT_BYTES >> 30} GiB"
    return [_judge(used[image.name], reasons.get(image.name), now) for image in images]


def note_judged(usage: Usage) -> None:
    """Note the moment of a judgement."""
    usage.note(_JUDGED)


def _judge(used: float | None, reason: str | None, now: float) -> Verdict:
    if used is None:
        return Verdict(False, "snapshot of another user, or of another home folder")
    if reason:
        return Verdict(True, reason)
    idle_days = (now - used) / 86400
    return Verdict(idle_days > KEPT_DAYS, f"snapshot, last used {idle_days:.0f} days ago (allowed: {KEPT_DAYS})")


def _dockerfile(snapshot: Snapshot, size_bytes: int) -> str:
    labels = f"LABEL {LABEL_SNAPSHOT}={snapshot.digest} {LABEL_SNAPSHOT_BYTES}={size_bytes}"
    lines = [f"FROM {snapshot.base}", labels]
    for number, path in enumerate(snapshot.folders):
        lines.append(f"ADD {json.dumps([f'{number}.tar', f'{PurePosixPath(path).parent}/'])}")
    return "\n".join(lines)


def _too_large(snapshot: Snapshot) -> str:
    return f"{snapshot.digest}.too-large"


def _create_folder() -> Path | None:
    try:
        return create_run_folder("snapshot", read_owner().encode())
    except PathError:
        return None


def _discard(folder: Path, build: Future[None]) -> None:
    remove_run_folder(folder)
    build.set_result(None)
