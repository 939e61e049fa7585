"""Where the matrix of stops is played: a sandbox with lines that can be cut and a strategy that is prompted.

`play_cells` is all that a test needs: what came of each cell.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from support.live_bots import Live
from support.simulation.mutant import Edit
from support.stack import SYSTEM, Stack, install, kill_operator, started
from support.stop_matrix.bots import BALANCES, Bot, Common, pids_of
from support.stop_matrix.cells import Cell, at_the_clock, in_halves, without_api, without_operator
from support.stop_matrix.image import build_image
from support.stop_matrix.lines import ACCOUNT, MARKET, REST, Lines
from support.stop_matrix.plays import play
from support.stop_matrix.waves import Results, Waves, bots_for

MOST_BOTS = 10
"""Side by side; more of them would wait for the processor instead of for each other."""
START_SECONDS = 240.0
"""For all of them together: each is a paper pod first, then a live one."""
SKEW_MS = 5_000
"""Five times the default of risk.maxClockSkew, and beyond recvWindow."""


def play_cells(folder: Path, cells: Collection[Cell], *, edits: Iterable[Edit] = ()) -> Results:
    """`edits`: of the trader, for a mutant."""
    with open_stage(folder, bots_for(cells, most=MOST_BOTS), edits) as (stack, bots):
        waves = Waves(bots, play, folder / "results.log")
        waves.play_local(cells)
        # From here on the operator is dead for all that is left, the waves of the clock and of the API server included.
        with without_an_operator(stack) as kill:
            waves.play_wave(without_operator(cells), {"struck": kill})
            kill()
            with ExitStack() as skewed:
                waves.play_wave(at_the_clock(cells), _acts(skewed, lambda: skewed.enter_context(_skew(stack))))
            for some in in_halves(without_api(cells)):
                with ExitStack() as gone:
                    waves.play_wave(some, _acts(gone, lambda gone=gone: gone.enter_context(stack.api_server_gone(0))))
        return waves.results


def _acts(until_healed: ExitStack, strike: object) -> dict[str, object]:
    return {"struck": strike, "healed": until_healed.close}


@contextlib.contextmanager
def open_stage(folder: Path, count: int, edits: Iterable[Edit] = ()) -> Iterator[tuple[Stack, list[Bot]]]:
    """So many live bots that trade, each with an account of its own."""
    python = build_image(folder / "image", edits)
    wishes = folder / "wishes"
    wishes.mkdir()
    with started(folder, python=python) as (stack, values), contextlib.ExitStack() as lines_closed:
        lines = Lines(stack.venue.address, lambda: pids_of(stack.state))
        lines_closed.callback(lines.close)
        install(stack, _through(lines, values))
        bots = _build_bots(Common(stack, lines, wishes), count)
        for bot in bots:
            lines_closed.callback(bot.close)
        _start(stack, bots)
        yield stack, bots


def _through(lines: Lines, values: dict[str, str]) -> dict[str, str]:
    """The venue's addresses, by our lines."""
    names = {"REST": REST, "STREAM": MARKET, "ACCOUNT": ACCOUNT}
    changed = dict(values)
    for name, line in names.items():
        url = values[f"TRADINGBOT_BINANCE_{name}_URL"]
        scheme, _, rest = url.partition("://")
        changed[f"TRADINGBOT_BINANCE_{name}_URL"] = f"{scheme}://{lines.addresses[line]}/{rest.partition('/')[2]}"
    return changed


def _build_bots(common: Common, count: int) -> list[Bot]:
    stack, desk = common.stack, f"matrix-{uuid.uuid4().hex[:6]}"
    stack.kubectl("create", "namespace", desk)
    bots = []
    for number in range(count):
        uid = stack.venue.open_account(BALANCES)
        live = Live(stack, desk, f"bot-{number}", uid, stack.venue.issue_key(uid))
        stack.put_keys(desk, f"{live.name}-keys", live.keys)
        bots.append(Bot(common, live))
        bots[-1].wish()
    return bots


def _start(stack: Stack, bots: Sequence[Bot]) -> None:
    # A young API server refuses live bots until its policies have found the kind.
    stack.wait("bots can be made", lambda: stack.apply(*(bot.build() for bot in bots)) or True)
    for bot in bots:
        bot.wait("Active", lambda bot=bot: bot.says("Active") and bot.trader["mode"] == "Live", seconds=START_SECONDS)
    for bot in bots:
        bot.begin()


@contextlib.contextmanager
def without_an_operator(stack: Stack) -> Iterator[object]:
    """Gives what kills it; alive again at the end."""
    scale = ("-n", SYSTEM, "scale", "deployment/tradingbot-operator")

    def kill() -> None:
        stack.kubectl(*scale, "--replicas=0")
        kill_operator(stack)
        stack.wait("no operator", lambda: not stack.pods(SYSTEM))

    try:
        yield kill
    finally:
        stack.kubectl(*scale, "--replicas=1")


@contextlib.contextmanager
def _skew(stack: Stack) -> Iterator[None]:
    number = stack.venue.add_fault("clock-skew", milliseconds=SKEW_MS)
    try:
        yield
    finally:
        stack.venue.remove_fault(number)
