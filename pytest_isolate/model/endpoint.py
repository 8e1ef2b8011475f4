"""Addresses of services: host and port."""

from __future__ import annotations

from urllib.parse import quote, unquote, urlsplit

from msgspec import Struct
from msgspec.structs import replace

_LOOPBACK_NAMES = ("localhost", "ip6-localhost")


Port = int | str
"""A port inside: a number for one of TCP, a text such as `8125/udp` for one of UDP."""
_UDP = "/udp"
_WHOLE = "a whole number from 1 to 65535"


def find_wrong_port(value: object) -> tuple[str, str] | None:
    """Why a value is not a port number of TCP, and what would be one; None where it is."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65535:
        if isinstance(value, str) and value.lower().endswith("/udp"):
            valid = f'{_WHOLE}; ports=[..., "8125/udp"] publishes one of UDP'
            return f"{value!r} is a port of UDP, and this one is of TCP", valid
        return f"{value!r} is not a port", _WHOLE
    return None


def parse_udp_port(value: object) -> str:
    """A port of UDP as all of us write it; empty for anything else."""
    number = value.lower().removesuffix(_UDP) if isinstance(value, str) and value.lower().endswith(_UDP) else ""
    is_port = number.isascii() and number.isdecimal() and find_wrong_port(int(number)) is None
    return f"{int(number)}{_UDP}" if is_port else ""


def split_port(port: Port) -> tuple[int, str]:
    """The number of a port, and its protocol as engines name it."""
    return (port, "tcp") if isinstance(port, int) else (int(port.removesuffix(_UDP)), "udp")


def name_port(number: int, protocol: str) -> Port:
    """The port that has a number and the protocol of this name."""
    return number if protocol == "tcp" else f"{number}/{protocol}"


class ExternalService(Struct, frozen=True, kw_only=True):
    """A service that runs already, by its URL. The URL may hold a password, so it is never part of a text."""

    url: str
    host: str
    port: int
    given_by: str

    @property
    def is_loopback(self) -> bool:
        """True where its address means this host, and to a container the container itself."""
        return self.host in _LOOPBACK_NAMES or self.host.startswith("127.") or self.host == "::1"

    @property
    def endpoint(self) -> Endpoint:
        """The address for tests."""
        return Endpoint(self.host, self.port)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Its password, as it is and as it stands in the URL."""
        written = urlsplit(self.url).password
        return tuple(dict.fromkeys((unquote(written), written))) if written else ()

    def at(self, endpoint: Endpoint) -> str:
        """Its URL, user, path and query included, at another address."""
        parts = urlsplit(self.url)
        login, at, _ = parts.netloc.rpartition("@")
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        return parts._replace(netloc=f"{login}{at}{host}:{endpoint.port}").geturl()

    def with_path(self, path: str) -> ExternalService:
        """The same server, with another path in its URL: of databases that is their name."""
        return replace(self, url=urlsplit(self.url)._replace(path=f"/{quote(path, safe='')}").geturl())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self}, given by {self.given_by})"

    def __str__(self) -> str:
        """Its URL for people: without its password, and without its query, which may hold one too."""
        parts = urlsplit(self.url)
        login, at, place = parts.netloc.rpartition("@")
        shown = login.partition(":")[0] + ":***" if ":" in login else login
        return parts._replace(netloc=f"{shown}{at}{place}", query="", fragment="").geturl()


class Endpoint(Struct, frozen=True):
    """A host and a port that a client can connect to."""

    host: str
    port: int

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port}"
