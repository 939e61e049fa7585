"""From a stop until its first cancel is on the wire, with 200 polls of the account in the queue and with none. SHELL.

The live book against the simulator; a relay in another process sees the bytes. The polls are signed questions through
the gateway's own lanes, and have begun to be answered when the stop comes: eight are under way, the others wait.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from decimal import Decimal

from bench.composed import SYMBOL, Composed, trading, until, write_keys
from bench.figure import Figure, figure_of_pairs, percentile
from bench.setting import Setting
from bench.wire import WireProcess, wire_process
from tradingbot_api.conditions import TradingState
from tradingbot_sandbox.venues.process import running_venue
from tradingbot_trader.orders.budget import Counts, RateBudget, RateLimit
from tradingbot_trader.orders.gateway import LiveGateway
from tradingbot_trader.orders.order import BookName, OrderState
from tradingbot_trader.orders.snapshot import OrderSnapshot
from tradingbot_trader.risk.engine import Decision
from tradingbot_trader.strategy.base import Target
from tradingbot_trader.venues.account import AccountPort

PAIRS = 100
WARM_UP = 3
POLLS = 200
ANSWERED = 8
"""So many polls have been answered when the stop comes."""
POLL_WEIGHT = 4
GOAL = 2.0
SAY_EVERY = 20
WEIGHT_LIMIT = 1_000_000
"""A minute's, at both ends: the polls wait for their places, and not for the next minute."""
LIMITS = (RateLimit(Counts.WEIGHT, 60, WEIGHT_LIMIT), RateLimit(Counts.ORDERS, 10, 10_000))
RESTING = Target(Decimal(1), limit_offset_percent=Decimal("1.5"), reason="bench")
CANCEL = "DELETE /api/v3/order"


@dataclass(slots=True)
class Polls:
    """Signed questions, as many as are asked for at once."""

    gateway: LiveGateway
    client_order_id: str
    begun: int = 0
    answered: int = 0
    has_answers: asyncio.Event = field(default_factory=asyncio.Event)
    """ANSWERED of them were answered."""
    tasks: list[asyncio.Task[object]] = field(default_factory=list)
    _begun: set[asyncio.Task[object]] = field(default_factory=set)

    def ask(self, times: int) -> None:
        self.tasks = [asyncio.create_task(self._ask()) for _ in range(times)]

    @property
    def waiting(self) -> int:
        return len(self.tasks) - self.begun

    async def end(self) -> None:
        """Those that have left are waited for: a connection that is cut would slow the next sample down."""
        for task in self.tasks:
            if task not in self._begun:
                task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _ask(self) -> object:
        async def find(account: AccountPort) -> OrderSnapshot:
            self.begun += 1
            if task := asyncio.current_task():
                self._begun.add(task)
            found = await account.find_order(SYMBOL, self.client_order_id)
            self.answered += 1
            if self.answered == ANSWERED:
                self.has_answers.set()
            return found

        return await self.gateway.ask(find, weight=POLL_WEIGHT)


@dataclass(slots=True)
class Stops:
    """What was measured, in seconds."""

    empty: list[float] = field(default_factory=list)
    queued: list[float] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)
    """How many polls waited when each stop of `queued` came."""
    dials: Counter[int] = field(default_factory=Counter)
    """By how many polls were asked for: cancels that needed a new connection."""
    commits: list[float] = field(default_factory=list)
    """Seconds of the disk within each of `queued`."""


async def measure(setting: Setting) -> list[Figure]:
    stops = Stops()
    with running_venue("binance", [f"--weight-limit={WEIGHT_LIMIT}"]) as venue:
        keys = write_keys(venue, setting.folder / "keys")
        async with (
            wire_process(venue.address) as wire,
            trading(
                replace(venue, address=wire.address),
                setting.folder,
                book=BookName.LIVE,
                keys_dir=keys,
                budget=RateBudget(LIMITS),
            ) as composed,
        ):
            for number in range(WARM_UP + PAIRS):
                polls = (POLLS, 0) if number % 2 else (0, POLLS)
                for each in polls:
                    await _stop(composed, wire, stops, polls=each)
                if number % SAY_EVERY == 0:
                    setting.say(f"cancel-lane: {number} of {WARM_UP + PAIRS} pairs")
    return [
        figure_of_pairs(
            "cancel-lane",
            f"stop -> first cancel on the wire, {POLLS} polls queued",
            ours=stops.queued[WARM_UP:],
            reference=stops.empty[WARM_UP:],
            names=("queued", "empty"),
            relative_to="the same with an empty queue",
            goal=GOAL,
            detail={
                "queued_in_commits_p50_ms": round(percentile(stops.commits, 50) * 1e3, 3),
                "queued_in_commits_p99_ms": round(percentile(stops.commits, 99) * 1e3, 3),
                "polls_waiting_least": min(stops.waiting),
                "queued_needed_new_connection": stops.dials[POLLS],
                "empty_needed_new_connection": stops.dials[0],
            },
        )
    ]


async def _stop(composed: Composed, wire: WireProcess, stops: Stops, *, polls: int) -> None:
    """An entry rests; a stop takes it away; a re-arm, and the account agrees again."""
    made, gateway = composed.trading, composed.trading.execution.gateway
    if not isinstance(gateway, LiveGateway):
        raise TypeError("only a live book has a queue")
    decision = made.desk.pursue(SYMBOL, RESTING)
    if not isinstance(decision, Decision) or not decision.is_approved:
        raise RuntimeError(f"the entry was not approved: {decision}")
    order_id = decision.intent.client_order_id
    await until("the entry at the venue", lambda: _state(composed, order_id) is OrderState.OPEN)
    queue = Polls(gateway, order_id)
    queue.ask(polls)
    if polls:
        await queue.has_answers.wait()
        stops.waiting.append(queue.waiting)
    composed.disk.commits_seconds.clear()
    began_ns = time.monotonic_ns()
    made.stop_by_signal()
    in_commits = sum(composed.disk.commits_seconds)
    seen = await wire.first(CANCEL, after_ns=began_ns)
    (stops.queued if polls else stops.empty).append((seen.at_ns - began_ns) / 1e9)
    stops.dials[polls] += seen.is_new
    if polls:
        stops.commits.append(in_commits)
    await queue.end()
    await until("the end of the order", lambda: not made.desk.open_orders())
    latch = made.stop.latch
    if latch is None:
        raise RuntimeError("nothing was latched")
    composed.kube.edit(permit=False, killSwitch={"rearm": latch.id})
    made.look(composed.kube.bot, [])
    await until("Active again", lambda: made.verdict.state is TradingState.ACTIVE)


def _state(composed: Composed, order_id: str) -> OrderState | None:
    order = composed.trading.desk.find(order_id)
    return None if order is None else order.state
