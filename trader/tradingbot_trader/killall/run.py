"""SHELL. One run of `killall`: takes the open orders of an account away, sells what was named. cli -> this -> venue.

No Kubernetes, no store, no stream. Orders are cancelled again and again until the venue's own word about each of them,
and two of its lists, say that they are gone, or the time is over. What is meant, and when it is proved, plan.py says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from tradingbot_api.decimal import format_decimal
from tradingbot_trader.clock import Clock
from tradingbot_trader.killall.asker import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Asker, NotNow
from tradingbot_trader.killall.plan import Report, Sale, SaleAsked, Scope, Target, Verdict
from tradingbot_trader.killall.sale import Market, Seller
from tradingbot_trader.orders.gateway import AnswerPolicy, Refusal
from tradingbot_trader.orders.outcome import Outcome
from tradingbot_trader.venues.account import Operation
from tradingbot_trader.venues.killer import KillerPort, RestingOrder

_NS = 1_000_000_000
SETTLE_SECONDS = 5.0
"""Between the two lists that prove that nothing is open: longer than the venue takes a request of a bot of ours for
fresh (recvWindow, 3 s, and a clock that may be 1 s off). What was on its way when we began has arrived by then."""
MAX_IN_FLIGHT = 5
"""Cancels at once: a venue in trouble answers late, and a hundred orders one after the other would take minutes."""
ORDERS_SHARE, SALES_SHARE = 0.6, 0.9
"""Of the time, when something is to be sold: cancels alone until 0.6, sales until 0.9, cancels again after."""
NEWCOMERS = "{} appeared after the first look: somebody still trades with this account. Stop it, or revoke its key"


class CouldNotTry(Exception):  # noqa: N818  named by consequence (STYLE)
    """Not even the first list came. The message is for the person who waits."""


class Killer:
    """`look` comes first; then `quote`, or `kill`, once."""

    def __init__(
        self,
        venue: KillerPort,
        clock: Clock,
        policy: AnswerPolicy,
        scope: Scope,
        *,
        tell: Callable[[str], None],
        stopping: asyncio.Event,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        """`tell` takes lines about the progress. `stopping` ends it early, with a report."""
        self._asker = Asker(venue, clock, policy, stopping)
        self._venue, self._clock, self._scope = venue, clock, scope
        self._tell, self._settle_ns = tell, int(settle_seconds * _NS)
        self._targets: dict[tuple[str, str], Target] = {}
        self._kept: dict[tuple[str, str], RestingOrder] = {}
        self._first: frozenset[tuple[str, str]] | None = None
        """What the first list showed."""
        self._empty_since_ns: int | None = None
        """When the first of the lists was asked for that, up to the last one, showed nothing of the scope."""
        self._listed_ns = 0
        """When the last list that came was asked for."""
        self._told = ""

    async def look(self, seconds: float) -> None:
        """The first list. Raises CouldNotTry."""
        if await self._asker.insist(self._list, self._asker.give(seconds)) is None:
            raise CouldNotTry(self._asker.explain() or "there was no time to ask the venue")

    async def quote(self, asked: SaleAsked, market: Market, seconds: float) -> Sale:
        """What a sale would look like; sells nothing."""
        sale = Sale(asked)
        await Seller(self._asker, market).prepare(sale, self._asker.give(seconds), counts_held=True)
        return sale

    async def kill(self, asked: Sequence[SaleAsked], market: Market, seconds: float) -> Report:
        """Cancels first, then sales, then what is still left of cancels."""
        began_ns, end_ns = self._clock.monotonic_ns(), self._asker.give(seconds)
        orders_until_ns = began_ns + int((end_ns - began_ns) * ORDERS_SHARE)
        sales_until_ns = began_ns + int((end_ns - began_ns) * SALES_SHARE)
        is_proved = await self._cancel_until(orders_until_ns if asked else end_ns)
        seller, sales = Seller(self._asker, market), [Sale(each) for each in asked]
        for number, sale in enumerate(sales):
            now_ns = self._clock.monotonic_ns()
            self._tell(f"selling {format_decimal(sale.asked.quantity_base)} {sale.asked.asset} on {sale.asked.symbol}")
            await seller.sell(sale, now_ns + (sales_until_ns - now_ns) // (len(sales) - number))
        if sales and not is_proved:
            is_proved = await self._cancel_until(end_ns)
        return self.report(sales, is_proved=is_proved)

    def report(self, sales: Sequence[Sale], *, is_proved: bool = False) -> Report:
        """As of now."""
        newcomers = sum(key not in (self._first or ()) for key in self._targets)
        orders = f"{newcomers} open order{'s' if newcomers > 1 else ''}"
        return Report(
            targets=tuple(self._targets.values()),
            kept=tuple(self._kept.values()),
            sales=tuple(sales),
            was_listed=self._first is not None,
            is_proved=is_proved,
            notes=(NEWCOMERS.format(orders),) if newcomers else (),
            problem="" if is_proved else self._asker.explain(),
        )

    async def _cancel_until(self, end_ns: int) -> bool:
        """Whether it is proved that nothing of the scope is open. After a silence a round begins with its cancels."""
        pause_seconds = FIRST_PAUSE_SECONDS
        while not self._asker.is_over(end_ns):
            closed_before = self._count_closed()
            await self._cancel_open()
            try:
                await self._list()
                await self._look_up_vanished()
            except (Refusal, NotNow):
                pass  # what the venue asked for is kept; the next round asks again
            if self._is_proved():
                return True
            self._tell_progress()
            has_moved = self._count_closed() > closed_before
            pause_seconds = FIRST_PAUSE_SECONDS if has_moved else min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)
            if not await self._asker.wait(max(pause_seconds, self._settling_seconds()), end_ns):
                break
        return False

    async def _cancel_open(self) -> None:
        """Each open order of the scope; whole markets at once where all of it is meant."""
        by_symbol: dict[str, list[Target]] = {}
        for target in self._targets.values():
            if target.is_listed:
                by_symbol.setdefault(target.order.symbol, []).append(target)
        room = asyncio.Semaphore(MAX_IN_FLIGHT)

        async def cancel(targets: list[Target]) -> None:
            async with room:
                await self._cancel(targets)

        work = []
        for targets in by_symbol.values():
            # Later rounds go one by one: an order that cannot be cancelled must not keep the others of its market.
            is_fresh = not any(target.attempts for target in targets)
            is_together = self._scope.takes_whole_markets and is_fresh and len(targets) > 1
            work += [cancel(group) for group in ([targets] if is_together else [[each] for each in targets])]
        await asyncio.gather(*work)

    async def _cancel(self, targets: list[Target]) -> None:
        order, is_market = targets[0].order, len(targets) > 1
        call = partial(self._venue.cancel_market, order.symbol) if is_market else partial(self._cancel_one, order)
        try:
            shown = await self._asker.ask(Operation.CANCEL, call)
        except NotNow:
            return
        except Refusal as refusal:
            for target in targets:
                target.attempts += 1
                target.reason = str(refusal.answer)
            if refusal.meaning.outcome is Outcome.GONE and not is_market:
                targets[0].is_listed = False  # the next list may say otherwise; how it ended is looked up
            return
        for target in targets:
            target.attempts += 1
        for each in shown:
            known = self._targets.get(each.key)
            if known is not None:
                known.show(each)
                known.is_listed = known.ending is None

    async def _cancel_one(self, order: RestingOrder) -> tuple[RestingOrder, ...]:
        return await self._venue.cancel_resting(order)

    async def _list(self) -> bool:
        """What is open now. The lists of several markets are of different moments; each order is in one of them."""
        began_ns, rows = self._clock.monotonic_ns(), list[RestingOrder]()
        for symbol in self._scope.symbols or (None,):
            rows += await self._asker.ask(Operation.QUERY, partial(self._venue.resting, symbol))
        listed: set[tuple[str, str]] = set()
        self._kept = {}
        for order in rows:
            verdict = self._scope.judge(order)
            if verdict is Verdict.KEEP:
                self._kept[order.key] = order
            elif verdict is Verdict.TAKE:
                listed.add(order.key)
                self._targets.setdefault(order.key, Target(order)).show(order)
        for key, target in self._targets.items():
            target.is_listed = key in listed
        self._first = frozenset(listed) if self._first is None else self._first
        self._listed_ns = began_ns
        if listed:
            self._empty_since_ns = None
        elif self._empty_since_ns is None:
            self._empty_since_ns = began_ns
        return True

    async def _look_up_vanished(self) -> None:
        """How they ended: by a cancel whose answer was lost, or filled before it came."""
        for target in self._targets.values():
            if target.is_listed or target.ending is not None:
                continue
            try:
                target.show(await self._asker.ask(Operation.QUERY, partial(self._venue.look_up, target.order)))
            except Refusal as refusal:
                target.reason = f"it is not listed any more, and how it ended is not known: {refusal.answer}"
            else:
                target.is_listed = target.ending is None  # by its own word it is open: the next round cancels it

    def _is_proved(self) -> bool:
        """Each order closed, and two lists, far enough from each other, that showed nothing of the scope."""
        if self._empty_since_ns is None or self._count_closed() < len(self._targets):
            return False
        return self._listed_ns > self._empty_since_ns and self._listed_ns - self._empty_since_ns >= self._settle_ns

    def _settling_seconds(self) -> float:
        """Until a list would be far enough from the first that showed nothing; 0 while something is not closed."""
        if self._empty_since_ns is None or self._count_closed() < len(self._targets):
            return 0.0
        return max(self._empty_since_ns + self._settle_ns - self._clock.monotonic_ns(), 0) / _NS

    def _count_closed(self) -> int:
        return sum(target.is_closed for target in self._targets.values())

    def _tell_progress(self) -> None:
        """Once a change."""
        closed = self._count_closed()
        reasons = [target.reason for target in self._targets.values() if not target.is_closed and target.reason]
        line = f"{closed} of {len(self._targets)} orders are proved closed" + (f"; {reasons[-1]}" if reasons else "")
        if line != self._told:
            self._told = line
            self._tell(line)
