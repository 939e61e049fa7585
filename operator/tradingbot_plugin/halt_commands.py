"""SHELL. `halt` and `resume`: TradingHalts for many bots at once."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import timedelta

import click

from tradingbot_api.spec import StopAction
from tradingbot_plugin import halts
from tradingbot_plugin.errors import AlreadyThere, Forbidden, NotFound, Refused
from tradingbot_plugin.kube import KubeApi
from tradingbot_plugin.options import (
    Duration,
    Invocation,
    action_option,
    connection_options,
    output_option,
    split_values,
    yes_option,
)
from tradingbot_plugin.view import BotView, read_bot

_HALT_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def _bots(kube: KubeApi) -> list[BotView] | None:
    """None: they may not be listed."""
    try:
        return sorted((read_bot(each) for each in kube.list_bots(None).items), key=lambda bot: bot.ref)
    except Forbidden:
        return None


@click.command()
@click.argument("name", default="", metavar="[NAME]")
@click.option("--reason", required=True, help="Why; it stands in the status of each bot that is stopped.")
@click.option("--namespaces", multiple=True, metavar="A,B", help="Bots of these namespaces; -n says the same.")
@click.option("--bots", multiple=True, metavar="A,B", help="Bots of these names.")
@click.option("-l", "--selector", metavar="KEY=VALUE", help="Bots with these labels.")
@action_option("What each stopped bot does.  [default: CancelOrders]")
@click.option("--expires-in", type=Duration(), metavar="DURATION", help="No further bot is matched after so long.")
@yes_option
@output_option
@connection_options
@click.pass_obj
def halt(
    invocation: Invocation, *, name: str, reason: str, namespaces: Sequence[str], bots: Sequence[str],
    selector: str | None, action: StopAction | None, expires_in: float | None, yes: bool, output: str,
) -> int:  # fmt: skip
    """Make a TradingHalt: stops all bots that it matches, and those that are made while it is there.

    What you leave out matches everything; without any of --namespaces, --bots and --selector it is every bot of the
    cluster. It waits for no proof: see `status -A`. Its end, by `resume` or by --expires-in, releases no bot.

    \b
    kubectl tradingbot halt --reason "exchange incident"
    kubectl tradingbot halt desk-a-night --namespaces desk-a --expires-in 8h --reason "nobody on duty"
    """
    if not reason.strip():
        raise Refused("--reason is empty: whoever finds these bots stopped wants to know why")
    narrowed = {"--namespaces": (namespaces, split_values(namespaces)), "--bots": (bots, split_values(bots))}
    if invocation.given.get("namespace") == "":
        narrowed["--namespace"] = ([""], [])
    narrowed["--selector"] = (() if selector is None else (selector,), split_values([selector or ""]))
    for option, (given, meant) in narrowed.items():
        if given and not meant:
            raise Refused(
                f"{option} is empty, and without it every bot would match: name what you mean, or leave it out"
            )
    if name and not _HALT_NAME.fullmatch(name):
        raise Refused(f"{name!r} is not the name of a halt: small letters, digits, dots and hyphens")
    if expires_in is not None and expires_in <= 0:
        raise Refused("--expires-in must be longer than 0s")
    now = invocation.clock.now()
    manifest = halts.build_halt(
        name,
        namespaces=split_values([*namespaces, invocation.namespace]),
        bots=split_values(bots),
        labels=halts.parse_labels(selector or ""),
        action=action or StopAction.CANCEL_ORDERS,
        reason=reason,
        expires_at=now + timedelta(seconds=expires_in) if expires_in is not None else None,
    )
    is_everything = not (manifest["spec"]["namespaces"] or manifest["spec"]["bots"] or "selector" in manifest["spec"])
    with invocation.api() as kube:
        if is_everything and not yes and not invocation.ask("Stop EVERY bot of the cluster?"):
            raise Refused("nothing was stopped")
        try:
            made = kube.create_halt(manifest)
        except AlreadyThere as error:
            raise Refused(f"there is a TradingHalt {name} already: choose another name, or none") from error
        found = _bots(kube)
    matched = None if found is None else [bot for bot in found if halts.matches(made, bot, now)]
    if output == "json":
        refs = None if matched is None else [{"namespace": b.ref.namespace, "name": b.ref.name} for b in matched]
        expires = manifest["spec"].get("expiresAt")
        click.echo(json.dumps({"halt": halts.name_of(made), "expiresAt": expires, "matches": refs}, indent=2))
        return 0
    click.echo(f"TradingHalt/{halts.name_of(made)} made")
    if "expiresAt" in manifest["spec"]:
        click.echo(f"No further bot is matched after {manifest['spec']['expiresAt']}, by this machine's clock.")
    if matched is None:
        click.echo("Which bots it matches you may not list.")
    else:
        click.echo(f"It matches {len(matched)} bots now: {', '.join(str(b.ref) for b in matched) or 'none'}")
    click.echo("See it proved: kubectl tradingbot status -A -w")
    return 0


@click.command()
@click.argument("name", metavar="HALT")
@output_option
@connection_options
@click.pass_obj
def resume(invocation: Invocation, *, name: str, output: str) -> int:
    """Delete a TradingHalt. Bots that it stopped stay stopped: each is re-armed by its own `rearm`.

    \b
    kubectl tradingbot resume desk-a-night
    """
    if not _HALT_NAME.fullmatch(name):
        raise Refused(f"{name!r} is not the name of a halt; kubectl get tradinghalts lists them")
    with invocation.api() as kube:
        try:
            found = kube.get_halt(name)
            bots = _bots(kube)
            kube.delete_halt(name, halts.uid_of(found))
        except NotFound as error:
            raise Refused(f"there is no TradingHalt {name}; kubectl get tradinghalts lists them") from error
    latched = None if bots is None else [bot for bot in bots if _is_stopped_by(found, bot, invocation)]
    if output == "json":
        rows = None
        if latched is not None:
            rows = [{"namespace": b.ref.namespace, "name": b.ref.name, "latchId": b.latch.id} for b in latched]
        click.echo(json.dumps({"halt": name, "deleted": True, "stillLatched": rows}, indent=2))
        return 0
    click.echo(f"TradingHalt/{name} deleted. No latch was released.")
    if latched is None:
        click.echo("Which bots stay stopped you may not list.")
    elif latched:
        click.echo(f"{len(latched)} bots stay stopped. To let one trade again:")
        for bot in latched:
            click.echo(f"  kubectl tradingbot rearm -n {bot.ref.namespace} {bot.ref.name} --id {bot.latch.id}")
    else:
        click.echo("No bot is latched by it.")
    return 0


def _is_stopped_by(halt: object, bot: BotView, invocation: Invocation) -> bool:
    """By its name among those who asked, or because it matches: the bot may have been latched before it."""
    latch, source = bot.latch, f"TradingHalt/{halts.name_of(halt)}"
    named = latch.source == source or any(each.source == source for each in latch.sources)
    return latch.is_set and (named or halts.matches(halt, bot, invocation.clock.now()))
