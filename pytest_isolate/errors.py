"""The exceptions that users meet.

    IsolateError
    ├── DeclarationError      what is declared cannot be right (exit code 4, no test runs)
    ├── PlanError             what is declared cannot be carried out together (exit code 4)
    ├── EngineError           the container engine refused or did not answer
    │   ├── EngineUnreachable   no engine answers
    │   ├── ImageNotFound       not there, and not to be pulled
    │   ├── BuildFailed         a step of a Dockerfile failed
    │   ├── ObjectNotFound      a container, network or volume is gone
    │   ├── PortTaken           the port is in use
    │   ├── SubnetTaken         the subnet is in use
    │   └── AddressSpaceFull    no subnet or loopback address is left
    ├── StartError            a service did not come up
    ├── NotReadyError         a service came up, but did not get ready in time
    ├── FreshError            an init failed, or no fresh copy of a service's data could be made
    ├── ResetError            a service could not be brought back to a clean state after a test
    ├── UsedServiceError      not possible with an external service, which is not in a container of ours
    ├── FaultError            a fault cannot be injected here, or not be undone
    ├── ExecError             a command in a container failed (only with check=True)
    ├── PathError             a file or folder of this machine cannot be used
    └── CleanupError          something of ours could not be removed

Each class takes facts and writes the text itself: what happened, what was tried, what was found, what to do.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

Lines = str | Sequence[str]


def build_message(what: str, *, tried: Lines = (), found: Lines = (), valid: Lines = (), do: Lines = ()) -> str:
    """Lay out an error text as all errors do; parts without content are left out."""
    parts = [what]
    for title, content in (("tried", tried), ("found", found), ("valid", valid), ("do", do)):
        lines = content.splitlines() if isinstance(content, str) else [x for c in content for x in c.splitlines()]
        for number, line in enumerate(lines):
            parts.append(f"  {title if number == 0 else '':<6} {line}".rstrip())
    return "\n".join(parts)


def suggest(word: object, valid: Sequence[str]) -> str:
    """Return `, did you mean 'x'?` for the closest valid word, or an empty string."""
    from difflib import get_close_matches  # imported only where something is wrong: every run imports this module

    close = get_close_matches(str(word), valid, n=1, cutoff=0.6)
    return f", did you mean {close[0]!r}?" if close else ""


class IsolateError(Exception):
    """Base of all errors of this package; `str()` of it is the whole text for users."""

    def __init__(self, what: str, *, tried: Lines = (), found: Lines = (), valid: Lines = (), do: Lines = ()) -> None:
        super().__init__(build_message(what, tried=tried, found=found, valid=valid, do=do))


class Problem(Struct, frozen=True, kw_only=True):
    """One mistake in a declaration: its place, key and value, and what would be right."""

    place: str
    subject: str
    reason: str
    valid: str = ""
    hint: str = ""

    def __str__(self) -> str:
        return build_message(f"{self.place}: {self.subject}: {self.reason}", valid=self.valid, do=self.hint)


class IsolateWarning(UserWarning):
    """A declaration is used as it is, but a part of it deserves a look; the text names its place."""


class DeclarationError(IsolateError):
    """One or more declarations are wrong; all of them are named at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = "a wrong declaration" if len(self.problems) == 1 else f"{len(self.problems)} wrong declarations"
        super().__init__("\n".join([f"pytest-isolate found {count}; no test was run", *map(str, self.problems)]))


class PlanError(IsolateError):
    """The declarations are right one by one but cannot be carried out together."""


class EngineError(IsolateError):
    """The container engine refused a request or went away."""

    def __init__(self, what: str, *, tried: Lines = (), found: Lines = (), do: Lines = ()) -> None:
        self.what = what
        self.tried = tried
        self.found = (found,) if isinstance(found, str) else tuple(found)
        self.do = do
        super().__init__(what, tried=tried, found=found, do=do)


class EngineUnreachable(EngineError):
    """No container engine answers at any address that was tried."""


class ImageNotFound(EngineError):
    """No registry gave the image, or it is not to be pulled and not on the engine."""


class BuildFailed(EngineError):
    """A step of a Dockerfile failed."""


class ObjectNotFound(EngineError):
    """The container, network or volume does not exist (any more)."""


class PortTaken(EngineError):
    """The engine could not publish a port because it is in use."""


class SubnetTaken(EngineError):
    """The engine could not create a network because its subnet overlaps with another."""


class AddressSpaceFull(EngineError):
    """No free subnet, or no free loopback address, is left."""


class StartError(IsolateError):
    """A service did not come up."""

    def __init__(self, service: str, what: str, *, tried: Lines = (), found: Lines = (), do: Lines = ()) -> None:
        self.service = service
        super().__init__(f"service {service} {what}", tried=tried, found=found, do=do)


class NotReadyError(StartError):
    """A service came up, but its probes were not answered in time."""


class FreshError(IsolateError):
    """No fresh copy of a service's data could be made."""


class ResetError(IsolateError):
    """A service could not be brought back to a clean state after a test that had used it."""

    def __init__(self, service: str, test: str, *, tried: Lines = (), found: Lines = (), do: Lines = ()) -> None:
        self.service = service
        self.test = test
        super().__init__(f"service {service} could not be reset after {test}", tried=tried, found=found, do=do)


class FaultError(IsolateError):
    """A fault cannot be injected into a service here, or not be undone."""

    def __init__(self, service: str, what: str, *, tried: Lines = (), found: Lines = (), do: Lines = ()) -> None:
        self.service = service
        super().__init__(f"service {service!r} {what}", tried=tried, found=found, do=do)


class UsedServiceError(IsolateError):
    """An operation needs a container of ours, and the service is an external one."""

    def __init__(self, service: str, what: str, given_by: str) -> None:
        self.service = service
        super().__init__(
            f"service {service!r} runs already, so {what}",
            found=f"it was given by {given_by}; what is not started here is never changed",
            do=f"leave this test out with @pytest.mark.skipif, or run it without {given_by}",
        )


class ExecError(IsolateError):
    """A command in a container ended with a code other than 0."""

    def __init__(self, service: str, argv: Sequence[str], exit_code: int, output: str) -> None:
        self.exit_code = exit_code
        self.output = output
        what = f"a command in service {service!r} ended with code {exit_code}"
        super().__init__(what, tried=" ".join(argv), found=output or "no output")


class PathError(IsolateError):
    """A file or folder of this machine cannot be read, made or written."""

    def __init__(self, path: object, error: Exception, *, do: Lines) -> None:
        self.what = f"{path} cannot be used"
        self.tried = ()
        self.found = str(getattr(error, "strerror", None) or error)
        self.do = do
        super().__init__(self.what, found=self.found, do=do)


class CleanupError(IsolateError):
    """Objects of this run could not be removed; the text names them and the commands that remove them by hand."""

    def __init__(self, failures: Sequence[str], *, do: Lines) -> None:
        self.failures = tuple(failures)
        count = "a container object" if len(self.failures) == 1 else f"{len(self.failures)} container objects"
        super().__init__(f"{count} could not be removed", found=self.failures, do=do)
