"""Facts of images that Kubernetes does not tell and the first process needs: who asks, and what is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct


class ImageConfig(Struct, frozen=True, kw_only=True):
    """The config of an image (OCI Image Format Specification, config.md) as far as it is of use here."""

    image_id: str  # of the config
    reference: str = ""  # name and digest, by which a node pulls this very image
    is_local: bool = False  # this machine has it: it is loaded into the nodes, and no registry is asked for it
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    user: str = ""
    env: Mapping[str, str] = {}
    stop_signal: str = ""
    health_command: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    platform: str = ""


class ImageSource(Protocol):
    """Asks for images where they are kept."""

    def find(self, image: str) -> ImageConfig | None:
        """An image; None where no registry that can be asked tells of it. ImageNotFound where one says it has none."""

    def forget(self, image: str) -> None:
        """Ask anew for an image whose name means another one now."""

    def load(self, image: ImageConfig) -> None:
        """Load one that is local into the nodes; once is enough."""


def find_program(
    entrypoint: Sequence[str] | None, command: Sequence[str] | None, image: ImageConfig | None
) -> tuple[str, ...]:
    """The words of a container's program; empty where the image's part of them is not known.

    As with Docker, an entrypoint that is declared makes the image's command void.
    """
    if entrypoint is not None:
        return (*entrypoint, *(command or ()))
    if image is None:
        return ()
    return (*image.entrypoint, *(command if command is not None else image.command))


def encode_words(words: Sequence[str]) -> bytes:
    """Words for the first process: each with a zero byte behind it."""
    return b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in words)
