"""Commands of Docker's own program and of Podman's, which understand the same ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from pytest_isolate.model.identity import LABEL_RUN


class DockerCommands(Struct, frozen=True):
    """Command lines of `docker`, or of a program that takes its arguments."""

    program: str = "docker"

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

    def run(self, image: str) -> str:
        return f"{self.program} run --rm -it {image}"

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
