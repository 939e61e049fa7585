"""SHELL. One question to the venue at a time is one request, and what an answer asks for is obeyed. run, sale -> here.

Silence (429, 418), a wrong clock, a key that is not taken any more, and the end of the time: kept here for all that
follows. What an answer means, the venue's outcome table says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tradingbot_trader.clock import Clock
from tradingbot_trader.killall.plan import is_final
from tradingbot_trader.orders.gateway import AnswerPolicy, Refusal
from tradingbot_trader.orders.outcome import Action
from tradingbot_trader.venues.account import Operation, VenueSaid
from tradingbot_trader.venues.killer import KillerPort

_NS = 1_000_000_000
T = TypeVar("T")
KEY_REFUSALS = 3
"""Of one kind of request in a row, and the key is taken for dead: Binance answers -2015 in other moments, too
(seen by ccxt: "-2015 after a first success")."""
KEY_REFUSAL_SECONDS = 0.2
"""Refusals that come closer together are one: five cancels may be under way."""
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 5.0
"""Between two tries. A list of the whole account costs 80 of Binance's 6,000 of weight a minute."""


class NotNow(Exception):  # noqa: N818  named by consequence (STYLE)
    """The venue asked for silence, or the time is over: nothing was sent."""


class Asker:
    def __init__(self, venue: KillerPort, clock: Clock, policy: AnswerPolicy, stopping: asyncio.Event) -> None:
        """`stopping` ends everything that waits."""
        self.venue, self.clock = venue, clock
        self._policy, self._stopping = policy, stopping
        self._end_ns = self._silent_until_ns = self._no_orders_until_ns = 0
        self._is_clock_wrong = True
        self._key_refusals: dict[Operation, int] = {}
        self._key_refused_ns = 0
        self.problem = ""
        """The last thing that went wrong."""

    def give(self, seconds: float) -> int:
        """So much time from now on; the monotonic nanosecond at which it is over."""
        self._end_ns = self.clock.monotonic_ns() + int(seconds * _NS)
        return self._end_ns

    @property
    def is_key_dead(self) -> bool:
        return max(self._key_refusals.values(), default=0) >= KEY_REFUSALS

    def is_over(self, end_ns: int) -> bool:
        return self._stopping.is_set() or self.is_key_dead or self.clock.monotonic_ns() >= min(end_ns, self._end_ns)

    async def ask(self, operation: Operation, call: Callable[[], Awaitable[T]]) -> T:
        """Raises Refusal for anything but a success, or NotNow."""
        self._check_now(operation)
        if self._is_clock_wrong:
            await self._send(Operation.QUERY, self.venue.sync_clock)
            self._is_clock_wrong = False
            self._check_now(operation)
        found = await self._send(operation, call)
        self._key_refusals.pop(operation, None)
        return found

    async def insist(self, call: Callable[[], Awaitable[T]], end_ns: int) -> T | None:
        """A question until it is answered; None when the answer is no, or does not come: `problem` says why."""
        pause_seconds = FIRST_PAUSE_SECONDS
        while not self.is_over(end_ns):
            try:
                return await self.ask(Operation.QUERY, call)
            except Refusal as refusal:
                is_about_key = refusal.meaning.action is Action.HALT_CREDENTIALS
                if is_final(refusal.answer, refusal.meaning) and not is_about_key:
                    return None
            except NotNow:
                pass
            if not await self.wait(pause_seconds, end_ns):
                return None
            pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)
        return None

    async def wait(self, seconds: float, end_ns: int) -> bool:
        """So long, or until the venue may be asked again. False: that is not before the end, so waiting is no use."""
        end_ns = min(end_ns, self._end_ns)
        if self.is_over(end_ns) or self._silent_until_ns >= end_ns:
            return False
        now_ns = self.clock.monotonic_ns()
        until_ns = min(max(now_ns + int(seconds * _NS), self._silent_until_ns), end_ns)
        waiting = [
            asyncio.ensure_future(self.clock.sleep((until_ns - now_ns) / _NS)),
            asyncio.ensure_future(self._stopping.wait()),
        ]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return not self.is_over(end_ns)

    def explain(self) -> str:
        """Why it cannot go on, for the person on duty; empty when nothing went wrong."""
        if self.is_key_dead:
            return f"the venue does not take this key for it: {self.problem}"
        if self._stopping.is_set():
            return "it was interrupted"
        left_seconds = (self._silent_until_ns - self.clock.monotonic_ns()) / _NS
        if left_seconds > 0:
            return f"the venue asks for silence, {left_seconds:.0f} s more: {self.problem}"
        return self.problem

    def _check_now(self, operation: Operation) -> None:
        quiet_until_ns = self._silent_until_ns
        if operation is Operation.PLACE:
            quiet_until_ns = max(quiet_until_ns, self._no_orders_until_ns)
        if self.is_over(self._end_ns) or self.clock.monotonic_ns() < quiet_until_ns:
            raise NotNow

    async def _send(self, operation: Operation, call: Callable[[], Awaitable[T]]) -> T:
        try:
            return await call()
        except VenueSaid as said:
            refusal = Refusal(said.answer, self._policy.table.classify(operation, said.answer))
        self._learn(operation, refusal)
        raise refusal

    def _learn(self, operation: Operation, refusal: Refusal) -> None:
        answer, action, now_ns = refusal.answer, refusal.meaning.action, self.clock.monotonic_ns()
        self.problem = str(answer)
        if action is Action.HALT_CREDENTIALS:
            if now_ns - self._key_refused_ns >= KEY_REFUSAL_SECONDS * _NS or not self._key_refusals.get(operation):
                self._key_refusals[operation] = self._key_refusals.get(operation, 0) + 1
                self._key_refused_ns = now_ns
        elif 400 <= answer.http_status < 500 and answer.code:
            self._key_refusals.pop(operation, None)
        if action is Action.RESYNC_CLOCK:
            self._is_clock_wrong = True
        if action is Action.BACK_OFF:
            until_ns = now_ns + int(self._policy.back_off_seconds(answer) * _NS)
            if operation is Operation.PLACE and self._policy.is_order_count(answer):
                self._no_orders_until_ns = max(self._no_orders_until_ns, until_ns)
            else:
                self._silent_until_ns = max(self._silent_until_ns, until_ns)
