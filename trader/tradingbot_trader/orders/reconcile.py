"""PURE. Compares what the venue holds with what our books say it should hold. Asked by recovery, reported in status."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from tradingbot_api.decimal import format_decimal
from tradingbot_trader.book import exact
from tradingbot_trader.book.ledger import Ledger
from tradingbot_trader.market.instrument import Instrument

ZERO = Decimal(0)


class Result(StrEnum):
    PASSED = "Passed"
    FAILED = "Failed"
    """Something differs. A person looks; nothing is corrected by itself."""
    INCONCLUSIVE = "Inconclusive"
    """Orders are under way, or the venue did not answer: nothing is proved either way, it is tried again."""


@dataclass(frozen=True, slots=True)
class Delta:
    """One asset. `local` is opening baseline, adjustments and the ledger together."""

    asset: str
    venue: Decimal
    local: Decimal
    allowed: Decimal

    @property
    def delta(self) -> Decimal:
        return self.venue - self.local

    @property
    def is_mismatch(self) -> bool:
        return abs(self.delta) > self.allowed

    def to_data(self) -> Mapping[str, str]:
        return {
            "asset": self.asset,
            "venue": format_decimal(self.venue),
            "local": format_decimal(self.local),
            "delta": format_decimal(self.delta),
        }


@dataclass(frozen=True, slots=True)
class Report:
    """One reconciliation."""

    begun_ns: int
    at_ns: int
    why: str
    result: Result
    message: str = ""
    deltas: tuple[Delta, ...] = ()
    """Every asset that was compared."""
    orphans: tuple[str, ...] = ()
    """Orders and trades on this account that are not ours, since the last report."""
    adopted: tuple[str, ...] = ()
    """Client order ids of own orders that the store did not know."""

    def to_data(self) -> Mapping[str, object]:
        return {
            "why": self.why,
            "result": self.result.value,
            "message": self.message,
            "deltas": [delta.to_data() for delta in self.deltas],
            "orphans": list(self.orphans),
            "adopted": list(self.adopted),
        }


def ledger_effect(ledger: Ledger) -> dict[str, Decimal]:
    """What our own fills did to the account since its book was opened, by asset."""
    effect: dict[str, Decimal] = {}

    def move(asset: str, amount: Decimal) -> None:
        effect[asset] = exact.add((effect.get(asset, ZERO), amount))

    for position in ledger.positions.values():
        base, _, quote = position.symbol.partition("/")
        move(base, position.quantity_base)
        move(quote, position.cash_quote)
    for asset, amount in ledger.fees_elsewhere.items():
        move(asset, exact.negate(amount))
    return effect


def compare(
    *,
    venue: Mapping[str, Decimal],
    opening: Mapping[str, Decimal],
    adjusted: Collection[str] = (),
    ledger: Ledger,
    instruments: Mapping[str, Instrument],
    tolerance: Decimal,
) -> tuple[Delta, ...]:
    """`venue` and `opening` (baseline and adjustments) are totals by asset; an asset that is missing is 0.

    Only assets that this bot moves, or that somebody adjusted: the rest of the account is none of its business. The
    tolerance is relative to what the ledger holds of the asset, and never below one step of it.
    """
    effect = ledger_effect(ledger)
    floors: dict[str, Decimal] = {}
    for instrument in instruments.values():
        for asset, floor in ((instrument.base, instrument.quantity_step), (instrument.quote, instrument.price_tick)):
            floors[asset] = max(floors.get(asset, ZERO), floor)
    return tuple(
        Delta(
            asset=asset,
            venue=venue.get(asset, ZERO),
            local=exact.add((opening.get(asset, ZERO), effect.get(asset, ZERO))),
            allowed=max(abs(effect.get(asset, ZERO)) * tolerance, floors.get(asset, ZERO)),
        )
        for asset in sorted({*effect, *floors, *adjusted})
    )
