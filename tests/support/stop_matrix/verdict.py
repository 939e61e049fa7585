"""PURE. What a cell of the matrix of stops is judged by: the venue's own log and book, beside what the trader says.

The simulation's comparison of a latch with the venue's book (simulation/stop_truth.py) is used as it is; this turns
what a simulator tells over HTTP into what that takes, and judges what came over the wire.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from support.simulation.stop_truth import check_orders, check_positions
from tradingbot_sandbox.venues.matching import Order, OrderState, OrderType, Side

NS = 1_000_000_000
ON_THE_WIRE_NS = NS
"""What left before a moment may arrive so much later on a busy machine, and no more."""
LEAST_QUOTE = Decimal(5)
"""The simulated Binance's smallest notional (its rules.py)."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def as_ns(text: str) -> int:
    """A time of a log or of a status, in nanoseconds since 1970."""
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1) * 1000


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request for a new order that came to the venue, whatever became of it."""

    at_ns: int
    client_id: str


@dataclass(frozen=True, slots=True)
class Decided:
    """What the trader wrote down of an order before it left."""

    side: str
    """BUY or SELL."""
    type: str
    """As the venue calls it; STOP_LOSS and its like rest until the market falls."""
    sent_ns: int
    """Written down just before the bytes left; 0: never."""


@dataclass(frozen=True, slots=True)
class Word:
    """A line of the trader's log about its state."""

    at_ns: int
    causes: tuple[str, ...]


def read_arrivals(log: Iterable[Mapping[str, Any]], prefix: str) -> list[Arrival]:
    """From the venue's log, which names each order of a bot whose ids begin so."""
    return [
        Arrival(as_ns(line["timestamp"]), line["client_id"])
        for line in log
        if line.get("event") == "fault" and line["operation"] == "place" and line["client_id"].startswith(prefix)
    ]


def check_nothing_left(
    arrivals: Iterable[Arrival],
    decided: Mapping[str, Decided],
    *,
    after_ns: int,
    until_ns: int | None = None,
    may_sell: bool,
) -> Iterable[str]:
    """No entry came after that moment, and without `may_sell` no sale but a protective stop.

    What nobody wrote down counts as an entry. What was written down as sent before the moment may be on the wire.
    """
    for arrival in arrivals:
        if arrival.at_ns <= after_ns or (until_ns is not None and arrival.at_ns >= until_ns):
            continue
        order = decided.get(arrival.client_id, Decided("BUY", "unknown", 0))
        is_on_the_wire = 0 < order.sent_ns <= after_ns and arrival.at_ns - after_ns <= ON_THE_WIRE_NS
        is_protection = order.side == "SELL" and order.type.startswith("STOP_LOSS")
        if is_on_the_wire or is_protection or (may_sell and order.side == "SELL"):
            continue
        seconds = (arrival.at_ns - after_ns) / NS
        yield f"{order.type} {order.side} {arrival.client_id} came to the venue {seconds:.3f} s after it"


def read_orders(account: Mapping[str, Any], prefix: str) -> dict[str, Order]:
    """The bot's own orders, of all times, as the venue's book has them."""
    return {
        each["clientOrderId"]: Order(
            symbol=each["symbol"],
            order_id=int(each["orderId"]),
            client_id=each["clientOrderId"],
            account=int(account["uid"]),
            side=Side(each["side"]),
            type=OrderType(each["type"]),
            quantity=Decimal(each["origQty"]),
            created_ns=int(each["time"]) * 1_000_000,
            updated_ns=int(each["updateTime"]) * 1_000_000,
            state=OrderState(each["status"]),
            filled_base=Decimal(each["executedQty"]),
        )
        for each in account["orders"]
        if each["clientOrderId"].startswith(prefix)
    }


def read_held(account: Mapping[str, Any], prices: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """By symbol, with what is locked in orders; what is large enough to sell. The account began without any of it."""
    held = {}
    for symbol, price in prices.items():
        balance = account["balances"].get(symbol.partition("/")[0], {})
        quantity = Decimal(balance.get("free", "0")) + Decimal(balance.get("locked", "0"))
        if quantity * price >= LEAST_QUOTE:
            held[symbol] = quantity
    return held


def check_latch(
    told: Mapping[str, Any],
    *,
    orders: Mapping[str, Order],
    held: Mapping[str, Decimal],
    open_before: Collection[str],
    engaged_ns: int,
    source: str,
    action: str,
) -> Iterable[str]:
    """What a stop that has ended says, against the venue's book. `open_before`: ids at the venue just before it.
    `engaged_ns`: by the machine's clock, which is the venue's; the trader's is as wrong as a round trip is long.
    """
    if not told.get("acknowledgedAt") or not told.get("engagedAt"):
        yield "it ended, and was never acknowledged"
        return
    # What was open before and ended after, and every entry that reached the book after.
    touched = {i for i in open_before if orders[i].state.is_open or orders[i].updated_ns > engaged_ns}
    touched |= {i for i, order in orders.items() if order.side.is_buy and order.created_ns > engaged_ns}
    yield from check_orders(told, orders, touched=touched)
    yield from check_positions(told, dict(held))
    if told["source"] != source or source not in {each["source"] for each in told["sources"]}:
        yield f"the source is told as {told['source']}, {told['sources']}, and it was {source}"
    if told["action"] != action:
        yield f"the action is told as {told['action']}, and it was {action}"
    left = [order for order in orders.values() if order.state.is_open]
    if entries := [order.client_id for order in left if order.side.is_buy]:
        yield f"entries {entries} still rest at the venue"
    if action == "Flatten" and (left or held):
        yield f"after Flatten {[o.client_id for o in left]} are open and {dict(held)} is held"
    if action != "Flatten" and not [order for order in left if order.type.is_conditional]:
        yield "the protective stop is gone"


def find_word(words: Sequence[Word], cause: str, *, after_ns: int) -> Word | None:
    """When the trader first named that cause, after that moment."""
    return next((word for word in words if word.at_ns >= after_ns and cause in word.causes), None)
