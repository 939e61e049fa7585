"""A market that a fault script may stop: no trade, no change of the book, until it goes on. PURE.

Flow: any market -> `StoppableMarket` -> world. What would have happened meanwhile happens when it goes on, all at once
and with that moment's time: no trade is lost, no id is missing, and no candle that was closed changes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

from tradingbot_sandbox.market.events import MarketEvent, Trade
from tradingbot_sandbox.market.instruments import Instrument
from tradingbot_sandbox.market.port import Market, Opening, Position

IsStale = Callable[[str, int], bool]
"""Does the market of this symbol (unified name) stand still at this time?"""


class StoppableMarket:
    """The market, with each symbol's events held back while it stands still."""

    def __init__(self, market: Market, is_stale: IsStale) -> None:
        self._market = market
        self._is_stale = is_stale
        self._held: dict[str, deque[MarketEvent]] = {i.symbol: deque() for i in market.instruments}
        self._went_on_ns = dict.fromkeys(self._held, 0)
        """Nothing of a symbol is told with an earlier time any more."""

    @property
    def kind(self) -> str:
        return self._market.kind

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        return self._market.instruments

    @property
    def lateness_ns(self) -> int:
        return self._market.lateness_ns

    def opening(self, symbol: str) -> Opening:
        return self._market.opening(symbol)

    def start(self, now_ns: int) -> None:
        self._market.start(now_ns)

    def next_due_ns(self) -> int | None:
        """Whoever pulls looks at short intervals anyway, and then finds what was held."""
        return self._market.next_due_ns()

    def take(self, now_ns: int, *, limit: int) -> list[MarketEvent]:
        out: list[MarketEvent] = []
        for symbol, held in self._held.items():
            while held and len(out) < limit and not self._is_stale(symbol, now_ns):
                self._went_on_ns[symbol] = now_ns
                out.append(_not_before(held.popleft(), now_ns))
        while len(out) < limit:
            asked = limit - len(out)
            events = self._market.take(now_ns, limit=asked)
            for event in events:
                if self._is_stale(event.symbol, now_ns):
                    self._held[event.symbol].append(event)
                else:
                    out.append(_not_before(event, self._went_on_ns[event.symbol]))
            if len(events) < asked:
                break
        return out

    def reserve_trade_ids(self, symbol: str, *, trades: int) -> int:
        return self._market.reserve_trade_ids(symbol, trades=trades)

    def position(self) -> Position:
        return self._market.position()


def _not_before(event: MarketEvent, least_ns: int) -> MarketEvent:
    if event.event_time_ns >= least_ns:
        return event
    if isinstance(event, Trade):
        return replace(event, time_ns=least_ns, event_time_ns=least_ns)
    return replace(event, event_time_ns=least_ns)
