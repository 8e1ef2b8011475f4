"""A build by the engine's own BuildKit: asked for over its API, served by a session, told of by its records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from pytest_isolate.engine.api import BuildRequest, ProgressCallback
from pytest_isolate.engine.docker.building.build_session import BuildSession
from pytest_isolate.engine.docker.building.choice import find_cache_images, keeps_cache_inline
from pytest_isolate.engine.docker.building.filesync import Entry, Folders
from pytest_isolate.engine.docker.building.services import FindLogin, build_services
from pytest_isolate.engine.docker.building.trace import TRACE, Failure, Trace
from pytest_isolate.engine.docker.transport.client import Http
from pytest_isolate.engine.dockerignore import IGNORE_FILE
from pytest_isolate.user_files import read_bytes

_INLINE_CACHE = "BUILDKIT_INLINE_CACHE"


def build(
    engine: Http,
    request: BuildRequest,
    dockerfile: bytes,
    secrets: Mapping[str, bytes],
    find_login: FindLogin,
    tell: ProgressCallback,
) -> Failure | None:
    """Build and tag an image from the text of a Dockerfile; return why it failed."""
    what = f"the image {request.tag} could not be built"
    context = Path(request.context)
    name = "Dockerfile" if request.inline is not None else Path(request.dockerfile).name
    entries = [Entry.of_text(name, dockerfile)]
    own = Path(request.dockerfile + IGNORE_FILE)
    if request.inline is None and own.is_file():
        entries.append(Entry.of_text(own.name, read_bytes(own)))
    folders = Folders(context=context, dockerfile=entries)
    trace, error = Trace(), ""
    with closing(BuildSession(engine, what, context, build_services(folders, secrets, find_login))) as session:
        query = {**build_query(request, name), "session": session.session_id, "buildid": session.session_id}
        with closing(engine.post_for_json(what, "/build", query)) as answers:
            for line in answers:
                if line.get("id") == TRACE:
                    for progress in trace.add(line["aux"]):
                        tell(progress)
                error = str(line.get("error", "")) or error
    return Failure(step=trace.failed_step, output=trace.output, error=error.strip()) if error else None


def build_query(request: BuildRequest, dockerfile: str) -> dict[str, object]:
    """The query of `POST /build` (Docker Engine API, 1.41) for BuildKit, but for its session."""
    args = {**request.args, **({_INLINE_CACHE: "1"} if keeps_cache_inline(request) else {})}
    query = {
        "version": "2",
        "remote": "client-session",
        "t": request.tag,
        "dockerfile": dockerfile,
        "buildargs": json.dumps(args),
        "labels": json.dumps(dict(request.labels)),
        "cachefrom": json.dumps(find_cache_images(request)) if request.cache_from else None,
        "target": request.target,
        "networkmode": request.network,
        "platform": request.platform,
        "pull": "1" if request.pull else None,
        "shmsize": request.shm_bytes,
        "extrahosts": [f"{name}:{address}" for name, address in request.extra_hosts],
        "rm": "1",
        "forcerm": "1",
    }
    return {key: value for key, value in query.items() if value}
