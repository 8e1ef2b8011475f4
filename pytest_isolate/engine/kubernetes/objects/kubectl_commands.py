"""Commands of kubectl, for texts that say how to go on by hand."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct

from pytest_isolate.engine.api import ContainerRequest
from pytest_isolate.engine.kubernetes.objects.manifests import FIRST, pod_name
from pytest_isolate.engine.kubernetes.objects.object_labels import object_name, select

# The digest at the end that object_name() writes.
_IS_POD = re.compile(r"-[0-9a-f]{12}$")


class KubectlCommands(Struct, frozen=True):
    """Command lines of kubectl for one namespace."""

    namespace: str
    context: str = ""

    @property
    def _kubectl(self) -> str:
        return f"kubectl{f' --context {shlex.quote(self.context)}' if self.context else ''} -n {self.namespace}"

    def name_of(self, container: str) -> str:
        return _pod(container)

    def enter(self, container: str) -> str:
        return self.run_inside(container, "sh")

    def run_inside(self, container: str, command: str, variable: str = "") -> str:
        given = f"env {variable} " if variable else ""
        return f"{self._kubectl} exec -it {_pod(container)} -- {given}{command}"

    def read_variable(self, container: str, name: str) -> str:
        return f"{self._kubectl} exec {_pod(container)} -- printenv {name}"

    def read_argument(self, container: str, number: int) -> str:
        words = f"{self._kubectl} get secret {_pod(container)} -o jsonpath='{{.data.words}}' | base64 -d"
        return f"{words} | tr '\\0' '\\n' | sed -n {number + 1}p"

    def logs(self, container: str) -> str:
        return f"{self._kubectl} logs {_pod(container)}"

    def start(self, container: str) -> str:
        return f"{self._kubectl} exec -i {_pod(container)} -- {FIRST} ask {_pod(container)} start"

    def copy_out(self, container: str) -> str:
        return f"{self._kubectl} cp {_pod(container)}:/PATH ."

    def pull(self, image: str, platform: str | None = None) -> str:  # noqa: ARG002  # nodes choose their own
        return f"{self._kubectl} run pull --rm -it --restart=Never --image={image} -- true"

    def run(self, request: ContainerRequest, hidden: Collection[str] = ()) -> str:
        variables = [f"--env={name}={'...' if name in hidden else value}" for name, value in request.env.items()]
        words = [*(request.entrypoint or ()), *(request.command or ())]
        flags = [f"--image={request.image}", *variables, *(["--command"] if request.entrypoint else [])]
        inside = ["--", *words] if words else []
        return f"{self._kubectl} run {pod_name(request)} --rm -it {shlex.join([*flags, *inside])}"

    def remove(self, labels: Mapping[str, str]) -> Sequence[str]:
        pairs = select("", labels)["labelSelector"].partition(",")[2]
        return (f"{self._kubectl} delete pods,secrets,leases -l {shlex.quote(pairs)}",)


def _pod(container: str) -> str:
    """The pod of a container of this name; texts may have the name of the pod itself, or a word in braces for it."""
    return container if _IS_POD.search(container) or container[:1] == "{" else object_name(container)
