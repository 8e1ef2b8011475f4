"""A stream that another program carries."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager


class TunnelledConnection(http.client.HTTPConnection):
    """A connection that something else carries, which has to be ended with it, and may know why it broke."""

    def explain(self) -> OSError | None:
        """Reason of its end; None where none is known."""
        raise NotImplementedError

    def end(self) -> None:
        """Close it, and what carries it. Safe to repeat."""
        raise NotImplementedError


def end(connection: http.client.HTTPConnection) -> None:
    """Close a connection, and whatever carries it."""
    if isinstance(connection, TunnelledConnection):
        connection.end()
    else:
        connection.close()


@contextmanager
def explained(connection: http.client.HTTPConnection) -> Iterator[None]:
    """Let what carries a connection tell of its failures: it knows more than that it ended."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        reason = connection.explain() if isinstance(connection, TunnelledConnection) else None
        if reason is None:
            raise
        raise reason from error
