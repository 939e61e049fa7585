"""SHELL: the command `tradingbot-sandbox`: asks, prints, and leaves the work to the packages beside it."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from tradingbot_sandbox.control_plane.binaries import KUBERNETES_VARIABLE, Search
from tradingbot_sandbox.control_plane.build import provide_binaries, provide_chart_tools
from tradingbot_sandbox.control_plane.pins import KUBERNETES, shipped_kubernetes_minors
from tradingbot_sandbox.control_plane.progress import build_progress
from tradingbot_sandbox.supervisor import client
from tradingbot_sandbox.supervisor.daemon import Supervisor, configure_log
from tradingbot_sandbox.supervisor.errors import NotSupported, SandboxError, StateInUse, StateRefused
from tradingbot_sandbox.supervisor.health import HttpProber
from tradingbot_sandbox.supervisor.logs import follow, log_files, tail
from tradingbot_sandbox.supervisor.plan import (
    SYNTHETIC,
    VENUE_BINANCE,
    Options,
    account_url,
    keys_of,
    rest_url,
    stream_url,
)
from tradingbot_sandbox.supervisor.report import Announcer, status_table
from tradingbot_sandbox.supervisor.state import StateFolder

STATE_VARIABLE = "TRADINGBOT_SANDBOX_STATE"

LAZY_COMMANDS: Mapping[str, str] = {
    "demo": "tradingbot_sandbox.demo:demo",
    "venue": "tradingbot_sandbox.venues.cli:venue",
}
"""Commands of other parts, as module:object. Imported when they are used, so that `env` and `status` stay quick."""


class SandboxGroup(click.Group):
    """The commands below and the lazy ones; an expected failure is one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        lazy = (name for name in LAZY_COMMANDS if is_installed(name))
        return sorted([*super().list_commands(ctx), *lazy])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in LAZY_COMMANDS or not is_installed(cmd_name):
            return super().get_command(ctx, cmd_name)
        module, _, name = LAZY_COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            if sys.platform != "linux":
                raise NotSupported(
                    f"the sandbox runs on Linux only, and this is {sys.platform}: it needs /proc and the kernel's "
                    "parent-death signal. Run it in a Linux virtual machine."
                )
            return super().invoke(ctx)
        except SandboxError as error:
            raise click.ClickException(str(error)) from error


def is_installed(lazy_command: str) -> bool:
    return importlib.util.find_spec(LAZY_COMMANDS[lazy_command].partition(":")[0]) is not None


def default_state() -> str:
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return str(Path(home) / "tradingbot-sandbox")


def to_state(ctx: click.Context, parameter: click.Parameter, value: Path) -> StateFolder:  # noqa: ARG001 - click's form
    return StateFolder(value.absolute())


state_option: Callable[[Callable[..., None]], Callable[..., None]] = click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    envvar=STATE_VARIABLE,
    show_envvar=True,
    default=default_state,
    show_default="~/.local/state/tradingbot-sandbox",
    callback=to_state,
    metavar="DIR",
    help="The folder with everything that this sandbox keeps. Several sandboxes need several folders.",
)
kubernetes_option: Callable[[Callable[..., None]], Callable[..., None]] = click.option(
    "--kubernetes",
    type=click.Choice(shipped_kubernetes_minors()),
    default=KUBERNETES,
    show_default=True,
    envvar=KUBERNETES_VARIABLE,
    show_envvar=True,
    help="Which minor version of Kubernetes.",
)


@click.group(cls=SandboxGroup, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """A place to try and test trading bots without a cluster and without an exchange.

    It runs a real Kubernetes control plane, a node that runs pods as local processes, and simulated exchanges, all as
    ordinary processes of yours on 127.0.0.1. Linux only; no root, no containers.
    """


@main.command()
@state_option
@kubernetes_option
@click.option(
    "--market",
    default=SYNTHETIC,
    show_default=True,
    metavar="synthetic|FILE",
    help="What the simulated Binance plays: an invented market, or a recording.",
)
@click.option("--speed", metavar="N", help="How much faster than real time the market is played.")
@click.option("--seed", type=int, metavar="N", help="Which of all invented markets.")
@click.option("--play", type=click.Choice(["once", "loop"]), help="What a recording does at its end.")
@click.option("--start", metavar="WHEN", help="When the market begins; see `tradingbot-sandbox venue binance --help`.")
@click.option("--node/--no-node", default=True, help="Without a node, pods stay Pending.")
@click.option("--venue/--no-venue", default=True, help="Without a venue there is no simulated exchange.")
@click.option("--fresh", is_flag=True, help="Forget what an earlier sandbox left in the state folder.")
@click.option("--foreground", is_flag=True, help="Stay until Ctrl-C or SIGTERM, then stop everything.")
def up(state: StateFolder, kubernetes: str, *, foreground: bool, **asked: Any) -> None:
    """Start the sandbox, or say that it runs.

    The first start builds the control plane from source, which takes some minutes. After `down`, `up` goes on with the
    data it had; --fresh begins anew.
    """
    begun = time.monotonic()
    asked["market"] = to_market(asked["market"])
    if state.supervisor() is not None:
        if foreground or asked["fresh"]:
            raise StateRefused(f"a sandbox is running on {state.root}. Stop it first: {command('down', state)}")
        source = click.get_current_context().get_parameter_source
        join_running(state, {k: v for k, v in asked.items() if source(k) is not ParameterSource.DEFAULT})
        return
    state.create()
    with build_progress() as progress:
        binaries = provide_binaries(Search.here(kubernetes=kubernetes), progress)
    options = Options(binaries={name: str(path) for name, path in binaries.as_mapping().items()}, **asked)
    announcer = Announcer(click.echo)

    def say_ready() -> None:
        click.echo(f"Ready after {time.monotonic() - begun:.1f} s.\n\n{hints(state)}")

    if foreground:
        announcer.on_ready = say_ready
        Supervisor(state, options, on_status=announcer).run()
        return
    process = client.start_detached(state, options)
    try:
        client.wait_ready(state, process=process, on_status=announcer)
    except KeyboardInterrupt:
        click.echo("Interrupted; stopping.", err=True)
        client.stop(state, on_status=announcer)
        raise
    say_ready()


@main.command()
@state_option
@click.option("--clean", is_flag=True, help="Remove the state folder as well: all data, logs and certificates.")
def down(state: StateFolder, *, clean: bool) -> None:
    """Stop the sandbox.

    Pods first, each within its grace period, then the node and the venues, then the control plane.
    """
    if not state.is_ours:
        if state.root.exists() and any(state.root.iterdir()):
            raise StateRefused(f"{state.root} is not a sandbox's state folder; nothing was stopped or removed.")
        click.echo(f"There is no sandbox at {state.root}.")
        return
    begun = time.monotonic()
    if client.stop(state, on_status=Announcer(click.echo, known=state.status())):
        click.echo(f"Stopped after {time.monotonic() - begun:.1f} s.")
    else:
        click.echo("The sandbox was not running.")
    if clean:
        with state.lock() as ours:
            if not ours:
                raise StateRefused(f"another supervisor has just been started on {state.root}; nothing was removed.")
            state.remove()
        click.echo(f"Removed {state.root}.")


@main.command()
@state_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def status(ctx: click.Context, state: StateFolder, *, as_json: bool) -> None:
    """Show each component.

    The exit status is 0 only when all are healthy.
    """
    live = client.live_status(state, HttpProber())
    if as_json:
        click.echo(json.dumps({"state": str(state.root), "healthy": live.is_healthy, **asdict(live)}, indent=2))
    else:
        click.echo(status_table(live, now_ns=time.time_ns()))
    ctx.exit(0 if live.is_healthy else 1)


@main.command()
@state_option
@click.argument("component", required=False)
@click.option("-f", "--follow", "following", is_flag=True, help="Go on with what is written from now on, until Ctrl-C.")
@click.option(
    "--tail",
    "lines",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    metavar="N",
    help="How many of the last lines.",
)
def logs(state: StateFolder, component: str | None, lines: int, *, following: bool) -> None:
    """Print the log of one COMPONENT, or of all."""
    files = log_files(state)
    if component is not None:
        if component not in files:
            raise SandboxError(f"there is no log of {component}. There are: {', '.join(files) or 'none yet'}.")
        files = {component: files[component]}
    width = max((len(name) for name in files), default=0)
    prefix = "" if component is not None else "{name:{width}} | "
    offsets = {}
    for name, path in files.items():
        last, offsets[name] = tail(path, lines)
        for line in last:
            click.echo(prefix.format(name=name, width=width) + line)
    if following:
        for name, line in follow(files, offsets):
            click.echo(prefix.format(name=name, width=width) + line)


@main.command()
@state_option
def env(state: StateFolder) -> None:
    """Print settings for your shell.

    eval "$(tradingbot-sandbox env)"

    They set KUBECONFIG, put kubectl and helm on PATH, and name the addresses of the simulated exchanges and the folder
    with the key of an account there.
    """
    if not state.kubeconfig.exists():
        raise SandboxError(f"there is no sandbox at {state.root}. Start one: {command('up', state)}")
    if state.supervisor() is None:
        click.echo(f"The sandbox is not running. Start it: {command('up', state)}", err=True)
    click.echo(f"export KUBECONFIG={shlex.quote(str(state.kubeconfig))}")
    click.echo(f"export PATH={shlex.quote(str(state.bin))}:$PATH")
    click.echo(f"export {STATE_VARIABLE}={shlex.quote(str(state.root))}")
    if listen := venue_address(state):
        click.echo(f"export TRADINGBOT_BINANCE_REST_URL={rest_url(listen)}")
        click.echo(f"export TRADINGBOT_BINANCE_STREAM_URL={stream_url(listen)}")
        click.echo(f"export TRADINGBOT_BINANCE_ACCOUNT_URL={account_url(listen)}")
        click.echo(f"export TRADINGBOT_BINANCE_KEYS={shlex.quote(str(keys_of(state.root, VENUE_BINANCE)))}")


@main.command()
@kubernetes_option
@click.option(
    "--chart", is_flag=True, help="Also what checks the chart: pinned Helm 3 and 4, helm-unittest, kubeconform."
)
def tools(kubernetes: str, *, chart: bool) -> None:
    """Find or build the control plane's programs.

    Prints where they are. They are looked for in KUBEBUILDER_ASSETS, on PATH (kubectl and helm) and in the cache
    folder, else they are built from pinned sources.
    """
    search = Search.here(kubernetes=kubernetes)
    with build_progress() as progress:
        found = provide_binaries(search, progress).as_mapping()
        for_chart = provide_chart_tools(search, progress) if chart else {}
    for name, path in dict.fromkeys([*found.items(), *for_chart.items()]):
        click.echo(f"{name:24} {path}")


@main.command(hidden=True)
@state_option
@click.option("--options", required=True)
@click.pass_context
def supervise(ctx: click.Context, state: StateFolder, options: str) -> None:
    """The detached supervisor that `up` starts."""
    configure_log()
    try:
        Supervisor(state, Options.from_json(json.loads(options))).run()
    except StateInUse as error:
        click.echo(str(error), err=True)
        ctx.exit(client.LOCKED_EXIT)


def to_market(market: str) -> str:
    """A recording by its absolute path: the simulator runs in another folder."""
    if market == SYNTHETIC:
        return market
    recording = Path(market).absolute()
    if not recording.is_file():
        raise SandboxError(f"--market {market}: no such file. Give the path of a recording, or `{SYNTHETIC}`.")
    return str(recording)


def join_running(state: StateFolder, asked: Mapping[str, Any]) -> None:
    """A sandbox runs, or is just being started by somebody else."""
    running = client.options_of(state)
    if running is not None and (contradictions := running.contradictions(asked)):
        raise StateRefused(
            f"the sandbox runs otherwise ({'; '.join(contradictions)}). Stop it first: {command('down', state)}"
        )
    client.wait_ready(state, process=None, on_status=Announcer(click.echo, known=state.status()))
    click.echo(f"The sandbox is already running.\n\n{hints(state)}")


def venue_address(state: StateFolder) -> str | None:
    options, port = client.options_of(state), state.ports().get(VENUE_BINANCE)
    return f"127.0.0.1:{port}" if port is not None and options is not None and options.venue else None


def command(name: str, state: StateFolder) -> str:
    """How to call us for this state folder."""
    if state.root == Path(os.environ.get(STATE_VARIABLE) or default_state()).absolute():
        return f"tradingbot-sandbox {name}"
    return f"tradingbot-sandbox {name} --state {shlex.quote(str(state.root))}"


def hints(state: StateFolder) -> str:
    lines = [f"  kubeconfig  {state.kubeconfig}"]
    if listen := venue_address(state):
        lines.append(f"  Binance     {rest_url(listen)}  {stream_url(listen)}")
        lines.append(f"  its keys    {keys_of(state.root, VENUE_BINANCE)}")
    lines += ["", "Try:", f'  eval "$({command("env", state)})"', "  kubectl get nodes,pods -A"]
    lines += [f"  {command('status', state)}", f"  {command('down', state)}"]
    return "\n".join(lines)
