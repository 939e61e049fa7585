"""SHELL. The commands of `kubectl tradingbot`: they ask, print, and leave the work to the modules beside this one."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click
from click.shell_completion import get_completion_class

from tradingbot_api.spec import StopAction
from tradingbot_plugin import table
from tradingbot_plugin.clock import SystemClock
from tradingbot_plugin.drill_command import drill
from tradingbot_plugin.errors import NotFound, PluginError, Refused
from tradingbot_plugin.halt_commands import halt, resume
from tradingbot_plugin.kill import Kill, Target, Wish
from tradingbot_plugin.kube import connect
from tradingbot_plugin.options import (
    Invocation,
    Scope,
    action_option,
    all_bots_option,
    all_namespaces_option,
    check_name,
    connection_options,
    name_argument,
    no_halt_option,
    output_option,
    print_json,
    say,
    selector_option,
    timeout_option,
    yes_option,
)
from tradingbot_plugin.proof import FAILED, NOT_FLAT, NOT_PROVED, OK, Outcome, exit_code
from tradingbot_plugin.rearm import Rearm
from tradingbot_plugin.status import Watcher, find_bots
from tradingbot_plugin.view import BotView, LatchView, Ref

PROGRAM, COMPLETE_VARIABLE = "kubectl-tradingbot", "_KUBECTL_TRADINGBOT_COMPLETE"
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(context_settings=_SETTINGS)
@connection_options
def cli() -> None:
    """Stop trading bots, and see it proved.

    It talks to the API server alone: a kill works while the operator is down, and what a bot's own trader reports is
    the only thing that counts as proof.

    \b
    Exit codes: 0  done and proved
                1  refused: wrong usage, or the API server said no
                2  stopped, but not flat where Flatten was asked for
                3  not proved in time
    """


def run(arguments: Sequence[str], invocation: Invocation) -> int:
    """The exit code; everything that is expected to fail is one line on stderr."""
    try:
        code = cli.main(
            list(arguments), prog_name="kubectl tradingbot", complete_var=COMPLETE_VARIABLE, standalone_mode=False,
            obj=invocation,
        )  # fmt: skip
    except click.exceptions.Abort:
        click.echo("Nothing more was done. Where a question was the end of it: --yes answers it.", err=True)
        return FAILED
    except click.ClickException as error:
        error.show()
        return FAILED  # click's own 2 would mean "stopped, but not flat"
    except PluginError as error:
        click.echo(f"error: {error}", err=True)
        return FAILED
    return code if isinstance(code, int) else OK


def main() -> None:
    sys.exit(run(sys.argv[1:], Invocation(connect, SystemClock())))


reason_option = click.option("--reason", default="", help="Why; it stands in status, halt and audit.")


@cli.command()
@name_argument(many=True)
@selector_option
@all_namespaces_option
@click.option("-w", "--watch", is_flag=True, help="Go on, with a line for each change.")
@output_option
@connection_options
@click.pass_obj
def status(
    invocation: Invocation, *, names: Sequence[str], selector: str, all_namespaces: bool, watch: bool, output: str
) -> int:
    """One line a bot: what is asked and granted, what it does, and how its stop is.

    MODE and STAGE are asked/granted. STOP is the latch that the trader reports: Stopping or Stopped; with a question
    mark while it is not acknowledged; Asked while nobody has latched it. HEARTBEAT is the age of the report by this
    machine's clock: older than about 30 s, nothing of the line is proved.

    \b
    kubectl tradingbot status
    kubectl tradingbot status btc-trend -w
    kubectl tradingbot status -A -o json | jq '.[] | select(.stop)'
    """
    scope = Scope(names=names, selector=selector, all_namespaces=all_namespaces)
    scope.check()
    with invocation.api() as kube:
        namespace = None if all_namespaces else invocation.namespace or kube.namespace
        for name in names:
            check_name(name)
        if watch:
            Watcher(kube, invocation.clock, click.echo, is_json=output == "json").run(namespace, selector, names)
        bots, missing = find_bots(kube, namespace, selector, names)
    now = invocation.clock.now()
    if output == "json":
        print_json([table.status_json(bot, now) for bot in bots])
    elif bots:
        rows = [table.status_row(bot, now) for bot in bots]
        columns: Sequence[str] = table.STATUS_COLUMNS
        if all_namespaces:
            columns = ("NAMESPACE", *columns)
            rows = [[bot.ref.namespace, *row] for bot, row in zip(bots, rows, strict=True)]
        click.echo(table.format_table(columns, rows))
    elif not names:
        say("No bots found.")
    for ref in missing:
        say(f"error: there is no bot {ref}")
    return FAILED if missing else OK


@cli.command()
@name_argument(many=True)
@selector_option
@all_bots_option
@all_namespaces_option
@action_option("What happens besides cancelling resting entries; else what each bot's spec says.")
@reason_option
@no_halt_option
@timeout_option
@yes_option
@output_option
@connection_options
@click.pass_obj
def kill(
    invocation: Invocation, *, names: Sequence[str], selector: str, all_bots: bool, all_namespaces: bool,
    action: StopAction | None, reason: str, no_halt: bool, timeout: float, yes: bool, output: str,
) -> int:  # fmt: skip
    """Stop bots, and wait until each stop is proved.

    Each bot is patched (spec.killSwitch), and gets a TradingHalt of its own where you may make one: a GitOps sync can
    take the patch back, never the halt. Then the trader's own latch is waited for. Ctrl-C ends the waiting, not the
    stop. It stays stopped until `rearm`.

    \b
    ReduceOnly    no new risk; exits stay
    CancelOrders  all orders are cancelled but stop-losses
    Flatten       CancelOrders, and everything is sold

    \b
    kubectl tradingbot kill btc-trend --reason "odd fills"
    kubectl tradingbot kill -n desk-a --all --action Flatten --timeout 5m
    kubectl tradingbot kill -A -l venue=binance --yes -o json
    """
    scope = Scope(names=names, selector=selector, all_bots=all_bots, all_namespaces=all_namespaces)
    if not (names or selector or all_bots):
        raise Refused("which bots? Name them, or give --selector, or --all")
    wish = Wish(action=action, reason=reason, makes_halt=not no_halt, timeout_seconds=timeout)
    with invocation.api() as kube:
        refs = scope.find(kube, invocation.namespace)
        if not refs:
            raise Refused("no bot matches; nothing was stopped")
        if not names and not yes:
            say("\n".join(f"  {ref}" for ref in refs))
            if not invocation.ask(f"Stop these {len(refs)} bots ({action or 'each as its spec says'})?"):
                raise Refused("nothing was stopped")
        targets = Kill(kube, invocation.clock, say).run(refs, wish)
    code = exit_code(target.proof.outcome for target in targets)
    if output == "json":
        print_json({"exitCode": code, "bots": [table.kill_json(target) for target in targets]})
    else:
        click.echo(table.format_table(table.KILL_COLUMNS, [table.kill_row(target) for target in targets]))
    _advise(code, targets)
    return code


def _advise(code: int, targets: Sequence[Target]) -> None:
    """What a person does next, at three in the morning."""
    if code == NOT_PROVED:
        say(
            "NOT PROVED for all. The stop stays asked for: a trader that comes back takes it over before it trades.\n"
            "One that runs and is cut off: signal it (SIGUSR1), or cancel at the venue by tradingbot-trader killall."
        )
    elif code == NOT_FLAT and all(
        each.proof.has_given_up for each in targets if each.proof.outcome is Outcome.NOT_FLAT
    ):
        say(
            "Stopped, NOT FLAT. Nobody buys within the price collar, and its trader has given up: see DETAIL. Sell by\n"
            "hand (tradingbot-trader killall --sell), or re-arm and kill again."
        )
    elif code == NOT_FLAT:
        say("Stopped, NOT FLAT. Its trader goes on selling within the price collar; run the same again to wait on.")
    elif code == FAILED and any(target.asked is None for target in targets):
        say("Some bots could not even be asked to stop: see DETAIL. Cancel at the venue: tradingbot-trader killall.")


@cli.command()
@name_argument(many=False)
@click.option("--id", "latch_id", default="", metavar="ID", help="The latch to release; else the one that is shown.")
@timeout_option
@yes_option
@output_option
@connection_options
@click.pass_obj
def rearm(invocation: Invocation, *, name: str, latch_id: str, timeout: float, yes: bool, output: str) -> int:
    """Release the latch of one bot, so that it trades again.

    Switches the bot's own switch off, names the latch, deletes the halts that `kill` made for this bot, and waits until
    its trader has released it. While somebody else's TradingHalt is on, nothing is changed. You need the verb `rearm`.

    \b
    kubectl tradingbot rearm btc-trend
    kubectl tradingbot rearm btc-trend --id 0b6e…
    """
    with invocation.api() as kube:
        ref = Ref(invocation.namespace or kube.namespace, check_name(name))

        def is_wanted(bot: BotView) -> bool:
            return (
                bool(latch_id)
                or yes
                or invocation.ask(f"{_describe_latch(bot.latch)}\nRelease it, so that {ref} trades again?")
            )

        try:
            release = Rearm(kube, invocation.clock, say).run(
                ref, latch_id=latch_id, is_wanted=is_wanted, timeout_seconds=timeout
            )
        except NotFound as error:
            raise Refused(f"there is no bot {ref}") from error
    if output == "json":
        print_json(table.release_json(release))
    elif release.is_released:
        halts = f"; deleted {', '.join(release.deleted_halts)}" if release.deleted_halts else ""
        click.echo(f"{ref}: released {release.latch.id}{halts}")
    if not release.is_released:
        say(f"{ref}: NOT RELEASED: {release.why_not}")
    return release.exit_code


def _describe_latch(latch: LatchView) -> str:
    sources = [f"  {each.source}{' (still on)' if each.is_active else ''}: {each.reason}" for each in latch.sources]
    head = (
        f"{latch.state} since {latch.engaged_at or '?'}, {latch.action or '?'} by {latch.source or '?'}: {latch.reason}"
    )
    held = f"  still held: {', '.join(latch.positions_left)}" if latch.positions_left else ""
    return "\n".join(filter(None, [head, *sources, held, f"  latch {latch.id}"]))


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion for `kubectl-tradingbot`.

    `kubectl tradingbot <TAB>` itself needs none of this: kubectl asks `kubectl_complete-tradingbot`, which is installed
    beside this program, where kubectl's own completion is on.

    \b
    source <(kubectl tradingbot completion bash)
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise Refused(f"there is no completion for {shell}")
    click.echo(kind(cli, {}, PROGRAM, COMPLETE_VARIABLE).source())


cli.add_command(drill)
cli.add_command(halt)
cli.add_command(resume)
