"""Projects whose tests are run with pytest on a fake cluster."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from kubernetes.calling import Api
from kubernetes.fake.handle import FakeCluster

TESTS = Path(__file__).parent.parent
PREAMBLE = "import pytest\nfrom fakes.programs import IMAGE, program\nfrom pytest_isolate import *\n"
# No registry tells what the image's program is, so it is declared in full.
WEB = """
SERVE = program("serve 8000 hello")
web = service(IMAGE, port=8000, entrypoint=SERVE[:1], command=SERVE[1:], ready=http("/"), memory="64m")
"""
GET = """
from urllib.request import urlopen

def get(service, path="/"):
    return urlopen(f"http://{service.address}{path}", timeout=60).read().decode()
"""
Result = subprocess.CompletedProcess[str]


class Project:
    """A folder with a conftest.py and tests, to be run on the cluster's namespace."""

    def __init__(self, path: Path, cluster: FakeCluster, namespace: str) -> None:
        self.path = path
        self.env = {
            "KUBECONFIG": str(cluster.kubeconfig),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH")))),
            "PYTEST_ISOLATE_NAMESPACE": namespace,
            "XDG_CACHE_HOME": str(path / "cache"),
            "XDG_RUNTIME_DIR": str(path),
        }

    def write(self, name: str, *texts: str) -> None:
        (self.path / name).write_text("\n".join([PREAMBLE, *map(textwrap.dedent, texts)]))

    def run(self, *args: str, prefix: tuple[str, ...] = ()) -> Result:
        words = ("-m", "pytest", "--isolate", "--isolate-engine=kubernetes", "-p", "no:cacheprovider", *args)
        return self.call(*words, prefix=prefix)

    def command(self, *args: str) -> Result:
        self.env["PYTEST_ISOLATE_ENGINE"] = "kubernetes"
        return self.call("-c", "from pytest_isolate.cli.main import main; main()", *args)

    def call(self, *args: str, prefix: tuple[str, ...] = ()) -> Result:
        done = subprocess.run(
            [*prefix, sys.executable, *args],
            cwd=self.path,
            env={**os.environ, **self.env},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=500,
            check=False,
        )
        print(done.stdout)
        return done


def what_is_there(api: Api) -> list[str]:
    found = [one for kind in ("pods", "secrets", "services", "leases") for one in api.get(kind)["items"]]
    return [str(one["metadata"]["name"]) for one in found]
