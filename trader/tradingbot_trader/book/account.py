"""PURE. What of a venue account is not the bot's doing: the opening baseline, and what a person moved since.

Balances are account-wide (DESIGN, "Account"): venue - baseline - adjustments is compared with the ledger. Between
book/store.py, reconciliation and `tradingbot-trader account`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from tradingbot_trader.book import exact
from tradingbot_trader.orders.order import BookName

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A deposit (positive) or withdrawal (negative) that a person made, or is about to make."""

    id: str
    """Of the request that asked for it: the same request is recorded once."""
    book: BookName
    asset: str
    amount: Decimal
    reason: str
    who: str
    recorded_ns: int = 0
    """Set by the store."""
    is_applied: bool = True
    """Only what is applied counts in the comparison with the venue."""

    @property
    def content(self) -> tuple[BookName, str, Decimal, str, str]:
        """What makes it the same adjustment, whenever it was recorded."""
        return (self.book, self.asset, self.amount, self.reason, self.who)


def sum_by_asset(adjustments: Iterable[Adjustment]) -> dict[str, Decimal]:
    """Of those that are applied."""
    sums: dict[str, Decimal] = {}
    for each in adjustments:
        if each.is_applied:
            sums[each.asset] = exact.add((sums.get(each.asset, ZERO), each.amount))
    return sums


def add_by_asset(*parts: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Asset by asset; one that is missing in a part is 0 there. Sorted by name."""
    assets = sorted({asset for part in parts for asset in part})
    return {asset: exact.add(part.get(asset, ZERO) for part in parts) for asset in assets}
