"""SHELL. `kubectl_complete-tradingbot`: kubectl asks it for completions of `kubectl tradingbot ...`.

The answer is cobra's: a candidate a line, a tab before its explanation, and a last line with a directive.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click
from click.shell_completion import ShellComplete

from tradingbot_plugin.cli import COMPLETE_VARIABLE, PROGRAM, cli
from tradingbot_plugin.clock import SystemClock
from tradingbot_plugin.kube import connect
from tradingbot_plugin.options import Invocation

NO_FILES = ":4"
"""cobra's ShellCompDirectiveNoFileComp."""


def complete(words: Sequence[str], invocation: Invocation) -> list[str]:
    """`words`: what stands after `kubectl tradingbot`; the last is what is being typed, perhaps empty."""
    *before, incomplete = words or [""]
    found = ShellComplete(cli, {"obj": invocation}, PROGRAM, COMPLETE_VARIABLE).get_completions(before, incomplete)
    lines = [f"{each.value}\t{each.help}" if each.help else str(each.value) for each in found if each.type == "plain"]
    return [*lines, NO_FILES]


def main() -> None:
    click.echo("\n".join(complete(sys.argv[1:], Invocation(connect, SystemClock()))))
