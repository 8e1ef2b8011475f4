"""One request to an API server and its answer, with all waiting and repeating that the server asks for."""

from __future__ import annotations

import http.client
import threading
import time

from msgspec import Struct

from pytest_isolate.engine.kubernetes.api_errors import ApiError, ConnectionBroken, read_error, unreachable
from pytest_isolate.engine.kubernetes.transport.credentials import Login
from pytest_isolate.engine.kubernetes.transport.dial import Dialer, IdleConnections

_REQUEST_TIMEOUT_S = 60
# Of all waiting that one request asks for: the name of a pod is taken for as long as the pod takes to end.
PATIENCE_S = 60
# An API server that restarts is back by then, another one stands in for it, or the network is there again.
RESTARTS_WITHIN_S = 60
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
# Requests that change nothing when they are carried out twice.
_REPEATABLE = ("GET", "PUT", "PATCH", "DELETE")


class Question(Struct, frozen=True, kw_only=True):
    """A request; `what` says it in words."""

    what: str
    method: str
    target: str
    content: bytes | None = None
    kind: str = "application/json"
    is_stream: bool = False  # its answer is read piece by piece, by the caller


class Answer(Struct, frozen=True):
    """An answer; its body is in `content`, or still to be read."""

    login: Login
    connection: http.client.HTTPConnection
    response: http.client.HTTPResponse
    content: bytes = b""


class Pauses:
    """The pauses between the tries of one request: each longer than the one before, all together within a bound."""

    def __init__(self, closed: threading.Event, patience_s: float = PATIENCE_S) -> None:
        self._closed = closed
        self._deadline = time.monotonic() + patience_s
        self._next_s = _FIRST_PAUSE_S

    def wait(self, asked_s: float = 0) -> bool:
        """Wait for a while, or for as long as the server asks; false where there is no time, or all is closed."""
        pause_s = max(self._next_s, asked_s)
        self._next_s = min(2 * self._next_s, _LONGEST_PAUSE_S)
        if time.monotonic() + pause_s > self._deadline:
            return False
        return not self._closed.wait(pause_s)


class Asking:
    """Requests to one API server. Safe to use from several threads."""

    def __init__(self, dialer: Dialer) -> None:
        self.dialer = dialer
        self.closed = threading.Event()
        self._idle = IdleConnections()
        self.has_answered = False

    def ask(self, question: Question) -> Answer:
        """The answer to a request that the server carried out; ApiError with its reason where it did not."""
        pauses = Pauses(self.closed)
        renewed = False
        while True:
            answer = self._send_patiently(question)
            status = answer.response.status
            if status < 400:
                return answer
            error = read_error(question.what, status, answer.content)
            if status == 401 and not renewed and self.dialer.credentials.renew(answer.login):
                renewed = True
                continue
            asked_s = wait_asked_for(error, answer.response.headers.get("Retry-After", ""), question.method)
            if asked_s is None or not pauses.wait(asked_s):
                raise error

    def close(self) -> None:
        """End the connections that wait for another request, and every wait."""
        self.closed.set()
        self._idle.close()

    def _send_patiently(self, question: Question) -> Answer:
        """An answer, also of a server that restarts meanwhile, or ends a kept connection just when it is used again.

        One that never answered is not waited for.
        """
        pauses = Pauses(self.closed, RESTARTS_WITHIN_S)
        while True:
            try:
                answer = self._send(question)
            except ConnectionBroken:
                if question.method not in _REPEATABLE or not self.has_answered or not pauses.wait():
                    raise
            except OSError as error:  # nothing was sent
                if not self.has_answered or is_lasting(error) or not pauses.wait():
                    raise unreachable(question.what, self.dialer.cluster.server, error) from error
            else:
                self.has_answered = True
                return answer

    def _send(self, question: Question) -> Answer:
        login = self.dialer.credentials.login()
        connection = self._idle.take(login) or self.dialer.connection(login)
        return self._exchange(question, login, connection)

    def _exchange(self, question: Question, login: Login, connection: http.client.HTTPConnection) -> Answer:
        assert connection.sock
        connection.sock.settimeout(_REQUEST_TIMEOUT_S)
        try:
            self._send_request(connection, question, login)
            response = connection.getresponse()
            if question.is_stream and response.status < 400:
                return Answer(login, connection, response)
            answer = Answer(login, connection, response, response.read())
        except BaseException as error:
            connection.close()
            if isinstance(error, (OSError, http.client.HTTPException)):
                raise ConnectionBroken.of(question.what, self.dialer.cluster.server, error) from error
            raise
        if response.will_close or self.closed.is_set():
            connection.close()
        else:
            self._idle.put(login, connection)
        return answer

    def _send_request(self, connection: http.client.HTTPConnection, question: Question, login: Login) -> None:
        connection.putrequest(question.method, question.target, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", self.dialer.host_header)
        connection.putheader("Accept", "application/json")
        for name, value in self.dialer.headers(login):
            connection.putheader(name, value)
        if question.content is not None:
            connection.putheader("Content-Type", question.kind)
            connection.putheader("Content-Length", str(len(question.content)))
        try:
            connection.endheaders(question.content)
        except (BrokenPipeError, ConnectionResetError):
            pass  # a server that refuses need not read to the end: its answer says why


def wait_asked_for(error: ApiError, asked: str, method: str) -> float | None:
    """Seconds to wait before the next try of a refused request; None where there is no use in one."""
    if error.status == 429 or (error.status >= 500 and asked):
        # With it, the server says that it has not begun with the request.
        return float(asked) if asked.isdigit() else 1.0
    if method == "POST" and (error.is_being_deleted or error.is_conflict):
        return 0.0
    return None


def is_lasting(error: BaseException | None) -> bool:
    """Tell that a connection cannot be made later either: a certificate is not trusted, or there is no such host."""
    return bool(getattr(error, "verify_message", "")) or type(error).__name__ == "gaierror"
