"""How the tests talk to the services, with the standard library only: whoever runs them pays for nothing else."""

import base64
import hashlib
import hmac
import secrets
import socket
import struct
from collections.abc import Iterator
from urllib.parse import urlsplit
from urllib.request import urlopen

TIMEOUT_S = 10


def ping(address: tuple[str, int]) -> str:
    """What Redis answers to PING."""
    with socket.create_connection(address, TIMEOUT_S) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(64).decode()


def get(url: str) -> int:
    """The status of the answer."""
    with urlopen(url, timeout=TIMEOUT_S) as answer:
        answer.read()
        return int(answer.status)


def select_1(url: str) -> str:
    """What Postgres answers to SELECT 1; ConnectionError where it refuses."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    with socket.create_connection((parts.hostname, parts.port), TIMEOUT_S) as connection:
        session = _Session(connection)
        session.log_in(parts.username or "", parts.password or "", parts.path.lstrip("/"))
        rows = [body for kind, body in session.ask(b"Q", b"SELECT 1\0") if kind == b"D"]
        session.send(b"X", b"")
    (row,) = rows
    return row[6:].decode()


class _Session:
    """Postgres's protocol 3.0, as far as SELECT 1 needs it: one simple query after SCRAM-SHA-256."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._stream = connection.makefile("rb")

    def log_in(self, user: str, password: str, database: str) -> None:
        self.send(b"", struct.pack("!i", 196608) + f"user\0{user}\0database\0{database}\0\0".encode())
        first = f"n=,r={secrets.token_urlsafe(18)}"
        self._expect(b"R", 10)
        self.send(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(first) + 3) + f"n,,{first}".encode())
        challenge = self._expect(b"R", 11)[4:].decode()
        self.send(b"p", _prove(password, first, challenge).encode())
        self._expect(b"R", 12)
        for _ in self._until_ready():
            pass

    def ask(self, kind: bytes, body: bytes) -> Iterator[tuple[bytes, bytes]]:
        self.send(kind, body)
        return self._until_ready()

    def send(self, kind: bytes, body: bytes) -> None:
        self._connection.sendall(kind + struct.pack("!i", len(body) + 4) + body)

    def _until_ready(self) -> Iterator[tuple[bytes, bytes]]:
        while (message := self._receive())[0] != b"Z":
            yield message

    def _expect(self, kind: bytes, step: int) -> bytes:
        found, body = self._receive()
        if found != kind or struct.unpack("!i", body[:4])[0] != step:
            raise ConnectionError(body.decode(errors="replace"))
        return body

    def _receive(self) -> tuple[bytes, bytes]:
        head = self._stream.read(5)
        if len(head) < 5:
            raise ConnectionError("the connection was closed")
        kind, size = struct.unpack("!ci", head)
        body = self._stream.read(size - 4)
        if kind == b"E":
            raise ConnectionError(body.decode(errors="replace"))
        return kind, body


def _prove(password: str, first: str, challenge: str) -> str:
    """The client's last message of SCRAM-SHA-256 (RFC 5802)."""
    fields = dict(field.split("=", 1) for field in challenge.split(","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
    key = hmac.digest(salted, b"Client Key", "sha256")
    without_proof = f"c=biws,r={fields['r']}"
    signature = hmac.digest(hashlib.sha256(key).digest(), f"{first},{challenge},{without_proof}".encode(), "sha256")
    proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
    return f"{without_proof},p={base64.b64encode(proof).decode()}"
