"""Asks a port every millisecond whether a service answers, and writes down when it first does: `asking.py KIND < port`.

A process of its own, so that it does not take turns with the one that is measured.
"""

import socket
import sys
import time

_STARTUP = b"\x00\x03\x00\x00user\0postgres\0database\0postgres\0\0"
ASK = {
    "web": (b"GET / HTTP/1.0\r\n\r\n", b"HTTP/"),
    "db": ((len(_STARTUP) + 4).to_bytes(4, "big") + _STARTUP, b"R"),
}


def answers(port: int, question: bytes, expected: bytes) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(question)
            return connection.recv(64).startswith(expected)
    except OSError:
        return False


def main() -> None:
    print("here", flush=True)
    kind, port = sys.argv[1], int(sys.stdin.readline())
    while not answers(port, *ASK[kind]):
        time.sleep(0.001)
    print(time.monotonic())


if __name__ == "__main__":
    main()
