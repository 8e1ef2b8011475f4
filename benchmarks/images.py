"""The images that all contenders run, and the label by which everything made from them is known."""

from __future__ import annotations

from pathlib import Path

from docker import APIClient

from benchmarks.engine import Engine
from benchmarks.environments import ROOT, clone_id
from benchmarks.limit import initialise_postgres

# Containers take over their image's labels, and so do images that are made from containers.
LABEL = f"pytest-isolate-benchmark={clone_id()}"
_FOLDERS = {
    "POSTGRES_IMAGE": ROOT / "examples/services/postgres",
    "AUTH_IMAGE": ROOT / "examples/services/auth",
    "REDIS_IMAGE": ROOT / "benchmarks/images/redis",
    "WEB_IMAGE": ROOT / "benchmarks/images/web",
}


def ensure_images(address: str) -> dict[str, str]:
    """The names of the images, by the environment variables in which contenders look for them."""
    client = APIClient(base_url=address, timeout=600)
    try:
        images = {variable: _build(client, folder) for variable, folder in _FOLDERS.items()}
    finally:
        client.close()
    return images | {"INITIALISED_IMAGE": initialise_postgres(Engine(address), images["POSTGRES_IMAGE"])}


def _build(client: APIClient, folder: Path) -> str:
    tag = f"pytest-isolate-benchmark/{folder.name}:{clone_id()}"
    key, value = LABEL.split("=")
    lines = list(
        client.build(path=str(folder), tag=tag, labels={key: value}, network_mode="host", rm=True, decode=True)
    )
    errors = [line["error"] for line in lines if "error" in line]
    if errors:
        raise SystemExit(f"{tag} could not be built: {errors[0]}")
    return tag
