"""Aggregate trades: fills of one taker at one price and time told as one. PURE.

Public trades do not say which taker they belong to, so fills that follow each other with the same time, price and
side are taken as one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from decimal import Decimal

from tradingbot_sandbox.market.events import NS_PER_MS, Trade

SETTLE_NS = 10 * NS_PER_MS
"""An open group is told so long after its last fill, if no other trade has closed it before."""
_FIRST_ID = 1_000_000
_KEPT = 100_000


@dataclass(frozen=True, slots=True)
class AggregateTrade:
    symbol: str
    aggregate_id: int
    price: Decimal
    quantity: Decimal
    first_trade_id: int
    last_trade_id: int
    time_ns: int
    event_time_ns: int
    buyer_is_maker: bool


class Aggregator:
    """Groups one symbol's trades as they come, and remembers the groups for REST."""

    def __init__(self) -> None:
        self._open: AggregateTrade | None = None
        self.closed: deque[AggregateTrade] = deque(maxlen=_KEPT)

    def add(self, trade: Trade) -> AggregateTrade | None:
        """Take a trade. The group that it closes, if it does not belong to it."""
        group = self._open
        if (
            group is not None
            and group.time_ns == trade.time_ns
            and group.price == trade.price
            and group.buyer_is_maker == trade.buyer_is_maker
        ):
            self._open = AggregateTrade(
                symbol=group.symbol,
                aggregate_id=group.aggregate_id,
                price=group.price,
                quantity=group.quantity + trade.quantity,
                first_trade_id=group.first_trade_id,
                last_trade_id=trade.trade_id,
                time_ns=group.time_ns,
                event_time_ns=trade.event_time_ns,
                buyer_is_maker=group.buyer_is_maker,
            )
            return None
        closed = self._close()
        self._open = AggregateTrade(
            symbol=trade.symbol,
            aggregate_id=self.closed[-1].aggregate_id + 1 if self.closed else _FIRST_ID,
            price=trade.price,
            quantity=trade.quantity,
            first_trade_id=trade.trade_id,
            last_trade_id=trade.trade_id,
            time_ns=trade.time_ns,
            event_time_ns=trade.event_time_ns,
            buyer_is_maker=trade.buyer_is_maker,
        )
        return closed

    def settle(self, now_ns: int) -> AggregateTrade | None:
        """The open group, if it has been left alone for long enough."""
        if self._open is None or now_ns < self._open.event_time_ns + SETTLE_NS:
            return None
        return self._close()

    @property
    def settles_ns(self) -> int | None:
        return None if self._open is None else self._open.event_time_ns + SETTLE_NS

    def _close(self) -> AggregateTrade | None:
        group, self._open = self._open, None
        if group is not None:
            self.closed.append(group)
        return group
