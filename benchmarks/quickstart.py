"""The quickstart, from command to exit, beside the same two services declared with testcontainers."""

from __future__ import annotations

import os
import shutil
from statistics import median

from benchmarks.environments import ROOT, copy_project, ensure_venv, ensure_venv_with_plugin, version_of
from benchmarks.load import LoadMeter
from benchmarks.measuring import Contender, Runs, measure_in_turn, spread
from benchmarks.results import build_table
from pytest_isolate.engine.api import BuildRequest, Engine
from pytest_isolate.engine.connect import connect

_SERVICES = ROOT / "examples" / "services"
_IMAGES = {"postgres": "pytest-isolate-benchmark/postgres:1", "auth": "pytest-isolate-benchmark/auth:1"}
_OURS = "pytest-isolate, `image=`"
_BUILDING = "pytest-isolate, `build=`, nothing changed"
_PEER = "testcontainers, asking every 50 ms"
_PEER_DEFAULT = "testcontainers, asking every second (its default)"


def run(rounds: int, load: LoadMeter) -> str:
    """The section for RESULTS.md."""
    engine = connect(os.environ)
    try:
        facts = engine.facts()
        _build_images(engine)
    finally:
        engine.close()
    ours = ensure_venv_with_plugin("plugin", "pytest")
    peer = ensure_venv("testcontainers", "pytest", "testcontainers")
    folder = copy_project("quickstart")
    for variant in ("image", "from_source", "testcontainers"):
        shutil.copy(folder / "test_quickstart.py", folder / variant)
    images = {"POSTGRES_IMAGE": _IMAGES["postgres"], "AUTH_IMAGE": _IMAGES["auth"]}
    # Its clean-up helper needs an image that not every machine can pull; to start none only makes it faster.
    peer_env = images | {"TESTCONTAINERS_RYUK_DISABLED": "true", "DOCKER_HOST": facts.address}
    our_pytest = [str(ours / "pytest"), "--isolate"]
    contenders = [
        Contender(name=_OURS, argv=our_pytest, folder=folder / "image", env=images),
        Contender(name=_BUILDING, argv=our_pytest, folder=folder / "from_source", env={"SERVICES": str(_SERVICES)}),
        Contender(
            name=_PEER,
            argv=[str(peer / "pytest")],
            folder=folder / "testcontainers",
            # Its time-out is the product of the two: 120 s, as by default.
            env=peer_env | {"TC_POOLING_INTERVAL": "0.05", "TC_MAX_TRIES": "2400"},
            may_fail=True,
        ),
        Contender(
            name=_PEER_DEFAULT,
            argv=[str(peer / "pytest")],
            folder=folder / "testcontainers",
            env=peer_env,
            may_fail=True,
        ),
    ]
    runs = measure_in_turn(contenders, rounds, load)
    ours_s = median(runs[_OURS].walls_s)
    return "\n".join(
        [
            "An auth service and its Postgres, three tests, from the command to its exit; the images are there. "
            f"{rounds} rounds in turn.",
            "",
            build_table(
                ["", "median, s", "quartiles, s", "fastest, s", "processor time, s", "times pytest-isolate", "failed"],
                [_row(name, runs[name], ours_s) for name in runs],
            ),
            "",
            *(
                f"pytest-isolate needs {ours_s / median(runs[name].walls_s):.2f} of the time of {name}."
                for name in (_PEER, _PEER_DEFAULT)
                if runs[name].samples
            ),
            "",
            f"Versions: testcontainers {version_of(peer, 'testcontainers')}, pytest {version_of(peer, 'pytest')}, "
            f"{facts.name} {facts.version}. "
            "testcontainers uses its PostgresContainer with that one's own readiness check (psql in the container), "
            "`HttpWaitStrategy` on /healthz for auth, one shared network, and its clean-up helper switched off. "
            "Both sides run the same images and the same tests, which need nothing but the standard library.",
        ]
    )


def _build_images(engine: Engine) -> None:
    for name, tag in _IMAGES.items():
        context = _SERVICES / name
        request = BuildRequest(tag=tag, context=str(context), dockerfile=str(context / "Dockerfile"), network="host")
        engine.build_image(request, lambda _: None)


def _row(name: str, runs: Runs, ours_s: float) -> list[str]:
    if not runs.samples:
        return [name, "", "", "", "", "", runs.describe_failures()]
    wall = spread(runs.walls_s)
    cpu_s = median(sample.cpu_s for sample in runs.samples)
    return [
        name,
        f"{wall.middle:.2f}",
        f"{wall.low:.2f} to {wall.high:.2f}",
        f"{min(runs.walls_s):.2f}",
        f"{cpu_s:.2f}",
        f"{wall.middle / ours_s:.2f}",
        runs.describe_failures(),
    ]
