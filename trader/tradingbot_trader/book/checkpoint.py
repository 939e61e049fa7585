"""PURE. The ledger of the fills that were archived: what a rebuild starts from. Between archiver and ledger."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import Any, Self

from tradingbot_trader.book.audit import canonical_json, encode
from tradingbot_trader.book.ledger import FillKey, LedgerState, Position
from tradingbot_trader.orders.order import BookName

_DIGEST_BYTES = 16
"""128 bits: two of a billion fills share one with a chance of 1 in 10^21, and a fill costs 25 bytes of the store."""
_RUN_AND_NUMBER = slice(10, 26)
"""Of a client order id: epoch and sequence (orders/client_id.py), which grow as text does."""


def fill_digest(book: BookName, key: FillKey) -> bytes:
    """What is kept of an archived fill, so that it is never counted again. By fill and not "all trade ids up to this
    one": Kraken's ids have no order, and Binance's may arrive late."""
    return hashlib.sha256("\0".join((book.value, *key)).encode()).digest()[:_DIGEST_BYTES]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    ledger: LedgerState
    fill_sequence: int
    """The last fill that is counted in it; those after it are in the store."""
    last_order: str
    """Epoch and sequence of the latest order that was archived. One of ours up to it that the store does not have was
    archived, and is no orphan. Empty: none was."""

    @classmethod
    def empty(cls, book: BookName) -> Self:
        return cls(LedgerState(book), 0, "")

    def with_orders(self, client_order_ids: Iterable[str]) -> Checkpoint:
        marks = [order_mark(order_id) for order_id in client_order_ids]
        return replace(self, last_order=max((self.last_order, *marks)))

    def to_json(self) -> str:
        return canonical_json(encode(asdict(self.ledger)))

    @classmethod
    def from_json(cls, text: str, fill_sequence: int, last_order: str) -> Self:
        raw = json.loads(text)
        state = LedgerState(
            book=BookName(raw["book"]),
            positions={symbol: _read_position(each) for symbol, each in raw["positions"].items()},
            fees=_decimals(raw["fees"]),
            fees_elsewhere=_decimals(raw["fees_elsewhere"]),
            fees_elsewhere_quote=Decimal(raw["fees_elsewhere_quote"]),
            fees_quote=Decimal(raw["fees_quote"]),
            turnover_quote=Decimal(raw["turnover_quote"]),
            last_loss_ns=raw["last_loss_ns"],
            day=raw["day"],
            day_turnover_quote=Decimal(raw["day_turnover_quote"]),
            fill_count=raw["fill_count"],
        )
        return cls(state, fill_sequence, last_order)


def order_mark(client_order_id: str) -> str:
    """Epoch and sequence of an id of ours; empty for any other text."""
    return client_order_id[_RUN_AND_NUMBER] if len(client_order_id) == 32 else ""


def _read_position(raw: dict[str, Any]) -> Position:
    amounts = {name: Decimal(raw[name]) for name in ("quantity_base", "cost_quote", "cash_quote")}
    return Position(symbol=raw["symbol"], **amounts)


def _decimals(raw: dict[str, str]) -> dict[str, Decimal]:
    return {name: Decimal(value) for name, value in raw.items()}
