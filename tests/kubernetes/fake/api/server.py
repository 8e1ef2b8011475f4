"""The HTTP side: connections, routes, users."""

from __future__ import annotations

import json
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from kubernetes.fake.api import discovery, protobuf, status
from kubernetes.fake.api.faults import Faults
from kubernetes.fake.api.kinds import BY_PLACE, Kind
from kubernetes.fake.api.rest import Rest
from kubernetes.fake.api.rights import Action
from kubernetes.fake.api.watch import LAG_S, watch

_LARGEST = 3_145_728
_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_STREAMED = ("exec", "attach", "portforward", "log")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request on a resource."""

    method: str
    verb: str
    kind: Kind
    namespace: str
    name: str
    part: str
    query: dict[str, list[str]]
    user: str

    @property
    def resource(self) -> str:
        return f"{self.kind.plural}/{self.part}" if self.part else self.kind.plural

    def first(self) -> dict[str, str]:
        return {key: values[0] for key, values in self.query.items()}


Stream = Callable[["Handler", Request], None]


@dataclass
class Site:
    """All that requests are answered from. The version is what this server says that it is: (1, 34)."""

    rest: Rest
    faults: Faults
    streams: dict[str, Stream] = field(default_factory=dict)
    version: tuple[int, int] = (1, 34)
    watch_lag_s: float = LAG_S
    tls: ssl.SSLContext | None = None
    connections: set[socket.socket] = field(default_factory=set)
    generation: int = 0  # one more after each restart
    warm_at: float = 0  # when its cache can be asked, by the monotonic clock
    lock: threading.Lock = field(default_factory=threading.Lock)


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body go out in one piece
    site: Site
    connection: Any
    pump: threading.Thread | None = None  # carries on what was written last, when the answer is a stream

    def setup(self) -> None:
        if self.site.tls:
            self.request.settimeout(10)
            self.request = self.site.tls.wrap_socket(self.request, server_side=True)
            self.request.settimeout(None)
        with self.site.lock:
            self.site.connections.add(self.request)
            self.generation = self.site.generation
        self.site.faults.count_connection(1)
        super().setup()

    def finish(self) -> None:
        if self.pump:
            self.pump.join()
        try:
            super().finish()
        finally:
            self.site.faults.count_connection(-1)
            with self.site.lock:
                self.site.connections.discard(self.request)
            self.request.close()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _serve(self) -> None:
        try:
            self._dispatch(self._read_body())
        except status.ApiError as error:
            self.send_object(error.code, error.body, error.headers)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if len(body) > _LARGEST:
            text = f"Request entity too large: limit is {_LARGEST}"
            raise status.ApiError(413, "RequestEntityTooLarge", text)
        return body

    def _dispatch(self, body: bytes) -> None:
        url = urlsplit(self.path)
        user = self.site.rest.rights.authenticate(self.headers.get("Authorization", ""), self._certificate_name())
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        query = parse_qs(url.query, keep_blank_values=True)
        answer = discovery.describe(url.path.rstrip("/"), self.site.version)
        if answer is not None:
            self.site.faults.count("get", "discovery")
            if user == "system:anonymous" and url.path not in discovery.PUBLIC:
                raise status.ApiError(403, "Forbidden", f'forbidden: User "{user}" cannot get path "{url.path}"')
            self.send_object(200, answer)
            return
        request = self._route(parts, query, user)
        self._authorize(request)
        self.site.faults.count(request.verb, request.resource)
        is_lost = self.site.faults.strike(request.verb, request.resource)
        if request.verb in ("list", "watch") and time.monotonic() < self.site.warm_at:
            raise status.too_many_requests(1, "storage is (re)initializing")
        if request.part in _STREAMED and request.kind.name == "Pod":
            self.site.streams[request.part](self, request)
        elif request.verb == "watch":
            self._send_events(request)
        else:
            code, found = self._answer(request, _parse(body, self.headers.get_content_type()))
            if is_lost:
                raise ConnectionResetError
            self.send_object(code, found)

    def _certificate_name(self) -> str:
        subject = self.request.getpeercert() if self.site.tls else None
        names = dict(pair[0] for pair in (subject or {}).get("subject", ()))
        return str(names.get("commonName", ""))

    def _route(self, parts: list[str], query: dict[str, list[str]], user: str) -> Request:
        group, rest = ("", parts[2:]) if parts[:2] == ["api", "v1"] else (parts[1] if len(parts) > 1 else "", parts[3:])
        namespace = ""
        if len(rest) > 2 and rest[0] == "namespaces" and (group, rest[2]) in BY_PLACE:
            namespace, rest = rest[1], rest[2:]
        kind = BY_PLACE.get((group, rest[0])) if rest and parts[0] in ("api", "apis") else None
        if kind is None or len(rest) > 3:
            raise status.ApiError(404, "NotFound", "the server could not find the requested resource")
        name, part = (*rest[1:], "", "")[:2]
        verb = _VERBS[self.command]
        if not name and verb in ("get", "delete"):
            is_watch = query.get("watch", [""])[0] in ("true", "1")
            verb = "deletecollection" if verb == "delete" else "watch" if is_watch else "list"
        where = {"namespace": namespace, "name": name, "part": part}
        return Request(method=self.command, verb=verb, kind=kind, query=query, user=user, **where)

    def _authorize(self, request: Request) -> None:
        verbs = [request.verb]
        # A WebSocket is a GET. From 1.35 on the right to create is asked for, too.
        if request.part in ("exec", "attach", "portforward") and self.site.version >= (1, 35):
            verbs = sorted({request.verb, "create"})
        for verb in verbs:
            action = Action(
                verb=verb,
                group=request.kind.group,
                plural=request.kind.plural,
                subresource=request.part,
                namespace=request.name if request.kind.name == "Namespace" else request.namespace,
                name=request.name,
            )
            self.site.rest.rights.require(request.user, action)

    def _answer(self, request: Request, body: Any) -> tuple[int, Any]:
        rest, kind, namespace, name = self.site.rest, request.kind, request.namespace, request.name
        if request.verb == "create" and request.part == "token":
            return 201, rest.create_token(namespace, name, body)
        if request.verb == "create" and not name:
            return 201, rest.create(kind, namespace, body, request.first(), request.user)
        if request.verb == "list":
            return 200, rest.list_page(kind, namespace, request.first())
        if request.verb == "deletecollection":
            return 200, rest.delete_collection(kind, namespace, body or {}, request.first())
        if request.part not in ("", "status"):
            raise status.ApiError(404, "NotFound", "the server could not find the requested resource")
        if request.verb == "get":
            return 200, rest.get(kind, namespace, name)
        if request.verb == "update":
            return 200, rest.update(kind, namespace, name, body, request.part)
        if request.verb == "patch":
            return 200, self._patch(request, body)
        if request.verb == "delete":
            return 200, rest.delete(kind, namespace, name, body or {}, request.first())
        raise status.ApiError(
            405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
        )

    def _patch(self, request: Request, body: Any) -> Any:
        media_type = self.headers.get_content_type()
        rest, kind = self.site.rest, request.kind
        if media_type == "application/apply-patch+yaml" and not rest.store.find(
            kind.plural, request.namespace, request.name
        ):
            return rest.create(kind, request.namespace, body, request.first(), request.user)
        return rest.patch(kind, request.namespace, request.name, body, media_type, request.part)

    def send_object(self, code: int, found: Any, headers: dict[str, str] | None = None) -> None:
        """Answer with JSON."""
        is_text = isinstance(found, str)
        body = found.encode() if is_text else json.dumps(found).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if is_text else "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    def send_chunks(self, chunks: Iterator[bytes | None], content_type: str) -> None:
        """Answer with a body that goes on; None looks if the client is still there."""
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        for chunk in chunks:
            if chunk:
                self.request.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            elif self._has_left():
                self.close_connection = True
                return
        self.request.sendall(b"0\r\n\r\n")

    def _has_left(self) -> bool:
        """True when the client has closed its side: it sends nothing else while it is being answered."""
        poll = select.poll()
        poll.register(self.request, select.POLLIN)
        return bool(poll.poll(0)) or self.is_over()

    def is_over(self) -> bool:
        """True when the server was stopped since this connection came."""
        return self.generation != self.site.generation

    def _send_events(self, request: Request) -> None:
        site = self.site
        events = watch(site.rest, request.kind, request.namespace, request.first(), self.is_over, site.watch_lag_s)
        lines = (json.dumps(event).encode() + b"\n" if event else None for event in events)
        self.send_chunks(lines, "application/json")


def _parse(body: bytes, media_type: str) -> Any:
    if not body:
        return None
    if media_type.endswith("yaml"):
        import yaml

        return yaml.safe_load(body)
    if media_type == protobuf.MEDIA_TYPE:
        return protobuf.decode(body)
    try:
        return json.loads(body)
    except ValueError as error:
        raise status.bad_request(f"the object provided is unrecognized: {error}") from None
