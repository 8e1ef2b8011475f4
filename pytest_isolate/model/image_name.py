"""An image's name, taken apart."""

from __future__ import annotations

HUB = "docker.io"
"""The registry of names that say none."""


def split_image(image: str) -> tuple[str, str]:
    """The registry of an image's name, and the rest (Docker's documentation of `docker tag`)."""
    first, slash, rest = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return (HUB if first == f"index.{HUB}" else first), rest
    return HUB, image
