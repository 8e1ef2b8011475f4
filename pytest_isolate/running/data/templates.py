"""Templates: init is run once for each content, by whichever process comes first; the others adopt what came of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pytest_isolate.engine.api import Engine
from pytest_isolate.errors import EngineError, FreshError
from pytest_isolate.model.fresh import FreshSpec, InitCommand, InitFiles, InitFunction
from pytest_isolate.model.service import File
from pytest_isolate.running.archive import build_archive
from pytest_isolate.running.data.user_function import call, describe_failure
from pytest_isolate.running.data.backends.client import run_to_end
from pytest_isolate.running.data.content import digest_init, sql_files
from pytest_isolate.running.data.fresh_service import build_handle
from pytest_isolate.running.data.names import PRISTINE, template_name
from pytest_isolate.running.data.backends.base import InitOutput, Way, WayError, suffix_of
from pytest_isolate.running.containers.handle import Service
from pytest_isolate.running.containers.launcher import Running
from pytest_isolate.running.containers.security import redact
from pytest_isolate.sharing.board import Board


class Templates:
    """The templates of one instance, agreed with all processes that use it.

    `board` lasts as long as the instance; failures go to the run's own, `errors`: the next run tries again.
    """

    def __init__(
        self,
        engine: Engine,
        running: Running,
        base: Service,
        run_id: str,
        board: Board,
        errors: Board,
        open_way: Callable[[], Way],
        check_open: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._running = running
        self._base = base
        self._run_id = run_id
        self._board = board
        self._errors = errors
        self._open_way = open_way
        self._check_open = check_open

    def ensure(self, spec: FreshSpec) -> str:
        """The name of the finished template; FreshError, the same in every process, where init has failed."""
        if spec.init is None:
            return PRISTINE + suffix_of(self._running)
        try:
            name = template_name(digest_init(spec, self._run_id), suffix_of(self._running))
        except OSError as error:
            raise FreshError(f"the init of {spec.name!r} cannot be read", found=str(error), do=_where(spec)) from error
        code = f"{self._running.container_id} {name}"
        with self._board.claim(code, self._check_open):
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
            self._errors.publish(f"{code} failed", {"error": str(error)})
            raise
        self._board.publish(code, {"template": name})

    def _build(self, spec: FreshSpec, name: str) -> None:
        way = self._open_way()
        try:
            database = way.begin_template(name)
            self._initialise(way, spec, database)
            way.finish_template(name)
        except InitOutput as error:
            raise self._failed(spec, str(error)) from error
        except (WayError, EngineError) as error:
            what = f"no template could be made for {spec.name!r}"
            raise FreshError(what, found=str(error), do=_where(spec)) from error
        finally:
            way.close()

    def _initialise(self, way: Way, spec: FreshSpec, database: str) -> None:
        match spec.init:
            case InitFiles(path=path):
                self._run_files(way, Path(path), database)
            case InitCommand(argv=argv):
                found = run_to_end(self._engine, self._running.container_id, argv, way.variables(database))
                if found[0] != 0:
                    raise InitOutput(f"exit code {found[0]}; {found[1].strip() or 'it wrote nothing'}")
            case InitFunction(function=function):
                handle = build_handle(spec.name, self._base, self._running.view, self._engine, database)
                try:
                    call(function, handle)
                except Exception as error:  # whatever the user's code raises is told as its own
                    raise InitOutput(describe_failure(error)) from error

    def _run_files(self, way: Way, path: Path, database: str) -> None:
        """Copied as a whole folder, so that the files can include each other."""
        files = sql_files(str(path))
        folder = f"/tmp/isolate-init-{database}"  # noqa: S108  # inside the container
        root = path if path.is_dir() else path.parent
        names = [file.relative_to(root).as_posix() for file in files]
        copied = [File(target=f"{folder}/{name}", source=str(root / name), mode=0o644) for name in names]
        self._engine.copy_into(self._running.container_id, build_archive(tuple(copied)))
        way.run_files(database, folder, names)

    def _failed(self, spec: FreshSpec, output: str) -> FreshError:
        tried = {
            InitFiles: lambda init: f"{init.path} on a copy of {self._base.name!r}",
            InitCommand: lambda init: f"{' '.join(init.argv)} in the container of {self._base.name!r}",
            InitFunction: lambda init: f"{getattr(init.function, '__qualname__', init.function)}(...)",
        }[type(spec.init)](spec.init)
        found = redact(output, self._running.secrets)
        return FreshError(f"the init of {spec.name!r} has failed", tried=tried, found=found, do=_where(spec))


class SharedFreshError(FreshError):
    """An init that failed in another process; the text is the one that was raised there."""

    def __init__(self, text: str) -> None:
        Exception.__init__(self, text)


def _where(spec: FreshSpec) -> str:
    return f"it is declared at {spec.location}"
