"""The environment of each service holds the port that it will answer on, so that it is known before the start."""

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.parse
from contextlib import suppress

import pytest

from pytest_isolate import IsolateError, http, postgres, service
from pytest_isolate.engine.connect import connect

PORT = {"PORT_OUTSIDE": "{self.external_port}"}
web = service(image=os.environ["WEB_IMAGE"], port=8000, ready=http(), env=PORT)
db = service(postgres(image=os.environ["POSTGRES_IMAGE"]), env=PORT)
dies = service(
    image=os.environ["WEB_IMAGE"], port=8000, command=["sh", "-c", "sleep 0.3; date '+died at %s.%N'; exit 3"]
)
FOUND: dict[str, float] = {}


def tell_port(name: str, asking: "subprocess.Popen[str]") -> None:
    """Let it ask as soon as the service's container has a port: before it is started."""
    engine = connect(os.environ)
    label = json.dumps({"label": [f"pytest-isolate.service={name}"]})
    query = f"/containers/json?all=true&filters={urllib.parse.quote(label)}"
    while asking.poll() is None:
        # Others' containers come and go.
        with suppress(IsolateError):
            for container in engine._http.ask("containers", "GET", query).json():
                if json.loads(container["Labels"]["pytest-isolate.owner"])["pid"] == os.getpid():
                    state = engine._http.ask("container", "GET", f"/containers/{container['Id']}/json").json()
                    (port,) = re.findall(r"PORT_OUTSIDE=(\d+)", " ".join(state["Config"]["Env"]))
                    asking.stdin.write(f"{port}\n")
                    asking.stdin.flush()
                    return
        time.sleep(0.002)


@pytest.fixture(scope="session", autouse=True)
def first_answers() -> dict[str, "subprocess.Popen[str]"]:
    """The processes that ask, up before anything starts."""
    found = {}
    for name in ("web", "db"):
        asking = subprocess.Popen(
            [sys.executable, "asking.py", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert asking.stdout.readline() == "here\n"
        threading.Thread(target=tell_port, args=(name, asking), daemon=True).start()
        found[name] = asking
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    report = yield
    died = re.search(r"died at ([\d.]+)", str(report.longrepr))
    if died:
        FOUND["death"] = call.stop - float(died[1])
        FOUND["event"] = told_at(float(died[1])) - float(died[1])
    return report


def told_at(died: float) -> float:
    """When the engine itself wrote down the death of our container."""
    engine = connect(os.environ)
    filters = json.dumps({"event": ["die"], "label": ["pytest-isolate.service=dies"]})
    query = f"since={int(died)}&until={int(time.time()) + 1}&filters={urllib.parse.quote(filters)}"
    lines = engine._http.ask("events", "GET", f"/events?{query}").content.decode().splitlines()
    found = [json.loads(line) for line in lines]
    ours = [e for e in found if str(os.getpid()) in e["Actor"]["Attributes"]["pytest-isolate.owner"]]
    return ours[0]["timeNano"] / 1e9


def pytest_sessionfinish() -> None:
    print("\nLATENCY", json.dumps(FOUND))
