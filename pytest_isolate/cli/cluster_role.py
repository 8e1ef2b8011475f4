"""`pytest-isolate kubernetes`: what a cluster has to be told before runs can use it."""

from __future__ import annotations

import click

from pytest_isolate.cli.engine import EXIT_FAILED, ending_in
from pytest_isolate.engine.connect import describe_rights


@click.group()
def kubernetes() -> None:
    """Prepare a namespace of a Kubernetes cluster for runs. Each command says what it ends with."""


@kubernetes.command()
@click.option("--namespace", default="", help="The namespace (default: that of the current context).")
@click.option("--service-account", "account", default="default", help="The service account that runs use.")
def role(namespace: str, account: str) -> None:
    """Print the Role with the least rights that runs need, and its binding, for `kubectl apply -f -`.

    Each rule says which feature it is for. Ends with code 0, or with 1 when no cluster is configured.
    """
    with ending_in(EXIT_FAILED):
        click.echo(describe_rights(namespace, account))
