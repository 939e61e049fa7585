"""A seeded market of several symbols that goes on for ever, made event by event as it is pulled. PURE.

The same seed gives the same events at the same offsets from the start. Each symbol has a flow of its own, so which
others are played changes nothing in it.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from tradingbot_sandbox.market.events import MarketEvent, Trade
from tradingbot_sandbox.market.flow import STEP_NS, Flow
from tradingbot_sandbox.market.instruments import Instrument
from tradingbot_sandbox.market.port import Opening, PlayState, Position
from tradingbot_sandbox.market.recording import event_kind


class SyntheticMarket:
    """A market out of a seed. At speed n, n seconds of it pass in one."""

    kind = "synthetic"
    lateness_ns = 0

    def __init__(self, instruments: Sequence[Instrument], *, seed: int, speed: Fraction = Fraction(1)) -> None:
        if speed <= 0:
            raise ValueError("speed must be above zero")
        self.instruments = tuple(instruments)
        self._speed = speed
        self._flows = {i.symbol: Flow(i, seed=seed) for i in instruments}
        self._started_ns: int | None = None
        self._steps = 0
        self._ready: deque[MarketEvent] = deque()
        self._played: Counter[str] = Counter()
        self._extra_trades: Counter[str] = Counter()
        self._last_trade_ids: dict[str, int] = {}

    def opening(self, symbol: str) -> Opening:
        return self._flows[symbol].opening

    def start(self, now_ns: int) -> None:
        if self._started_ns is not None:
            raise RuntimeError("a market is started once")
        self._started_ns = now_ns

    def next_due_ns(self) -> int | None:
        if self._started_ns is None:
            return None
        return self._ready[0].event_time_ns if self._ready else self._make_step()

    def take(self, now_ns: int, *, limit: int) -> list[MarketEvent]:
        events: list[MarketEvent] = []
        while len(events) < limit and (due_ns := self.next_due_ns()) is not None and due_ns <= now_ns:
            event = self._renumbered(self._ready.popleft())
            self._played[event_kind(event)] += 1
            events.append(event)
        return events

    def reserve_trade_ids(self, symbol: str, *, trades: int) -> int:
        first_id = self._last_trade_ids.get(symbol, self.opening(symbol).first_trade_id - 1) + 1
        self._extra_trades[symbol] += trades
        self._last_trade_ids[symbol] = first_id + trades - 1
        return first_id

    def position(self) -> Position:
        state = PlayState.WAITING if self._started_ns is None else PlayState.PLAYING
        return Position(state, 0, dict(self._played), None, self._started_ns, None)

    def _make_step(self) -> int:
        """Make the next step of every symbol; when its first event is due. A step without an event is passed over."""
        started_ns = self._started_ns or 0
        while not self._ready:
            open_ns = started_ns + self._compress(self._steps * STEP_NS)
            length_ns = started_ns + self._compress((self._steps + 1) * STEP_NS) - open_ns
            steps = [flow.step(open_ns, length_ns) for flow in self._flows.values()]
            self._ready.extend(heapq.merge(*steps, key=lambda event: event.event_time_ns))
            self._steps += 1
        return self._ready[0].event_time_ns

    def _renumbered(self, event: MarketEvent) -> MarketEvent:
        """A trade's id comes after those that were reserved since its step was made."""
        if isinstance(event, Trade):
            extra = self._extra_trades[event.symbol]
            event = replace(event, trade_id=event.trade_id + extra) if extra else event
            self._last_trade_ids[event.symbol] = event.trade_id
        return event

    def _compress(self, duration_ns: int) -> int:
        return duration_ns * self._speed.denominator // self._speed.numerator
