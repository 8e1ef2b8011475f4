"""Snapshots: what a service has made of itself at its first start, saved as a local image and used from then on."""

from __future__ import annotations

import hmac
import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath

from msgspec import Struct

from pytest_isolate.engine.api import BuildRequest, Capability, Engine, ImageFacts, Labelled
from pytest_isolate.errors import EngineError
from pytest_isolate.model.identity import LABEL_SNAPSHOT, LABEL_SNAPSHOT_BYTES
from pytest_isolate.model.service import Secret, ServiceSpec
from pytest_isolate.running.archive import read_digests
from pytest_isolate.running.images.imported import ImportedImages
from pytest_isolate.running.images.snapshot_key import can_be_snapshotted, snapshot_digest
from pytest_isolate.sharing.folders import Usage
from pytest_isolate.sharing.owners import Verdict

_POLL_S = 0.1
REPOSITORY = "pytest-isolate/snapshot"
# A database of a test suite takes some 40 MB, so this is about a gigabyte; larger ones have their own limit.
KEPT = 25
KEPT_BYTES = 4 << 30
KEPT_DAYS = 14
# To list images takes an engine 0.1 s where there are many (Docker 20.10), while services wait to be started.
_JUDGED = "judged"
_JUDGED_EVERY_S = 3600
# The service stands still while a folder is saved, at some hundred megabytes a second.
MOST_BYTES = 1 << 30
Lock = Callable[[str], AbstractContextManager[object]]


class Snapshot(Struct, frozen=True, kw_only=True):
    """A snapshot that a service has or could have. `password` is the one that its data was made with.

    `digest` is this user's, or another's from whom it was loaded; `anywhere` is the same for all users.
    """

    digest: str
    anywhere: str
    base: str
    folders: tuple[str, ...]
    password: str | None

    @property
    def tag(self) -> str:
        """The name of its image."""
        return f"{REPOSITORY}:{self.digest}"


_NEEDED = {Capability.PAUSE, Capability.FILES_OUT, Capability.BUILD}


class Snapshots:
    """Finds and takes snapshots. `secret` is this user's: random passwords in them are derived from it."""

    def __init__(
        self, engine: Engine, secret: bytes, usage: Usage, lock: Lock, loaded: ImportedImages | None = None
    ) -> None:
        self._engine = engine
        self._loaded = loaded
        self._secret = secret
        self._usage = usage
        self._lock = lock
        self._made: dict[str, Future[None]] = {}
        self._taken: set[str] = set()
        self._guard = threading.Lock()
        self._one_by_one = threading.Lock()

    def identify(self, spec: ServiceSpec, stack: str, image: ImageFacts) -> Snapshot | None:
        """The snapshot that fits a service of a stack; None for one whose first start cannot be saved."""
        if not can_be_snapshotted(spec) or not self._engine.facts().capabilities >= _NEEDED:
            return None
        contents = read_digests(spec.files)
        anywhere = snapshot_digest(spec, stack, image.image_id, contents, b"")
        digest, password = self._find_loaded(anywhere) or self._own(
            snapshot_digest(spec, stack, image.image_id, contents, self._secret)
        )
        return Snapshot(
            digest=digest,
            anywhere=anywhere,
            base=image.image_id,
            folders=spec.snapshot,
            password=password if spec.password is Secret.RANDOM else None,
        )

    def _own(self, digest: str) -> tuple[str, str | None]:
        return digest, hmac.new(self._secret, digest.encode(), "sha256").hexdigest()[:32]

    def _find_loaded(self, anywhere: str) -> tuple[str, str | None] | None:
        """What another user's snapshot is called and locked with, where it was loaded, and still is there."""
        found = self._loaded.find_snapshot(anywhere) if self._loaded else None
        return found if found and self._engine.find_image(f"{REPOSITORY}:{found[0]}") else None

    def wait_until_available(self, snapshot: Snapshot, raise_if_closing: Callable[[], None]) -> bool:
        """Whether it can be started from; waits for one that this process is about to make.

        The first to be told that it is not there has to `take` or to `abandon` it.
        """
        with self._guard:
            made = self._made.get(snapshot.digest)
            if made is None and self._engine.find_image(snapshot.tag) is None:
                self._made[snapshot.digest] = Future()
                return False
        while made and not wait([made], _POLL_S).done:
            raise_if_closing()
        if made and self._engine.find_image(snapshot.tag) is None:
            return False
        self._usage.note(snapshot.digest)
        return True

    def release(self, snapshot: Snapshot) -> None:
        """The start that would have made it has failed: the next one may try."""
        with self._guard:
            made = self._made.pop(snapshot.digest, None)
            if made and not made.done():
                made.set_result(None)

    def save(self, snapshot: Snapshot, container_id: str) -> None:
        """Save what a service that has just become ready has made; its image is built in the background.

        One that cannot be taken is none: the next run starts without it, and tries again. EngineError where the service
        cannot be made to go on.
        """
        with self._guard:
            if snapshot.digest in self._taken:
                return
            self._taken.add(snapshot.digest)
            made = self._made.setdefault(snapshot.digest, Future())
        if self._is_too_large(snapshot):
            made.set_result(None)
            return
        try:
            folder = Path(tempfile.mkdtemp(prefix="pytest-isolate-snapshot-"))
        except OSError:
            made.set_result(None)
            return
        is_saved = False
        try:
            is_saved = self._save_standing_still(snapshot, container_id, folder)
        finally:
            # Whoever waits for it goes on, whatever happened.
            if is_saved:
                threading.Thread(target=self._build, args=(snapshot, folder, made), daemon=True).start()
            else:
                _discard(folder, made)

    def finish(self, timeout_s: float) -> None:
        """Wait for the images that are being built, for so many seconds in all."""
        with self._guard:
            wait(self._made.values(), timeout_s)

    def _save(self, snapshot: Snapshot, container_id: str, folder: Path) -> bool:
        for number, path in enumerate(snapshot.folders):
            if not self._engine.save_archive(container_id, path, folder / f"{number}.tar", MOST_BYTES):
                self._usage.note(_too_large(snapshot))
                return False
        return True

    def _is_too_large(self, snapshot: Snapshot) -> bool:
        """Whether an earlier run has found out that it takes more room, and time, than it is worth."""
        return _too_large(snapshot) in self._usage.read()

    def _save_standing_still(self, snapshot: Snapshot, container_id: str, folder: Path) -> bool:
        """What is read of a paused container is what it would find after a crash, all of one moment."""
        try:
            self._engine.pause_container(container_id)
        except EngineError:
            return False
        try:
            return self._save(snapshot, container_id, folder)
        except (EngineError, OSError):
            return False
        finally:
            self._engine.unpause_container(container_id)

    def _build(self, snapshot: Snapshot, folder: Path, made: Future[None]) -> None:
        try:
            size_bytes = sum(path.stat().st_size for path in folder.glob("*.tar"))
            (folder / "Dockerfile").write_text(_dockerfile(snapshot, size_bytes))
            request = BuildRequest(tag=snapshot.tag, context=str(folder), dockerfile=str(folder / "Dockerfile"))
            # One at a time: services that are still starting need the machine more.
            with self._one_by_one, self._lock(f"build {snapshot.tag}"):
                if self._engine.find_image(snapshot.tag) is None:
                    self._engine.build_image(request, lambda _: None)
            self._usage.note(snapshot.digest)
            self._usage.forget(_JUDGED)
        except (EngineError, OSError):
            pass  # the run may have ended meanwhile; the next one tries again
        finally:
            _discard(folder, made)


def must_be_judged(usage: Usage, now: float) -> bool:
    """Whether there are new snapshots since they were judged, or that was long ago."""
    return now - usage.read().get(_JUDGED, 0) >= _JUDGED_EVERY_S


def judge_snapshots(images: Sequence[Labelled], last_used: Mapping[str, float], now: float) -> list[Verdict]:
    """Which snapshots have to go: those beyond the most recently used ones, and what was not used for two weeks."""
    used = {image.name: last_used.get(image.labels[LABEL_SNAPSHOT]) for image in images}
    own = [image for image in images if used[image.name] is not None]
    reasons, taken = {}, 0
    for number, image in enumerate(sorted(own, key=lambda image: -(used[image.name] or 0))):
        taken += int(image.labels.get(LABEL_SNAPSHOT_BYTES, 0))
        if number >= KEPT:
            reasons[image.name] = f"snapshot, and {KEPT} others were used since"
        elif taken > KEPT_BYTES:
            reasons[image.name] = f"snapshot, and with those that were used since it takes over {KEPT_BYTES >> 30} GiB"
    return [_judge(used[image.name], reasons.get(image.name), now) for image in images]


def note_judged(usage: Usage) -> None:
    """They are judged now."""
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


def _discard(folder: Path, made: Future[None]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    made.set_result(None)
