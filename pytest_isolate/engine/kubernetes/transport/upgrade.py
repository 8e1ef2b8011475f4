"""The request by which a connection to an API server becomes a WebSocket."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import io
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from pytest_isolate.engine.kubernetes.api_errors import ApiError, NothingSent, read_error, unreachable
from pytest_isolate.engine.kubernetes.transport.credentials import Login
from pytest_isolate.engine.kubernetes.transport.dial import Dialer
from pytest_isolate.engine.kubernetes.transport.websocket import WebSocket

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_OPENS_WITHIN_S = 30
_HEAD_END = b"\r\n\r\n"
_MOST_HEAD_BYTES = 1 << 16
_Result = TypeVar("_Result")


class ProtocolRefused(Exception):
    """The server speaks WebSocket, and none of the protocols that were asked for."""


async def open_websocket(dialer: Dialer, what: str, target: str, protocols: Sequence[str]) -> tuple[WebSocket, str]:
    """A line to what is at a path of the API server, and the protocol that the server has chosen.

    ApiError where it refuses, ProtocolRefused where it knows none of the protocols.
    """
    refused: Login | None = None
    while True:
        login = await _run(dialer.credentials.login)
        try:
            return await asyncio.wait_for(_open(dialer, login, what, target, protocols), _OPENS_WITHIN_S)
        except asyncio.TimeoutError as error:  # not Python's own before 3.11
            raise unreachable(what, dialer.cluster.server, f"no answer within {_OPENS_WITHIN_S} s") from error
        except ApiError as error:
            if error.status != 401 or refused or not dialer.credentials.renew(login):
                raise
            refused = login


async def _open(
    dialer: Dialer, login: Login, what: str, target: str, protocols: Sequence[str]
) -> tuple[WebSocket, str]:
    try:
        trust = await _run(lambda: dialer.trust(login))
        sock = await _run(dialer.dial)
        _, line = await asyncio.get_running_loop().create_connection(
            WebSocket, sock=sock, ssl=trust, server_hostname=dialer.server_name if trust else None
        )
    except OSError as error:
        raise unreachable(what, dialer.cluster.server, error, NothingSent) from error
    try:
        key = base64.b64encode(os.urandom(16))
        line.transport.write(_build_request(dialer, login, target, protocols, key))
        response, body = await _read_answer(line)
        if response.status != 101:
            raise read_error(what, response.status, body)
        accepted = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode()
        if response.headers.get("Sec-WebSocket-Accept", "").strip() != accepted:
            raise unreachable(what, dialer.cluster.server, "it does not speak WebSocket")
        protocol = response.headers.get("Sec-WebSocket-Protocol", "").strip()
        if protocol not in protocols:
            raise ProtocolRefused(protocol)
    except BaseException as error:
        line.transport.abort()
        if isinstance(error, (OSError, http.client.HTTPException)):
            raise unreachable(what, dialer.cluster.server, error) from error
        raise
    line.upgraded(bytes(line.head.partition(_HEAD_END)[2]))
    return line, protocol


async def _read_answer(line: WebSocket) -> tuple[http.client.HTTPResponse, bytes]:
    """The answer to the request for a WebSocket: one that refuses has a body."""
    while True:
        line.news.clear()
        found = _parse_answer(bytes(line.head), line.is_ended)
        if found:
            return found
        if line.is_ended:
            raise ConnectionResetError(None, "it ended the connection without an answer")
        await line.news.wait()


def _parse_answer(received: bytes, is_all: bool) -> tuple[http.client.HTTPResponse, bytes] | None:
    """An answer and its body; None where some of it has not come."""
    if _HEAD_END not in received:
        if len(received) > _MOST_HEAD_BYTES:
            raise http.client.HTTPException("it answers with a head without an end")
        return None
    response = http.client.HTTPResponse(_Heard(received))  # type: ignore[arg-type]  # all that it asks of a socket
    response.begin()
    if response.status == 101:
        return response, b""
    if response.length is None and not response.chunked and not is_all:
        return None
    try:
        return response, response.read()
    except http.client.IncompleteRead as error:
        return (response, error.partial) if is_all else None


class _Heard:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._content)


def _build_request(dialer: Dialer, login: Login, target: str, protocols: Sequence[str], key: bytes) -> bytes:
    headers = [
        ("Host", dialer.host_header),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", key.decode()),
        ("Sec-WebSocket-Protocol", ", ".join(protocols)),
        *dialer.headers(login),
    ]
    lines = [f"GET {dialer.prefix}{target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


async def _run(work: Callable[[], _Result]) -> _Result:
    """Do what may block in a thread."""
    return await asyncio.get_running_loop().run_in_executor(None, work)
