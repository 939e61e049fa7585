"""`python -m tradingbot_sandbox.node`: settings from the command line, the log, the node."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from . import log
from .agent import run_node
from .backoff import BackOffSettings
from .clock import SystemClock
from .errors import NodeUnusable
from .settings import Settings

PATH = click.Path(path_type=Path)


def parse_pairs(_context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for value in values:
        name, equals, rest = value.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE", param=parameter)
        pairs[name] = rest
    return pairs


@click.command(context_settings={"show_default": True})
@click.option("--kubeconfig", type=PATH, required=True, help="How the API server is reached.")
@click.option("--state", type=PATH, required=True, help="The folder of everything that the node keeps.")
@click.option("--name", default=Settings.name, help="Of the Node object.")
@click.option("--parent-pid", type=int, help="End, with every pod, when this process ends.")
@click.option(
    "--client-ca", type=PATH, help="Who signs the API server's client certificate; without it, no kubectl logs."
)
@click.option("--image", "images", multiple=True, callback=parse_pairs, help="NAME=PROGRAM: a further image.")
@click.option("--env", "variables", multiple=True, callback=parse_pairs, help="NAME=VALUE for every container.")
@click.option("--backoff-base-seconds", default=BackOffSettings.base_seconds, help="First delay of a restart.")
@click.option("--backoff-cap-seconds", default=BackOffSettings.cap_seconds, help="Longest delay of a restart.")
@click.option("--token-renewal-fraction", default=Settings.token_renewal_fraction, help="Of a token's life.")
@click.option("--start-retry-seconds", default=Settings.start_retry_seconds, help="For what could not be started.")
@click.option("--shutdown-grace-seconds", default=Settings.shutdown_grace_seconds, help="For pods, when the node ends.")
def main(
    kubeconfig: Path,
    state: Path,
    name: str,
    parent_pid: int | None,
    client_ca: Path | None,
    images: dict[str, str],
    variables: dict[str, str],
    backoff_base_seconds: float,
    backoff_cap_seconds: float,
    token_renewal_fraction: float,
    start_retry_seconds: float,
    shutdown_grace_seconds: float,
) -> None:
    """A Kubernetes node whose containers are processes of this machine."""
    log.configure()
    settings = Settings(
        kubeconfig=kubeconfig.absolute(),
        state=state.absolute(),
        name=name,
        client_ca=client_ca.absolute() if client_ca else None,
        parent_pid=parent_pid,
        programs={image: Path(path).absolute() for image, path in images.items()},
        container_env=variables,
        restart_backoff=BackOffSettings(backoff_base_seconds, backoff_cap_seconds),
        token_renewal_fraction=token_renewal_fraction,
        start_retry_seconds=start_retry_seconds,
        shutdown_grace_seconds=shutdown_grace_seconds,
    )
    try:
        asyncio.run(run_node(settings, SystemClock(), Path(sys.executable).parent))
    except NodeUnusable as problem:
        raise click.ClickException(str(problem)) from problem


if __name__ == "__main__":
    main()
