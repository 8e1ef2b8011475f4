"""Templates: init is run once for each content, by the process that comes first; the others adopt what came of it."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from types import CodeType, FunctionType

from pytest_isolate.engine.api import Engine
from pytest_isolate.errors import EngineError, FreshError
from pytest_isolate.model.fresh import COPY_METHODS, FreshSpec, Init, InitCommand, InitFiles, InitFunction
from pytest_isolate.model.service import File
from pytest_isolate.running.archive import build_archive
from pytest_isolate.running.containers.handle import Service
from pytest_isolate.running.containers.running import RunningInstance
from pytest_isolate.running.data.backends.base import BackendError, DataBackend, InitOutput, name_suffix
from pytest_isolate.running.data.backends.client import run_to_end
from pytest_isolate.running.data.backends.table import backend_of, environment_of
from pytest_isolate.running.data.fresh_service import build_handle
from pytest_isolate.running.data.names import PRISTINE, template_name
from pytest_isolate.running.data.user_function import call, describe_failure
from pytest_isolate.sharing.board import Board
from pytest_isolate.text import redact
from pytest_isolate.user_files import read_bytes

_CONSTANTS = (str, bytes, int, float, bool, type(None), PurePath)


def digest_init(spec: FreshSpec, run_id: str, suffixes: tuple[str, ...]) -> str:
    """The hash of an init's content, or of the key that stands for it."""
    parts = _parts(spec.init, run_id, suffixes) if spec.key is None else (b"key", spec.key.encode())
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()[:32]


def init_files(path: str, suffixes: tuple[str, ...]) -> list[Path]:
    """The file itself, or the files in a folder and those below it that end so, in the order of their names."""
    found = Path(path)
    return sorted(p for p in found.rglob("*") if p.suffix in suffixes and p.is_file()) if found.is_dir() else [found]


def _parts(init: Init | None, run_id: str, suffixes: tuple[str, ...]) -> Iterator[bytes]:
    match init:
        case InitFiles(path=path):
            for file in init_files(path, suffixes):
                yield file.name.encode()
                yield read_bytes(file)
        case InitCommand(argv=argv):
            yield "\0".join(argv).encode()
        case InitFunction(function=function):
            # What it calls elsewhere is not seen, so without a key its state is never used by another run.
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


class Templates:
    """The templates of one instance, agreed on `board` with all processes that use it; `errors` is the run's own."""

    def __init__(
        self,
        engine: Engine,
        running: RunningInstance,
        base: Service,
        run_id: str,
        board: Board,
        errors: Board,
        raise_if_closing: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._running = running
        self._base = base
        self._run_id = run_id
        self._board = board
        self._errors = errors
        self._raise_if_closing = raise_if_closing
        assert running.spec.copies is not None
        self._suffixes = COPY_METHODS[running.spec.copies].init_suffixes

    def ensure(self, spec: FreshSpec) -> str:
        """The name of the finished template; FreshError, the same in every process, where init has failed."""
        if spec.init is None:
            return PRISTINE + name_suffix(self._running)
        try:
            name = template_name(digest_init(spec, self._run_id, self._suffixes), name_suffix(self._running))
        except OSError as error:
            raise FreshError(f"the init of {spec.name!r} cannot be read", found=str(error), do=_where(spec)) from error
        code = f"{self._running.container_id} {name}"
        with self._board.claim(code, self._raise_if_closing):
            failed = self._errors.read(f"{code} failed")
            if failed:
                raise SharedFreshError(failed["error"])
            if self._board.read(code) is None:
                self._make(spec, name, code)
        return name

    def _make(self, spec: FreshSpec, name: str, code: str) -> None:
        try:
            self._build(spec, name)
        except FreshError as error:
            # Not on the instance's board, which may outlive the run: the next run tries again.
            self._errors.publish(f"{code} failed", {"error": str(error)})
            raise
        self._board.publish(code, {"template": name})

    def _build(self, spec: FreshSpec, name: str) -> None:
        backend = backend_of(self._running).open(self._engine, self._running)
        try:
            database = backend.begin_template(name)
            self._initialise(backend, spec, database)
            backend.finish_template(name)
        except InitOutput as error:
            raise self._failed(spec, str(error)) from error
        except (BackendError, EngineError) as error:
            what = f"no template could be made for {spec.name!r}"
            raise FreshError(what, found=str(error), do=_where(spec)) from error
        finally:
            backend.close()

    def _initialise(self, backend: DataBackend, spec: FreshSpec, database: str) -> None:
        match spec.init:
            case InitFiles(path=path):
                self._run_files(backend, Path(path), database)
            case InitCommand(argv=argv):
                variables = environment_of(self._running, database)
                code, output = run_to_end(self._engine, self._running.container_id, argv, variables)
                if code != 0:
                    raise InitOutput(f"exit code {code}; {output.strip() or 'it wrote nothing'}")
            case InitFunction(function=function):
                handle = build_handle(spec.name, self._base, self._running.view, database)
                try:
                    call(function, handle)
                except Exception as error:  # whatever the user's code raises is told as its own
                    raise InitOutput(describe_failure(error)) from error

    def _run_files(self, backend: DataBackend, path: Path, database: str) -> None:
        # All of them are copied, so that they can include each other.
        files = init_files(str(path), self._suffixes)
        folder = f"/tmp/isolate-init-{database}"  # noqa: S108  # inside the container
        root = path if path.is_dir() else path.parent
        names = [file.relative_to(root).as_posix() for file in files]
        copied = [File(target=f"{folder}/{name}", source=str(root / name), mode=0o644) for name in names]
        self._engine.copy_into(self._running.container_id, build_archive(tuple(copied)))
        backend.run_files(database, folder, names)

    def _failed(self, spec: FreshSpec, output: str) -> FreshError:
        match spec.init:
            case InitFiles(path=path):
                tried = f"{path} on a copy of {self._base.name!r}"
            case InitCommand(argv=argv):
                tried = f"{' '.join(argv)} in the container of {self._base.name!r}"
            case InitFunction(function=function):
                tried = f"{getattr(function, '__qualname__', function)}(...)"
            case None:
                tried = ""
        found = redact(output, self._running.secrets)
        return FreshError(f"the init of {spec.name!r} has failed", tried=tried, found=found, do=_where(spec))


class SharedFreshError(FreshError):
    """An init that failed in another process; the text is the one that was raised there."""

    def __init__(self, text: str) -> None:
        Exception.__init__(self, text)


def _where(spec: FreshSpec) -> str:
    return f"it is declared at {spec.location}"
