"""`pytest-isolate images`: what the tests' services need, in a folder that goes from one machine to another."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from msgspec import convert

from pytest_isolate.cli.engine import EXIT_FAILED, ending_in, open_engine
from pytest_isolate.cli.pytest_process import ask_pytest
from pytest_isolate.errors import IsolateError, build_message
from pytest_isolate.running.images import transfer
from pytest_isolate.running.images.imported import ImportedImages
from pytest_isolate.running.images.store import ImageStore, Index, RequiredImage, StoredImage
from pytest_isolate.running.images.transfer import Outcome
from pytest_isolate.sharing.board import Board, open_locks
from pytest_isolate.sharing.command import IMAGES
from pytest_isolate.sharing.folders import built_folder, snapshot_usage
from pytest_isolate.text import align, count

_COLLECTED = (0, 5)
_PROGRESS_EVERY_S = 5.0
_folder = click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
_json = click.option("--json", "as_json", is_flag=True, help="Print facts as JSON.")


@click.group()
def images() -> None:
    """Carry the images of the tests' services from one machine to another, in a folder.

    Ends with code 0, or with 1 when something could not be had, saved or loaded.
    """


@images.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})
@_folder
@_json
@click.argument("pytest_args", nargs=-1, type=click.UNPROCESSED, metavar="[PYTEST ARGS]...")
def save(folder: Path, as_json: bool, pytest_args: tuple[str, ...]) -> None:
    """Save the images that tests need to DIR: pytest-isolate images save .isolate-images

    What is missing is pulled or built first; snapshots of databases go with them where a run has taken some. What DIR
    holds already is not written again, and what is needed no more is removed. The arguments are pytest's own, and say
    which tests.

    Ends with code 0; 1 when an image could not be had or saved, or no engine answers; with pytest's code when it cannot
    collect, 4 for a declaration that is wrong.
    """
    found = [convert(answer, RequiredImage) for answer in _ask(pytest_args)]
    needed = [image for image in found if not image.pinned]
    for name in (name for image in found for name in image.pinned):
        click.echo(f"left out: {name}; an engine finds by digest only what it has pulled itself", err=True)
    with open_engine() as opened, _alone(folder):
        outcomes = transfer.export_images(opened.engine, opened.engine.image_transfer, ImageStore(folder), needed)
    _show(folder, outcomes, as_json)


@images.command()
@_folder
@_json
@click.option("--missing-ok", is_flag=True, help="Do nothing where nothing was ever saved in DIR.")
def load(folder: Path, as_json: bool, missing_ok: bool) -> None:
    """Load the images in DIR onto the engine, those that are missing there.

    A name that another image has already stays with that one. Ends with code 0, or with 1 when there is nothing in DIR,
    something of it is missing or broken, or no engine answers.
    """
    image_store = ImageStore(folder)
    with _alone(folder), ending_in(EXIT_FAILED):
        index = _read(image_store, missing_ok)
        if not index.images:
            click.echo("[]" if as_json else _total(folder, ()))
            return
        outcomes = _load(image_store, index)
    _show(folder, outcomes, as_json)


def _load(image_store: ImageStore, index: Index) -> list[Outcome]:
    with open_engine() as opened:
        notes = ImportedImages(opened.engine, Board(built_folder()))
        parts = opened.engine.image_transfer
        return transfer.import_images(opened.engine, parts, image_store, index, snapshot_usage(), notes)


@images.command("list")
@_folder
@_json
def list_images(folder: Path, as_json: bool) -> None:
    """Show the images in DIR. Ends with code 0, or with 1 when there are none, or their index cannot be read."""
    with ending_in(EXIT_FAILED):
        image_store = ImageStore(folder)
        index = _read(image_store, missing_ok=False)
        whole = image_store.complete_images(index)
    _show(folder, [Outcome(status="whole" if s in whole else "broken", saved=s) for s in index.images], as_json)


def _ask(pytest_args: Sequence[str]) -> list[Mapping[str, Any]]:
    """Images that the tests need, asked of pytest; the command ends where it cannot say."""
    answers: list[Mapping[str, Any]] = []
    shown_at = float("-inf")

    def hear(answer: Mapping[str, Any]) -> None:
        nonlocal shown_at
        answers.append(answer)
        is_due = answer["kind"] == "progress" and time.monotonic() - shown_at >= _PROGRESS_EVERY_S
        if is_due or answer["kind"] == "error":
            shown_at = time.monotonic()
            click.echo(answer["text"], err=True)

    asked = ask_pytest(IMAGES, (), ("--isolate-plan", *pytest_args), hear)
    code = next((answer["code"] for answer in answers if answer["kind"] == "error"), 0)
    if not code and not any(answer["kind"] == "done" for answer in answers):
        click.echo(asked.output.rstrip(), err=True)
        code = EXIT_FAILED if asked.exit_code in _COLLECTED else asked.exit_code
    if code:
        raise SystemExit(code)
    return [answer for answer in answers if answer["kind"] == "image"]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else of this user reads or changes the folder meanwhile."""
    with open_locks()(f"images {folder.resolve()}"):
        yield


def _read(image_store: ImageStore, missing_ok: bool) -> Index:
    index = image_store.read()
    if index is None and not missing_ok:
        raise IsolateError(
            build_message(
                f"no images were saved in {image_store.folder}",
                found="there is no index in it" if image_store.folder.is_dir() else "there is no such folder",
                do="save some: pytest-isolate images save; with --missing-ok this is no error",
            )
        )
    return index or Index()


def _show(folder: Path, outcomes: Sequence[Outcome], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([_facts(outcome) for outcome in outcomes], indent=2))
        return
    images = [(outcome, outcome.saved.image) for outcome in outcomes]
    rows = [(o.status, i.kind, i.names[0], _size(o.saved.size_bytes), ", ".join(i.services)) for o, i in images]
    lines = align(rows)
    lines += [f"{name} is another image on this engine, and stays so" for o in outcomes for name in o.name_conflicts]
    click.echo("\n".join([*lines, _total(folder, [outcome.saved for outcome in outcomes])]))


def _total(folder: Path, found: Sequence[StoredImage]) -> str:
    if not found:
        return f"no images in {folder}"
    # Layers that several images have are one file.
    size_bytes = sum(blob.size_bytes for blob in Index(images=tuple(found)).blobs())
    return f"{count(len(found), 'image')} in {folder}, {_size(size_bytes)} in all"


def _facts(outcome: Outcome) -> dict[str, Any]:
    image = outcome.saved.image
    return {
        "fate": outcome.status,
        "kind": image.kind,
        "id": image.image_id,
        "names": list(image.names),
        "services": list(image.services),
        "bytes": outcome.saved.size_bytes,
        "left": list(outcome.name_conflicts),
    }


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
