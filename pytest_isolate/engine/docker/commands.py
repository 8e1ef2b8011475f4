"""Commands of Docker's own program and of Podman's, which understand the same ones."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePath

from msgspec import Struct

from pytest_isolate.engine.api import BuildRequest, ContainerRequest
from pytest_isolate.model.identity import LABEL_RUN


def build_arguments(request: BuildRequest) -> list[str]:
    """Arguments of `docker build` for the same image. A secret is named by where it is, never by what it is."""
    usual = str(PurePath(request.context) / "Dockerfile")
    flags: list[tuple[str, str | None]] = [
        ("-t", request.tag),
        ("-f", "-" if request.inline is not None else request.dockerfile if request.dockerfile != usual else None),
        *(("--build-arg", f"{name}={value}") for name, value in request.args.items()),
        ("--target", request.target),
        ("--network", request.network),
        ("--platform", request.platform),
        *(("--label", f"{name}={value}") for name, value in request.labels.items()),
        *(("--add-host", f"{name}:{address}") for name, address in request.extra_hosts),
        ("--shm-size", str(request.shm_bytes) if request.shm_bytes else None),
        *(("--secret", f"id={s.name},{f'src={s.file}' if s.file else f'env={s.env}'}") for s in request.secrets),
        *(("--ssh", ssh) for ssh in request.ssh),
        *(("--cache-from", cache) for cache in request.cache_from),
        *(("--cache-to", cache) for cache in request.cache_to),
        *(("--build-context", f"{name}={place}") for name, place in request.contexts.items()),
        ("--builder", request.builder),
    ]
    words = [word for flag, value in flags if value for word in (flag, value)]
    return [*words, *(["--pull"] if request.pull else []), request.context]


def run_arguments(request: ContainerRequest, hidden: Collection[str]) -> list[str]:
    """Arguments of `docker run` for a container. A variable that is hidden comes from the shell's own environment."""
    settings = request.settings
    flags: list[tuple[str, str | None]] = [
        *(("-e", name if name in hidden else f"{name}={value}") for name, value in request.env.items()),
        *(("-v", f"{source}:{target}") for source, target in request.binds.items()),
        *(("--tmpfs", f"{path}:{options}" if options else path) for path, options in settings.tmpfs),
        *(("--cap-drop", name) for name in request.cap_drop),
        *(("--cap-add", name) for name in request.cap_add),
        ("--security-opt", "no-new-privileges" if request.no_new_privileges else None),
        ("--memory", _size(request.memory_bytes) if request.memory_bytes else None),
        ("--shm-size", _size(request.shm_bytes) if request.shm_bytes else None),
        ("--cpus", f"{request.cpus:g}" if request.cpus else None),
        ("--pids-limit", str(request.pids) if request.pids else None),
        ("--user", settings.user),
        ("--workdir", settings.working_dir),
        ("--hostname", settings.hostname),
        *(("--add-host", f"{name}:{address}") for name, address in settings.extra_hosts),
    ]
    words = [word for flag, value in flags if value for word in (flag, value)]
    switches = {"--init": settings.init, "--privileged": settings.privileged, "--read-only": settings.read_only}
    words += [flag for flag, is_set in switches.items() if is_set]
    entrypoint, command = tuple(request.entrypoint or ()), tuple(request.command or ())
    if request.entrypoint is not None:
        words += ["--entrypoint", *(entrypoint[:1] or ("",))]
    return [*words, request.image, *entrypoint[1:], *command]


def _size(size_bytes: int) -> str:
    """A size as short as the docker command takes it."""
    units = ((1 << 30, "g"), (1 << 20, "m"), (1 << 10, "k"))
    return next((f"{size_bytes // unit}{letter}" for unit, letter in units if size_bytes % unit == 0), str(size_bytes))


class DockerCommands(Struct, frozen=True):
    """Command lines of `docker`, or of a program that takes its arguments."""

    program: str = "docker"

    def name_of(self, container: str) -> str:
        return container

    def enter(self, container: str) -> str:
        return self.run_inside(container, "sh")

    def run_inside(self, container: str, command: str, variable: str = "") -> str:
        given = f"-e {variable} " if variable else ""
        return f"{self.program} exec -it {given}{container} {command}"

    def read_variable(self, container: str, name: str) -> str:
        return f"{self.program} exec {container} printenv {name}"

    def read_argument(self, container: str, number: int) -> str:
        return f"{self.program} inspect -f '{{{{index .Config.Cmd {number}}}}}' {container}"

    def logs(self, container: str) -> str:
        return f"{self.program} logs {container}"

    def start(self, container: str) -> str:
        return f"{self.program} start {container}"

    def copy_out(self, container: str) -> str:
        return f"{self.program} cp {container}:/PATH ."

    def pull(self, image: str, platform: str | None = None) -> str:
        wanted = f"--platform {platform} " if platform else ""
        return f"{self.program} pull {wanted}{image}"

    def build(self, request: BuildRequest, *, builder: str = "build", buildkit: bool | None = None) -> str:
        """A build; `buildkit` says which of its two builders the docker command is to take, None leaves it to that."""
        switch = "" if buildkit is None else f"DOCKER_BUILDKIT={int(buildkit)} "
        command = f"{switch}{self.program} {builder} {shlex.join(build_arguments(request))}"
        if request.inline is None:
            return command
        return f"{command} <<'END-OF-DOCKERFILE'\n{request.inline.rstrip()}\nEND-OF-DOCKERFILE"

    def run(self, request: ContainerRequest, hidden: Collection[str] = ()) -> str:
        return f"{self.program} run --rm -it {shlex.join(run_arguments(request, hidden))}"

    def remove(self, labels: Mapping[str, str]) -> Sequence[str]:
        filters = " ".join(f"--filter label={key}={value}" for key, value in labels.items())
        return (
            f"{self.program} rm -fv $({self.program} ps -aq {filters})",
            f"{self.program} volume rm $({self.program} volume ls -q {filters})",
            f"{self.program} network rm $({self.program} network ls -q {filters})",
        )

    def list_networks(self) -> str:
        """Every network that a run has made."""
        return f"{self.program} network ls --filter label={LABEL_RUN}"

    def doctor_advice(self) -> dict[str, str]:
        """The advice of an EngineReport."""
        return {
            "pools": f"{self.program} network create and compose do: {self.program} network prune, or "
            '"default-address-pools" in /etc/docker/daemon.json',
            "disk": f"{self.program} system df -v",
            "limits": f"{self.program} info says what its host lacks",
        }
