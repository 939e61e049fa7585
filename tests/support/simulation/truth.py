"""What must be so, whatever happened: promises P1 to P5 and P7, judged by the venue's own book.

Nothing in here uses the trader's ledger, risk engine or machine: positions are counted anew from the venue's trades.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from support.simulation.venue import Sent, Venue
from tradingbot_sandbox.venues.matching import Order
from tradingbot_trader.book import audit
from tradingbot_trader.book.reader import open_reader
from tradingbot_trader.orders.client_id import is_own
from tradingbot_trader.orders.order import BookName

ZERO = Decimal(0)
_KINDS = frozenset(
    {"Adopted", "Latched", "BreakerTripped", "Mismatch", "Orphan", "Adjusted", "RulesRefreshed", "FeedGap"}
)
_EVENTS = frozenset({"Unresolved", "PresumedAbsent", "Rejected", "Denied", "Cancelled", "Expired", "Filled"})


class Violation(AssertionError):  # noqa: N818  named by consequence
    """A promise was broken. The message names it."""


@dataclass(slots=True)
class Holding:
    quantity: Decimal = ZERO
    cost: Decimal = ZERO


@dataclass(slots=True)
class Truth:
    """The judge of one world."""

    venue: Venue
    bot: str
    limit_quote: Decimal
    """The highest exposure that was ever permitted in this world."""
    violations: list[str] = field(default_factory=list)
    peaks: list[Decimal] = field(default_factory=list)

    def own_orders(self) -> list[object]:
        return [order for order in self.venue.account.orders if is_own(order.client_id, self.bot)]

    def open_orders(self) -> list[Order]:
        """Own ones that rest or wait at the venue."""
        return [order for order in self.venue.account.open_orders() if is_own(order.client_id, self.bot)]

    def on_accepted(self, sent: Sent) -> None:
        """Each time that the venue takes an order: P1 and P3."""
        client_id = sent.values.get("newClientOrderId", "")
        if self.venue.account.accepted[client_id] > 1:
            self.violations.append(f"P1: order {client_id} was taken {self.venue.account.accepted[client_id]} times")
        if sent.values.get("side") == "BUY":
            exposure = self.exposure_quote()
            if exposure > self.limit_quote:
                self.violations.append(f"P3: exposure {exposure} is above {self.limit_quote} after {client_id}")
        else:
            self._check_sells(client_id)

    def _check_sells(self, client_id: str) -> None:
        """No more is on sale than is held, and one stop at most protects a position."""
        sells = [order for order in self.open_orders() if not order.side.is_buy]
        held = self.holdings()
        for symbol in {order.symbol for order in sells}:
            on_sale = sum((order.remaining for order in sells if order.symbol == symbol), ZERO)
            if on_sale > held.get(symbol, Holding()).quantity:
                self.violations.append(f"P3: {on_sale} of {symbol} is on sale, more than is held, after {client_id}")
            stops = [order for order in sells if order.symbol == symbol and order.type.is_conditional]
            if len(stops) > 1:
                self.violations.append(f"P3: {len(stops)} protective stops of {symbol} after {client_id}")

    def exposure_quote(self) -> Decimal:
        """Cost of what is held, by average cost, and all that open buys may still cost."""
        total = sum((holding.cost for holding in self.holdings().values()), ZERO)
        for order in self.open_orders():
            if order.side.is_buy:
                total += order.remaining * order.price
        return total

    def holdings(self) -> dict[str, Holding]:
        """By the venue's trades alone."""
        held: dict[str, Holding] = {}
        for trade in self.venue.account.trades:
            if not is_own(trade.order.client_id, self.bot):
                continue
            holding = held.setdefault(trade.symbol, Holding())
            base = trade.symbol.partition("/")[0]
            if trade.order.side.is_buy:
                fee = trade.commission if trade.commission_asset == base else ZERO
                holding.quantity += trade.quantity - fee
                holding.cost += trade.quote_quantity
            else:
                share = trade.quantity / holding.quantity if holding.quantity else ZERO
                holding.cost -= holding.cost * share
                holding.quantity -= trade.quantity
        return held

    def check_end(self, folder: Path) -> None:
        """After everything has settled: P1, P2, P7, and the ledger to the last digit."""
        for client_id, count in self.venue.account.accepted.items():
            if count > 1 and is_own(client_id, self.bot):
                self.violations.append(f"P1: order {client_id} was taken {count} times")
        self._check_fills(folder)
        self._check_audit(folder)

    def check_restart(self, folder: Path) -> None:
        """Whenever a life has ended: what was durable never goes back."""
        if not (folder / "store.db").exists():
            return
        with sqlite3.connect(f"file:{folder / 'store.db'}?mode=ro", uri=True) as connection:
            try:
                row = connection.execute(
                    "SELECT value FROM counters WHERE book = 'live' AND name = 'pnl.peak_quote'"
                ).fetchone()
            except sqlite3.Error:
                return
        if row is not None:
            peak = Decimal(row[0])
            if self.peaks and peak < self.peaks[-1]:
                self.violations.append(f"P5: the peak of the P&L went back from {self.peaks[-1]} to {peak}")
            self.peaks.append(peak)

    def count_seen(self, folder: Path) -> dict[str, int]:
        """What has come about, by the audit."""
        seen: Counter[str] = Counter()
        with open_reader(folder) as reader:
            for record in reader.audit_records():
                if record.kind in _KINDS:
                    seen[record.kind] += 1
                elif record.kind == "OrderEvent":
                    event = json.loads(record.data)["event"]
                    if event in _EVENTS:
                        seen[event] += 1
        return dict(seen)

    def _check_fills(self, folder: Path) -> None:
        own = [t for t in self.venue.account.trades if is_own(t.order.client_id, self.bot)]
        with open_reader(folder) as reader:
            fills = list(reader.fills(BookName.LIVE))
            told = Counter(
                (fill["symbol"], fill["trade_id"])
                for record in reader.audit_records()
                if record.kind == "Fill" and (fill := json.loads(record.data)["fill"])
            )
        known = Counter((fill.symbol, fill.trade_id) for fill in fills)
        for trade in own:
            key = (trade.symbol, str(trade.trade_id))
            if known[key] != 1:
                self.violations.append(
                    f"P2: trade {key} of {trade.order.client_id} is {known[key]} times in the ledger"
                )
            if told[key] != 1:
                self.violations.append(f"P2: trade {key} is {told[key]} times in the audit")
        if len(fills) != len(own):
            self.violations.append(f"P2: {len(fills)} fills in the ledger, {len(own)} trades at the venue")
        by_key = {(fill.symbol, fill.trade_id): fill for fill in fills}
        for trade in own:
            fill = by_key.get((trade.symbol, str(trade.trade_id)))
            if fill is not None and (fill.price, fill.quantity_base, fill.fee_amount, fill.fee_asset) != (
                trade.price, trade.quantity, trade.commission, trade.commission_asset,
            ):  # fmt: skip
                self.violations.append(f"P2: fill {fill} is not the venue's {trade}")

    def _check_audit(self, folder: Path) -> None:
        with open_reader(folder) as reader:
            records = list(reader.audit_records())
        verdict = audit.verify(records)
        if not verdict.is_sound:
            self.violations.append(f"P7: {verdict.finding}")
        for record in records:
            if record.kind == "IllegalTransition" and "AbsentButSeen" not in record.data:
                self.violations.append(f"the books contradict the venue: {record.data}")
