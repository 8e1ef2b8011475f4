"""What an init consists of, as a hash: equal means that the same state comes of it."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from pathlib import Path, PurePath
from types import CodeType, FunctionType

from pytest_isolate.model.fresh import FreshSpec, Init, InitCommand, InitFiles, InitFunction

_CONSTANTS = (str, bytes, int, float, bool, type(None), PurePath)


def digest_init(spec: FreshSpec, run_id: str) -> str:
    """The hash of an init's content, or of the key that stands for it.

    What a function calls elsewhere is not seen, so without a key its state is never used by another run.
    """
    parts = _parts(spec.init, run_id) if spec.key is None else (b"key", spec.key.encode())
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()[:32]


def sql_files(path: str) -> list[Path]:
    """The file itself, or the files of SQL in a folder and those below it, in the order of their names."""
    found = Path(path)
    return sorted(p for p in found.rglob("*.sql") if p.is_file()) if found.is_dir() else [found]


def _parts(init: Init | None, run_id: str) -> Iterator[bytes]:
    match init:
        case InitFiles(path=path):
            for file in sql_files(path):
                yield file.name.encode()
                yield file.read_bytes()
        case InitCommand(argv=argv):
            yield "\0".join(argv).encode()
        case InitFunction(function=function):
            yield run_id.encode()
            yield from _function_parts(function, set())


def _function_parts(function: object, seen: set[int]) -> Iterator[bytes]:
    """The source of a function, the constants that it sees, and the same of its own module's functions it names."""
    function = inspect.unwrap(function) if callable(function) else function
    if not isinstance(function, FunctionType):
        yield f"{type(function).__module__}.{type(function).__qualname__} {function!r}".encode()
        return
    if id(function) in seen:
        return
    seen.add(id(function))
    yield _source(function)
    values: list[object] = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    values += [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    values += [function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__]
    for value in values:
        if isinstance(value, FunctionType) and value.__module__ == function.__module__:
            yield from _function_parts(value, seen)
        elif isinstance(value, _CONSTANTS):
            yield repr(value).encode()


def _names(code: CodeType) -> list[str]:
    inner = (const for const in code.co_consts if isinstance(const, CodeType))
    return [*code.co_names, *(name for nested in inner for name in _names(nested))]


def _source(function: FunctionType) -> bytes:
    try:
        return inspect.getsource(function).encode()
    except OSError:
        return function.__code__.co_code + repr(function.__code__.co_consts).encode()  # made without a file


def _is_filled(cell: object) -> bool:
    try:
        cell.cell_contents  # type: ignore[attr-defined]  # noqa: B018  # asking is the only way to know
    except ValueError:
        return False
    return True
