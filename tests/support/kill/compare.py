"""The verdict: the venue's own account against the trader's store, to the last digit. Promises P1, P2 and P7.

The truth is what the simulator tells under /sandbox/; nothing here asks the trader's engine or its machine.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from tradingbot_api.status import AuditHead
from tradingbot_trader.book import audit
from tradingbot_trader.book.audit import AuditRecord
from tradingbot_trader.book.reader import StoreReader, open_reader
from tradingbot_trader.orders.client_id import is_own
from tradingbot_trader.orders.order import BookName, Fill, OrderState

ZERO = Decimal(0)
BOOK = BookName.LIVE
Raw = Mapping[str, Any]
_STATES = {
    "NEW": OrderState.OPEN,
    "PARTIALLY_FILLED": OrderState.PARTIALLY_FILLED,
    "FILLED": OrderState.FILLED,
    "CANCELED": OrderState.CANCELLED,
    "EXPIRED": OrderState.EXPIRED,
}
_OPEN = ("NEW", "PARTIALLY_FILLED")
_NOWHERE = (OrderState.PRESUMED_ABSENT, OrderState.REJECTED, OrderState.DENIED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the harness knows of one account and its trader."""

    bot: str
    """Hash that its client order ids begin with."""
    opening: Mapping[str, Decimal]
    heads: Iterable[AuditHead]
    """Of the audit, as they were published by any life."""
    has_lost_store: bool


def find_differences(truth: Raw, folder: Path, known: Known) -> list[str]:
    """In words; empty when the books are right."""
    with open_reader(folder) as reader:
        records = list(reader.audit_records())
        return [
            *_orders(truth, reader, known.bot),
            *_fills(truth, reader.fills(BOOK), records),
            *_money(truth, reader, known.opening),
            *_audit(records, known),
        ]


def _orders(truth: Raw, reader: StoreReader, bot: str) -> Iterable[str]:
    for client_id, times in truth["acceptedByClientId"].items():
        if times != 1:
            yield f"P1: the venue took order {client_id} {times} times"
    at_venue = {order["clientOrderId"]: order for order in truth["orders"]}
    for client_id, shown in at_venue.items():
        if not is_own(client_id, bot):
            yield f"the venue has order {client_id}, whose id is not this bot's"
        order = reader.find_order(BOOK, client_id)
        if order is None:
            yield f"the store does not know order {client_id}"
        elif shown["status"] in _OPEN and not _is_protective(shown):
            yield f"order {client_id} was left {shown['status']} at the venue"
        elif (order.state, order.filled_base) != (_STATES[shown["status"]], Decimal(shown["executedQty"])):
            there = f"{shown['status']} {shown['executedQty']}"
            yield f"order {client_id} is {order.state} {order.filled_base} here, {there} there"
    for order in reader.orders_in_state(BOOK, tuple(OrderState)):
        if order.client_order_id not in at_venue and order.state not in _NOWHERE:
            yield f"order {order.client_order_id} is {order.state} here, and the venue has never seen it"


def _is_protective(order: Raw) -> bool:
    """A stop-loss stays at the venue when the trader ends: it is what protects the position then."""
    return (order["side"], order["type"]) == ("SELL", "STOP_LOSS_LIMIT")


def _remaining(order: Raw) -> Decimal:
    return Decimal(order["origQty"]) - Decimal(order["executedQty"])


def _fills(truth: Raw, fills: Iterable[Fill], records: Iterable[AuditRecord]) -> Iterable[str]:
    there = Counter(_trade_key(trade) for trade in truth["trades"])
    here = Counter(_fill_key(fill) for fill in fills)
    told = Counter(str(json.loads(r.data)["fill"]["trade_id"]) for r in records if r.kind == "Fill")
    for key in there.keys() | here.keys():
        if here[key] != there[key]:
            yield f"P2: trade {key} is {there[key]} times at the venue, {here[key]} times in the ledger"
    for key, times in there.items():
        if told[str(key[1])] != times:
            yield f"P2: trade {key} is {times} times at the venue, {told[str(key[1])]} times in the audit"


def _trade_key(trade: Raw) -> tuple[object, ...]:
    side = "buy" if trade["isBuyer"] else "sell"
    amounts = (Decimal(trade[name]) for name in ("price", "qty", "commission"))
    return trade["symbol"], str(trade["id"]), side, *amounts, trade["commissionAsset"], trade["isMaker"]


def _fill_key(fill: Fill) -> tuple[object, ...]:
    amounts = (fill.price, fill.quantity_base, fill.fee_amount)
    symbol = fill.symbol.replace("/", "")
    return symbol, fill.trade_id, fill.side.value, *amounts, fill.fee_asset, fill.is_maker


def _money(truth: Raw, reader: StoreReader, opening: Mapping[str, Decimal]) -> Iterable[str]:
    """Positions from the venue's trades, and what the account holds from what it held and the ledger."""
    ledger = reader.ledger(BOOK)
    for symbol in {trade["symbol"] for trade in truth["trades"]}:
        ours = next((p for s, p in ledger.positions.items() if s.replace("/", "") == symbol), None)
        held = ZERO if ours is None else ours.quantity_base
        expected = _position(trade for trade in truth["trades"] if trade["symbol"] == symbol)
        if held != expected:
            yield f"the ledger holds {held} of {symbol}, its trades make {expected}"
    recorded = reader.baseline(BOOK) or {}
    moved = _moved(truth["trades"])
    for asset, balance in truth["balances"].items():
        total = Decimal(balance["free"]) + Decimal(balance["locked"])
        began = opening.get(asset, ZERO)
        if total != began + moved.get(asset, ZERO):
            yield f"the venue's own {asset} do not add up: {began} and {moved.get(asset, ZERO)} are not {total}"
        if recorded.get(asset, ZERO) != began:
            yield f"the account opened with {began} {asset}, recorded were {recorded.get(asset, ZERO)}"
        resting = sum(
            (_remaining(o) for o in truth["orders"] if o["status"] in _OPEN and o["symbol"].startswith(asset)), ZERO
        )
        if Decimal(balance["locked"]) != resting:
            yield f"{balance['locked']} {asset} are still locked, for orders of {resting}"


def _position(trades: Iterable[Raw]) -> Decimal:
    held = ZERO
    for trade in trades:
        held += Decimal(trade["qty"]) * (1 if trade["isBuyer"] else -1)
        if trade["symbol"].startswith(trade["commissionAsset"]):
            held -= Decimal(trade["commission"])
    return held


def _moved(trades: Iterable[Raw]) -> dict[str, Decimal]:
    """What they did to the account, by asset."""
    moved: dict[str, Decimal] = {}
    for trade in trades:
        base, sign = trade["symbol"].removesuffix("USDT"), 1 if trade["isBuyer"] else -1
        changes = (
            (base, sign * Decimal(trade["qty"])),
            ("USDT", -sign * Decimal(trade["quoteQty"])),
            (trade["commissionAsset"], -Decimal(trade["commission"])),
        )
        for asset, amount in changes:
            moved[asset] = moved.get(asset, ZERO) + amount
    return moved


def _audit(records: list[AuditRecord], known: Known) -> Iterable[str]:
    verdict = audit.verify(records)
    if not verdict.is_sound:
        yield f"P7: {verdict.finding}"
    hashes = {record.sequence: record.hash for record in records}
    for head in known.heads:
        if hashes.get(head.sequence) != head.hash:
            yield f"P7: the audit's record {head.sequence} was published, and is not in the chain any more"
    for record in records:
        if record.kind in ("IllegalTransition", "ReconciliationMismatch", "Orphan"):
            yield f"the audit tells of {record.kind}: {record.data}"
        if record.kind == "Adopted" and not known.has_lost_store:
            yield f"P1: an order left before its intent was durable: {record.data}"
