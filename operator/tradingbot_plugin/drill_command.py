"""SHELL. The command `drill`: which bots, one after the other, and what is printed of them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from tradingbot_api.spec import StopAction
from tradingbot_plugin import table
from tradingbot_plugin.drill import Drill, DrillReport, Step
from tradingbot_plugin.errors import ApiError, NotFound, Refused
from tradingbot_plugin.kill import Wish
from tradingbot_plugin.kube import KubeApi
from tradingbot_plugin.options import (
    Invocation,
    Scope,
    action_option,
    all_bots_option,
    all_namespaces_option,
    check_namespace,
    connection_options,
    name_argument,
    no_halt_option,
    output_option,
    print_json,
    say,
    selector_option,
    split_values,
    timeout_option,
    yes_option,
)
from tradingbot_plugin.proof import FAILED, NOT_PROVED, OK, worst
from tradingbot_plugin.view import Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class Drilled:
    """What became of one bot."""

    ref: Ref
    report: DrillReport | None = None
    """None: it was not drilled; nothing of it was changed, unless it was interrupted."""
    why_not: str = ""
    exit_code: int = OK
    """OK of a bot that was left out counts for nothing."""
    is_interrupted: bool = False
    """By Ctrl-C, in whatever step."""

    @property
    def is_left_stopped(self) -> bool:
        """For all that is known."""
        return self.is_interrupted or (
            self.report is not None
            and any(each.step is Step.PATCH_ACCEPTED for each in self.report.steps)
            and all(each.step is not Step.RELEASED for each in self.report.steps)
        )

    def to_json(self) -> dict[str, Any]:
        if self.report is not None:
            return self.report.to_json()
        return {"namespace": self.ref.namespace, "name": self.ref.name, "skipped": True, "message": self.why_not}


def drill_each(
    refs: Sequence[Ref], run: Callable[[Ref], DrillReport], *, are_named: bool, is_ending: Callable[[], bool]
) -> Iterator[Drilled]:
    """A bot that was found and may not be drilled is left out; of one that was named that is a failure. Whatever leaves
    one bot stopped would most likely leave the next one stopped as well: then no further one is begun."""
    stopped: Ref | None = None
    for ref in refs:
        if stopped is not None:
            done = Drilled(ref=ref, why_not=f"not begun, because {stopped} was left stopped")
        elif is_ending():
            done = Drilled(ref=ref, why_not="not begun: this program was told to end", exit_code=FAILED)
        else:
            done = _drill_one(ref, run, failure=FAILED if are_named else OK)
        stopped = ref if done.is_left_stopped else stopped
        yield done


def _drill_one(ref: Ref, run: Callable[[Ref], DrillReport], *, failure: int) -> Drilled:
    try:
        report = run(ref)
    except NotFound:
        return Drilled(ref=ref, why_not=f"there is no bot {ref}", exit_code=failure)
    except Refused as error:
        return Drilled(ref=ref, why_not=str(error), exit_code=failure)
    except ApiError as error:
        return Drilled(ref=ref, why_not=str(error), exit_code=FAILED)
    except KeyboardInterrupt:
        why_not = "interrupted, and perhaps left stopped: look at it, then re-arm it yourself"
        return Drilled(ref=ref, why_not=why_not, exit_code=NOT_PROVED, is_interrupted=True)
    return Drilled(ref=ref, report=report, exit_code=report.exit_code)


@contextmanager
def _noted_end() -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM has come: the bot in hand is drilled to its end, else it would be left stopped."""
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))  # noqa: ARG005  signal's form
    try:
        yield lambda: bool(seen)
    finally:
        signal.signal(signal.SIGTERM, before)


@click.command()
@name_argument(many=True)
@selector_option
@all_bots_option
@all_namespaces_option
@click.option("--namespaces", multiple=True, metavar="A,B", help="With --selector or --all: bots of these namespaces.")
@action_option("What the stop does; else what the bot's spec says.")
@no_halt_option
@timeout_option
@yes_option
@output_option
@connection_options
@click.pass_obj
def drill(
    invocation: Invocation, *, names: Sequence[str], selector: str, all_bots: bool, all_namespaces: bool,
    namespaces: Sequence[str], action: StopAction | None, no_halt: bool, timeout: float, yes: bool, output: str,
) -> int:  # fmt: skip
    """Stop bots that risk no money, measure each step, re-arm them: one after the other.

    Only Paper bots, or those of network Sandbox or Testnet, and only while they are Active. Of --selector and --all the
    others are left out, and said. Where a stop is not proved or not released, that bot is left stopped and no further
    one is begun. Exit code 0: at least one, and each that was begun was stopped, released, and Active again.

    \b
    kubectl tradingbot drill btc-paper
    kubectl tradingbot drill btc-paper -o json
    kubectl tradingbot drill --all --namespaces desk-a,desk-b --yes
    """
    scope = Scope(names=names, selector=selector, all_bots=all_bots, all_namespaces=all_namespaces)
    if not (names or selector or all_bots):
        raise Refused("which bots? Name them, or give --selector, or --all")
    wish = Wish(action=action, reason="", makes_halt=not no_halt, timeout_seconds=timeout)
    with invocation.api() as kube:
        refs = _find(scope, kube, invocation.namespace, namespaces)
        if not refs:
            raise Refused("no bot matches; nothing was drilled")
        if not names and not yes:
            say("\n".join(f"  {ref}" for ref in refs))
            if not invocation.ask(f"Stop and re-arm those of these {len(refs)} bots that risk no money?"):
                raise Refused("nothing was drilled")
        one = Drill(kube, invocation.clock, say)
        done: list[Drilled] = []
        with _noted_end() as is_ending:
            for each in drill_each(refs, lambda ref: one.run(ref, wish), are_named=bool(names), is_ending=is_ending):
                done.append(each)
                _tell(each)
    _print(done, is_list=len(names) != 1, output=output)
    if all(each.report is None and not each.is_interrupted for each in done):
        say("error: no bot was drilled")
        return FAILED
    return worst(each.exit_code for each in done)


def _find(scope: Scope, kube: KubeApi, namespace: str, namespaces: Sequence[str]) -> list[Ref]:
    if not namespaces:
        return scope.find(kube, namespace)
    if scope.names or scope.all_namespaces:
        raise Refused("--namespaces goes with --selector or --all, and without --all-namespaces")
    wanted = split_values(namespaces)
    if not wanted:
        raise Refused("--namespaces is empty: name what you mean, or leave it out")
    wanted += [namespace] if namespace else []
    return [ref for each in dict.fromkeys(wanted) for ref in scope.find(kube, check_namespace(each))]


def _tell(done: Drilled) -> None:
    report = done.report
    if report is None:
        say(f"{done.ref}: {'error: ' if done.exit_code else 'left out: '}{done.why_not}")
        return
    for note in report.notes:
        say(f"{done.ref}: {note}")
    say(f"{done.ref}: drill passed" if report.exit_code == OK else f"{done.ref}: drill NOT PASSED: {report.message}")


def _print(done: Sequence[Drilled], *, is_list: bool, output: str) -> None:
    if output == "json":
        if is_list:
            print_json([each.to_json() for each in done])
        elif done[0].report is not None:
            print_json(done[0].to_json())
    elif is_list:
        rows = [table.drill_row(str(each.ref), each.report, each.why_not) for each in done]
        click.echo(table.format_table(table.DRILL_COLUMNS, rows))
    elif done[0].report is not None:
        click.echo(table.drill_table(done[0].report))
