"""One symbol's order book, rebuilt from a snapshot and deltas. PURE."""

from __future__ import annotations

from bisect import bisect_left
from decimal import Decimal

from tradingbot_sandbox.market.events import BookDelta, BookSnapshot, Level

ZERO = Decimal(0)


class BookGapError(ValueError):
    """A delta does not follow the book: updates in between are missing, so the book would be wrong."""


class _Side:
    """Levels of one side, prices kept sorted upwards."""

    __slots__ = ("prices", "quantities")

    def __init__(self, levels: tuple[Level, ...]) -> None:
        self.quantities: dict[Decimal, Decimal] = {price: quantity for price, quantity in levels if quantity}
        self.prices: list[Decimal] = sorted(self.quantities)

    def set(self, price: Decimal, quantity: Decimal) -> None:
        if quantity:
            if price not in self.quantities:
                self.prices.insert(bisect_left(self.prices, price), price)
            self.quantities[price] = quantity
        elif price in self.quantities:
            del self.quantities[price]
            del self.prices[bisect_left(self.prices, price)]

    def changes_to(self, target: tuple[Level, ...]) -> tuple[Level, ...]:
        wanted = dict(target)
        gone = [(price, ZERO) for price in self.prices if price not in wanted]
        changed = [level for level in target if self.quantities.get(level[0]) != level[1]]
        return tuple(gone + changed)


class Book:
    """The whole book after the last delta that was applied."""

    def __init__(self, snapshot: BookSnapshot) -> None:
        self.symbol = snapshot.symbol
        self.update_id = snapshot.update_id
        self._bids = _Side(snapshot.bids)
        self._asks = _Side(snapshot.asks)

    def apply(self, delta: BookDelta) -> bool:
        """Follow one delta. False: it is older than the book and changed nothing (the venue's documented sync rule)."""
        if delta.final_update_id <= self.update_id:
            return False
        if delta.first_update_id > self.update_id + 1:
            raise BookGapError(f"{self.symbol}: book is at {self.update_id}, delta starts at {delta.first_update_id}")
        for price, quantity in delta.bids:
            self._bids.set(price, quantity)
        for price, quantity in delta.asks:
            self._asks.set(price, quantity)
        self.update_id = delta.final_update_id
        return True

    def bids(self, limit: int) -> tuple[Level, ...]:
        """The best `limit` bids, highest price first."""
        side = self._bids
        return tuple((price, side.quantities[price]) for price in reversed(side.prices[-limit:]))

    def asks(self, limit: int) -> tuple[Level, ...]:
        """The best `limit` asks, lowest price first."""
        side = self._asks
        return tuple((price, side.quantities[price]) for price in side.prices[:limit])

    @property
    def best_bid(self) -> Level | None:
        return (price := self._bids.prices[-1], self._bids.quantities[price]) if self._bids.prices else None

    @property
    def best_ask(self) -> Level | None:
        return (price := self._asks.prices[0], self._asks.quantities[price]) if self._asks.prices else None

    @property
    def is_crossed(self) -> bool:
        bid, ask = self.best_bid, self.best_ask
        return bid is not None and ask is not None and bid[0] >= ask[0]

    def snapshot(self) -> BookSnapshot:
        everything = len(self._bids.prices) + len(self._asks.prices) + 1
        return BookSnapshot(self.symbol, self.update_id, self.bids(everything), self.asks(everything))

    def changes_to(self, target: BookSnapshot) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
        """The bids and asks of the delta that turns this book into `target`."""
        return self._bids.changes_to(target.bids), self._asks.changes_to(target.asks)
