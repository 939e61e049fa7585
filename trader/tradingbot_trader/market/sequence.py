"""PURE. What a venue's trade numbers say about trades that we did not see. Between the feed and its sink."""

from __future__ import annotations

from tradingbot_trader.market.events import FeedGap, Trade


class TradeSequence:
    """One symbol's numbers, over all connections: a hole between two connections is found like any other."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._fresh = True

    def reconnected(self) -> None:
        """The next number may be lower: venues start over (Binance's testnet does each month)."""
        self._fresh = True

    def observe(self, trade: Trade) -> FeedGap | None:
        """The trades between the last one and this, or None. Venues that do not number by ones are never in doubt."""
        if not trade.trade_id.isdecimal():
            return None
        number, last, fresh = int(trade.trade_id), self._last, self._fresh
        self._fresh = False
        if last is None or number > last or fresh:
            self._last = number
        if last is None or number <= last + 1:
            return None
        return FeedGap(
            symbol=trade.symbol,
            first_missing_id=str(last + 1),
            missing=number - last - 1,
            at_ns=trade.event_time_ns,
        )
