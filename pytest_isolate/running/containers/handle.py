"""The values of fixtures: a running service, and a stack of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Literal, TypeVar, overload

from pytest_isolate.declarations.members import member_name
from pytest_isolate.engine.api import BinaryExecResult, ExecResult
from pytest_isolate.errors import ExecError, IsolateError, build_message
from pytest_isolate.model.endpoint import Endpoint
from pytest_isolate.running.containers.controls import Controls
from pytest_isolate.running.containers.view import ServiceView

Answer = TypeVar("Answer")


class Inside:
    """A service as its neighbours on the stack's network see it."""

    def __init__(self, view: ServiceView) -> None:
        self._view = view

    @property
    def host(self) -> str:
        """Its plain name; of one that runs elsewhere (`--isolate-use`) the name of its host."""
        return self._view.inside_host

    @property
    def port(self) -> int:
        """Its main port."""
        return _with_port(self._view).inside.port

    @property
    def address(self) -> str:
        """`host:port`."""
        return _with_port(self._view).inside.address

    @property
    def url(self) -> str:
        """Its url within the network."""
        return _with_port(self._view).url(self._view.inside)


class Service:
    """A running service, alone in its container.

    `host`, `port`, `address` and `url` are what a test connects to; `inside` is the same as seen by other services of
    the stack. The methods that stop and start it keep its address.
    """

    def __init__(self, view: ServiceView, controls: Controls, *, image: str, container_id: str) -> None:
        self._view = view
        self._controls = controls
        self.image = image
        """The image that it runs."""
        self.container_id = container_id
        """The engine's id of its container."""

    def __repr__(self) -> str:
        where = f" at {self._view.outside.address}" if self._view.spec.ports else ""
        return f"<Service {self.name!r} ({self.image}){where}>"

    @property
    def name(self) -> str:
        """The name that it is declared under, which is its host name inside the stack."""
        return self._view.spec.name

    @property
    def host(self) -> str:
        """The address to connect to from a test."""
        return self._view.host if self._view.endpoints else self._outside().host

    @property
    def port(self) -> int:
        """The port to connect to from a test: its main port, published."""
        return self._outside().port

    @property
    def address(self) -> str:
        """`host:port`, from a test."""
        return self._outside().address

    @property
    def url(self) -> str:
        """Its url from a test."""
        return self._view.url(self._outside())

    @property
    def inside(self) -> Inside:
        """Host, port and url within the stack's network."""
        return Inside(self._view)

    @property
    def env(self) -> Mapping[str, str]:
        """The environment variables that it was given, placeholders filled in."""
        return dict(self._view.env)

    @property
    def user(self) -> str | None:
        """The user to log in with, where its declaration has one."""
        return self._view.spec.user

    @property
    def password(self) -> str | None:
        """The password to log in with, where its declaration has one; random for each run unless it was set."""
        return self._view.password

    @property
    def database(self) -> str | None:
        """The database to use, where its declaration has one."""
        return self._view.spec.database

    def port_of(self, inner: int | str) -> int:
        """The published port of one of its ports inside; of one of UDP by a text: `port_of("8125/udp")`."""
        return self._view.published(inner, self.name, f"declare it: ports=[..., {inner!r}]").port

    def logs(self, *, tail: int | None = None) -> str:
        """Everything that it has written to stdout and stderr so far, or only its last `tail` lines.

        To read all of it takes 0.1 s a megabyte; to read a tail takes the same for every log.
        """
        return str(self._ask(self._controls.logs, tail))

    @overload
    def exec(self, *argv: str, check: bool = False, binary: Literal[False] = False) -> ExecResult: ...
    @overload
    def exec(self, *argv: str, check: bool = False, binary: Literal[True]) -> BinaryExecResult: ...
    def exec(self, *argv: str, check: bool = False, binary: bool = False) -> ExecResult | BinaryExecResult:
        """Run a command inside its container. With `check`, ExecError if it does not end with code 0.

        With `binary`, the output is bytes, as the command has written them.
        """
        result: ExecResult | BinaryExecResult
        result = self._ask(self._controls.exec_binary if binary else self._controls.exec, argv)
        if check and result.exit_code != 0:
            text = result.decode() if isinstance(result, BinaryExecResult) else result
            raise ExecError(self.name, argv, text.exit_code, text.stderr or text.stdout)
        return result

    def stop(self, timeout_s: int = 10) -> None:
        """Ask it to stop, and kill it when it has not after `timeout_s` seconds."""
        self._ask(self._controls.stop, timeout_s)

    def start(self) -> None:
        """Start it again after stop() or kill(), at the same address; returns when it is ready."""
        self._ask(self._controls.start)

    def restart(self, timeout_s: int = 10) -> None:
        """stop() and start()."""
        self._ask(self._controls.restart, timeout_s)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._ask(self._controls.kill)

    def pause(self) -> None:
        """Freeze it: connections stay open, nothing answers."""
        self._ask(self._controls.pause)

    def unpause(self) -> None:
        """Let it go on after pause()."""
        self._ask(self._controls.unpause)

    def paused(self) -> AbstractContextManager[None]:
        """Frozen for the length of a block: connections stay open, nothing answers."""
        return self._controls.paused()

    def stopped(self, timeout_s: int = 10) -> AbstractContextManager[None]:
        """Stopped for the length of a block; behind it, it is ready again, at the same address."""
        return self._controls.stopped(timeout_s)

    def killed(self) -> AbstractContextManager[None]:
        """Ended at once, and down for the length of a block; behind it, it is ready again, at the same address."""
        return self._controls.killed()

    def disconnected(self) -> AbstractContextManager[None]:
        """Cut off for the length of a block, from tests and neighbours: connections stay open, no packet arrives."""
        return self._controls.disconnected()

    def slow(
        self, *, latency: float | str = 0, jitter: float | str = 0, loss: float | str = 0, rate: str | None = None
    ) -> AbstractContextManager[None]:
        """On a slow network for the length of a block, for tests and neighbours: what it sends is held up, or lost.

        `latency` and `jitter` are seconds or texts such as "100ms", `loss` is a fraction or a text such as "5%", and
        `rate` a text such as "1mbit".
        """
        return self._controls.slow(latency=latency, jitter=jitter, loss=loss, rate=rate)

    def _ask(self, method: Callable[..., Answer], *args: object) -> Answer:
        """Return the engine's answer; its error tells all, so the library's own below it is not shown."""
        __tracebackhide__ = True
        try:
            return method(*args)
        except IsolateError as error:
            raise error from None

    def _outside(self) -> Endpoint:
        return _with_port(self._view).outside


class Stack:
    """Services on one private network; each is an attribute (and an item) by its name.

    As an item it also goes by the name that a Compose file has for it: `shop["main-db"]`.
    """

    def __init__(self, name: str, services: Mapping[str, Service]) -> None:
        self._name = name
        self._services = dict(services)

    def __repr__(self) -> str:
        return f"<Stack {self._name!r}: {', '.join(self._services)}>"

    def __getattr__(self, name: str) -> Service:
        if name.startswith("__"):
            raise AttributeError(name)  # copy and pickle ask before the object is complete
        try:
            return self._services[name]
        except KeyError:
            message = f"stack {self._name!r} has no service {name!r}; it has {', '.join(self._services)}"
            raise AttributeError(message) from None

    def __getitem__(self, name: str) -> Service:
        return self._services[name if name in self._services else member_name(name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._services)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._services]


def _with_port(view: ServiceView) -> ServiceView:
    if not view.spec.ports:
        which = "no port of TCP" if view.spec.udp_ports else "no port"
        what = f"service {view.spec.name!r} declares {which}, so it has no address"
        raise IsolateError(build_message(what, do="declare port=... (in a Compose file: expose)"))
    return view
