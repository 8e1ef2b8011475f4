"""`pytest-isolate doctor`: what this machine and its engine lack for runs with services."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network

import click
from msgspec import to_builtins

from pytest_isolate.cli.engine import EXIT_FAILED
from pytest_isolate.engine.api import DEFAULT_SUBNETS
from pytest_isolate.engine.command_api import CheckResult
from pytest_isolate.engine.connect import check_cluster, is_cluster, served, try_candidates
from pytest_isolate.errors import EngineError
from pytest_isolate.running.doctor.checks import OK, PROBLEM, WARNING, Facts, Finding, diagnose
from pytest_isolate.running.doctor.host import read_disk, read_groups, read_inotify, read_routes
from pytest_isolate.sharing.owners import read_user


def _parse_pool(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        return str(IPv4Network(value))
    except ValueError as error:
        raise click.BadParameter(f"{error}; an IPv4 network such as {DEFAULT_SUBNETS}") from error


@click.command()
@click.option("--subnets", default=DEFAULT_SUBNETS, callback=_parse_pool, help="The pool that --isolate-subnets names.")
@click.option("--json", "as_json", is_flag=True, help="Print facts as JSON.")
def doctor(subnets: str, as_json: bool) -> None:
    """Examine this machine and its container engine: each check with a verdict, and what to do.

    Ends with code 0, also with warnings, or with 1 when there is a problem.
    """
    facts = None if is_cluster(os.environ) else _gather_here(subnets)
    findings = diagnose(facts) if facts else tuple(map(_judge, check_cluster(os.environ)))
    if as_json:
        click.echo(json.dumps({"findings": [to_builtins(f) for f in findings], "facts": to_builtins(facts)}, indent=2))
    else:
        click.echo("\n".join(finding_lines(findings)))
    if any(finding.verdict == PROBLEM for finding in findings):
        raise SystemExit(EXIT_FAILED)


def _gather_here(subnets: str) -> Facts:
    try:
        with served(os.environ) as env:
            return gather(env, subnets)
    except EngineError as error:  # a Podman that does not serve is what this is to find out
        click.echo(str(error), err=True)
        return gather(os.environ, subnets)


def _judge(result: CheckResult) -> Finding:
    verdict = PROBLEM if result.is_problem else WARNING if result.is_warning else OK
    return Finding(check=result.check, verdict=verdict, found=result.found, do=result.do)


def gather(env: Mapping[str, str], pool: str) -> Facts:
    """Everything that the checks want to know."""
    attempts, engine = try_candidates(env)
    is_seen = engine and engine.is_local and engine.data_root and not engine.virtual_machine
    disks = [read_disk("engine", engine.data_root)] if engine and is_seen else []
    return Facts(
        attempts=attempts,
        engine=engine,
        without_host="" if engine else _find_otherwise(env),
        user=read_user(),
        groups=read_groups(),
        pool=pool,
        routes=read_routes(),
        disks=(*disks, read_disk("temp", _temp_folder(env))),
        inotify=read_inotify(),
    )


def finding_lines(findings: Sequence[Finding]) -> list[str]:
    """One line for each check, and one below it where there is something to do."""
    verdicts, checks = (max(len(getattr(f, name)) for f in findings) for name in ("verdict", "check"))
    lines = []
    for finding in findings:
        lines.append(f"{finding.verdict.ljust(verdicts)}  {finding.check.ljust(checks)}  {finding.found}")
        if finding.verdict != OK:
            lines.append(f"{'':{verdicts + checks + 2}}  do: {finding.do}")
    return lines


def _find_otherwise(env: Mapping[str, str]) -> str:
    """The engine that would answer if the environment named none; empty where there is none."""
    rest = {name: value for name, value in env.items() if name not in ("DOCKER_HOST", "DOCKER_CONTEXT")}
    engine = try_candidates(rest)[1] if len(rest) < len(env) else None
    return engine.address if engine else ""


def _temp_folder(env: Mapping[str, str]) -> str:
    # tempfile.gettempdir() would pass over a disk that is full, which is just what is to be found.
    wanted = [env[name] for name in ("TMPDIR", "TEMP", "TMP") if env.get(name)]
    return next(filter(os.path.isdir, wanted), "/tmp")  # noqa: S108  # looked at, not written to
