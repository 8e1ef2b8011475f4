"""Facts of an image that Kubernetes does not tell, read from its registry: the manifest, and the config that it names.

OCI Distribution Specification, and Docker's "Token Authentication Specification". Nothing is pulled: each image takes a
few kilobytes. The logins are those of the namespace's pull secrets.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from msgspec import Struct

from pytest_isolate.engine.kubernetes.api_errors import reason_of
from pytest_isolate.engine.kubernetes.registry.pull_secrets import HUB_HOST, HUB_NAMES, RegistryLogin, find_login
from pytest_isolate.engine.kubernetes.transport.proxies import dial, find_proxy
from pytest_isolate.errors import EngineError, EngineUnreachable, ImageNotFound
from pytest_isolate.model.service import HUB, split_image

_INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_TIMEOUT_S = 20
_MOST_BYTES = 8 << 20
_MOST_REDIRECTS = 5
_TRIES = 3
_LONGEST_PAUSE_S = 5.0
_REDIRECTS = (301, 302, 303, 307, 308)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class RemoteImage(Struct, frozen=True, kw_only=True):
    """Facts of an image. `digest` is that of the name as a whole, of all platforms where it has several."""

    digest: str
    platform: str
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    ports: tuple[str, ...] = ()  # such as 53/udp
    user: str = ""
    volumes: tuple[str, ...] = ()
    folder: str = ""
    stop_signal: str = ""
    health_command: tuple[str, ...] = ()
    labels: Mapping[str, str] = {}
    layer_bytes: int = 0  # of all layers, packed


class _Refused(Exception):
    def __init__(self, url: str, status: int, body: bytes, headers: http.client.HTTPMessage) -> None:
        super().__init__(f"{status} {_message(body)}".strip())
        self.url = url
        self.status = status
        self.headers = headers


class _Place(Struct, frozen=True):
    """A repository, and the name of an image in it."""

    host: str
    repository: str
    reference: str


class ImageRegistry:
    """Registries of images. `logins` are by host, or host and path, as pull secrets have them."""

    def __init__(self, logins: Mapping[str, RegistryLogin], env: Mapping[str, str] = os.environ) -> None:
        self._logins = logins
        self._env = env
        self._plain: set[str] = set()  # hosts without TLS
        self._shown: dict[tuple[str, str], str] = {}  # by host and repository, what a registry has taken

    def read_image(self, image: str, platform: str = "linux/amd64") -> RemoteImage:
        """Facts of an image for a platform.

        ImageNotFound where the registry has no such image, or gives no access; EngineUnreachable where it does not
        answer from here, which says nothing of the cluster's nodes.
        """
        place = _parse(image)
        try:
            manifest, digest = self._manifest(place, place.reference)
            if "manifests" in manifest:
                manifest, _ = self._manifest(place, _choose(image, manifest, platform))
            # An old manifest (schema 1) names no config.
            config = self._get_json(place, f"blobs/{manifest['config']['digest']}", ())[0]
        except _Refused as error:
            raise _explain(image, place, error) from error
        except (OSError, http.client.HTTPException) as error:
            raise EngineUnreachable(
                f"image {image} could not be looked up: {place.host} does not answer",
                found=reason_of(error),
                do="declare entrypoint= and command=, if only the cluster reaches it",
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EngineError(f"image {image} could not be looked up", found=f"{place.host} is no registry") from error
        return _read_config(config, digest, sum(layer.get("size", 0) for layer in manifest.get("layers", ())))

    # -- requests ------------------------------------------------------------------------------------------------------

    def _manifest(self, place: _Place, reference: str) -> tuple[Any, str]:
        content, headers = self._get_json(place, f"manifests/{reference}", (*_INDEX_TYPES, *_MANIFEST_TYPES))
        return content, headers.get("Docker-Content-Digest", "") or (reference if ":" in reference else "")

    def _get_json(self, place: _Place, path: str, kinds: Iterable[str]) -> tuple[Any, http.client.HTTPMessage]:
        body, headers = self._get_logged_in(place, f"/v2/{place.repository}/{path}", ", ".join(kinds) or "*/*")
        return json.loads(body), headers

    def _get_logged_in(self, place: _Place, path: str, accept: str) -> tuple[bytes, http.client.HTTPMessage]:
        """An answer; a registry says with its first refusal which login it takes."""
        key = (place.host, place.repository)
        for _ in range(2):
            shown = self._shown.get(key, "")
            try:
                return self._get_patiently(place.host, path, {"Accept": accept}, shown)
            except _Refused as error:
                if error.status != 401:
                    raise
                login = self._answer(place, error.headers.get("WWW-Authenticate", ""))
                if not login or login == shown:
                    raise
                self._shown[key] = login
        return self._get_patiently(place.host, path, {"Accept": accept}, self._shown[key])

    def _answer(self, place: _Place, challenge: str) -> str:
        """The header that answers a challenge; empty where there is no login for it."""
        login = find_login(self._logins, place.host, place.repository)
        basic = f"Basic {base64.b64encode(f'{login.user}:{login.password}'.encode()).decode()}" if login else ""
        if challenge.lower().startswith("basic"):
            return basic
        asked = dict(_CHALLENGE.findall(challenge))
        if not asked.get("realm"):
            return ""
        query = {"service": asked.get("service", ""), "scope": f"repository:{place.repository}:pull"}
        body = None
        if login and login.identity_token:
            body = {
                **query,
                "grant_type": "refresh_token",
                "refresh_token": login.identity_token,
                "client_id": "isolate",
            }
        url = asked["realm"] if body else f"{asked['realm']}?{urlencode(query)}"
        content, _ = self._follow(url, {}, "" if body else basic, urlencode(body).encode() if body else None)
        found = json.loads(content)
        return f"Bearer {found.get('token') or found['access_token']}"

    def _get_patiently(
        self, host: str, path: str, headers: Mapping[str, str], login: str
    ) -> tuple[bytes, http.client.HTTPMessage]:
        for number in range(1, _TRIES + 1):
            try:
                return self._get_by_scheme(host, path, headers, login)
            except _Refused as error:
                if number == _TRIES or not (error.status == 429 or error.status >= 500):
                    raise
                asked = error.headers.get("Retry-After", "")
                if asked.isdigit() and int(asked) > _LONGEST_PAUSE_S:
                    raise
                time.sleep(int(asked) if asked.isdigit() else number)
        raise AssertionError

    def _get_by_scheme(
        self, host: str, path: str, headers: Mapping[str, str], login: str
    ) -> tuple[bytes, http.client.HTTPMessage]:
        """An answer over TLS; without it only from this host, as engines have it."""
        if host not in self._plain:
            try:
                return self._follow(f"https://{host}{path}", headers, login)
            except OSError:
                if not re.match(r"(localhost|127\.[\d.]+|\[::1\])(:|$)", host):
                    raise
        answer = self._follow(f"http://{host}{path}", headers, login)
        self._plain.add(host)
        return answer

    def _follow(
        self, url: str, headers: Mapping[str, str], login: str, body: bytes | None = None
    ) -> tuple[bytes, http.client.HTTPMessage]:
        """An answer, from wherever the registry keeps it. A login is shown to the first host alone."""
        host = urlsplit(url).netloc
        for _ in range(_MOST_REDIRECTS):
            shown = {"Authorization": login} if login and urlsplit(url).netloc == host else {}
            with self._connected(url) as connection:
                target = urlsplit(url)
                kind = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
                path = f"{target.path or '/'}{f'?{target.query}' if target.query else ''}"
                connection.request("POST" if body else "GET", path, body, {**headers, **shown, **kind})
                response = connection.getresponse()
                content = response.read(_MOST_BYTES)
            if response.status in _REDIRECTS and response.headers.get("Location"):
                url = urljoin(url, response.headers["Location"])
            elif response.status != 200:
                raise _Refused(url, response.status, content, response.headers)
            else:
                return content, response.headers
        raise http.client.HTTPException(f"more than {_MOST_REDIRECTS} redirects")

    @contextmanager
    def _connected(self, url: str) -> Iterator[http.client.HTTPConnection]:
        import ssl  # as late as the first image

        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        sock = dial(find_proxy(url, "", "", self._env), host, port)
        with sock:
            sock.settimeout(_TIMEOUT_S)
            trusting = ssl.create_default_context() if parts.scheme == "https" else None
            if trusting:
                trusting.verify_flags &= ~ssl.VERIFY_X509_STRICT  # engines take certificates that newer Pythons refuse
            connection = http.client.HTTPConnection(parts.netloc)
            with closing(connection):
                connection.sock = trusting.wrap_socket(sock, server_hostname=host) if trusting else sock
                yield connection


# -- answers -----------------------------------------------------------------------------------------------------------


def _parse(image: str) -> _Place:
    registry, rest = split_image(image)
    name, _, digest = rest.partition("@")
    repository, colon, tag = name.rpartition(":")
    if not colon:
        repository, tag = name, "latest"
    if registry == HUB and "/" not in repository:
        repository = f"library/{repository}"
    return _Place(HUB_HOST if registry in HUB_NAMES else registry, repository, digest or tag)


def _choose(image: str, index: Mapping[str, Any], platform: str) -> str:
    """The digest of the manifest for a platform, such as linux/arm/v7."""
    names: dict[str, str] = {}
    for entry in index["manifests"]:
        about = entry.get("platform") or {}
        parts = (about.get("os"), about.get("architecture"), about.get("variant"))
        name = "/".join(str(part) for part in parts if part)
        names.setdefault(name, str(entry["digest"]))
    fitting = [name for name in names if name == platform or name.startswith(f"{platform}/")]
    if not fitting and platform.count("/") > 1 and platform.rpartition("/")[0] in names:
        fitting = [platform.rpartition("/")[0]]
    if not fitting:
        known = ", ".join(sorted(name for name in names if name and not name.startswith("unknown")))
        raise ImageNotFound(f"image {image} is not there for {platform}", found=f"it is there for {known or 'nothing'}")
    return names[fitting[0]]


def _read_config(config: Mapping[str, Any], digest: str, layer_bytes: int) -> RemoteImage:
    about = config.get("config") or {}
    parts = (config.get("os"), config.get("architecture"), config.get("variant"))
    pairs = (entry.partition("=") for entry in about.get("Env") or ())
    return RemoteImage(
        digest=digest,
        platform="/".join(str(part) for part in parts if part),
        entrypoint=tuple(about.get("Entrypoint") or ()),
        command=tuple(about.get("Cmd") or ()),
        env={name: value for name, _, value in pairs},
        ports=tuple(about.get("ExposedPorts") or ()),
        user=about.get("User") or "",
        volumes=tuple(about.get("Volumes") or ()),
        folder=about.get("WorkingDir") or "",
        stop_signal=about.get("StopSignal") or "",
        health_command=tuple((about.get("Healthcheck") or {}).get("Test") or ()),
        labels=about.get("Labels") or {},
        layer_bytes=layer_bytes,
    )


def _explain(image: str, place: _Place, error: _Refused) -> EngineError:
    what = f"image {image} could not be looked up"
    if error.status in (401, 403):
        what, do = f"{what}: {place.host} gives no access, or has no such image", "check the name, and the pull secret"
    elif error.status == 404:
        what, do = f"{what}: {place.host} has no such image", "check name and tag"
    else:
        what, do = f"{what}: {place.host} refuses", "declare entrypoint= and command=, or try again later"
        return EngineUnreachable(what, tried=error.url, found=str(error), do=do)
    return ImageNotFound(what, tried=error.url, found=str(error), do=do)


def _message(body: bytes) -> str:
    """The words of a registry's refusal."""
    try:
        errors = json.loads(body)["errors"]
        return "; ".join(f"{one.get('code', '')}: {one.get('message', '')}" for one in errors)
    except (ValueError, KeyError, TypeError, AttributeError):
        return body[:200].decode(errors="replace").strip()
