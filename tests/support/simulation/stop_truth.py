"""PURE. Whether what a latch says is what the venue's book says. Beside truth.py: nothing of the trader's is used."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from tradingbot_sandbox.venues.matching import Order, OrderState

LEAST_QUOTE = Decimal(5)
"""The simulated Binance's smallest notional (its rules.py)."""
LOWEST_PRICE = Decimal(90)
"""No world of stops goes below it."""
_OPEN = (OrderState.NEW, OrderState.PARTIALLY_FILLED)
_ENDS = {
    "Cancelled": (OrderState.CANCELED, OrderState.EXPIRED),
    "Filled": (OrderState.FILLED,),
    "Remaining": _OPEN,
}


def is_tradable(quantity_base: Decimal) -> bool:
    """Surely: between the smallest that can be sold here and a tenth more nothing is claimed."""
    return quantity_base * LOWEST_PRICE >= LEAST_QUOTE


def check_flat(
    told: Mapping[str, Any], held: Mapping[str, Decimal], entries_open: Sequence[str], under_way: int
) -> Iterable[str]:
    """`flat: True` is the strongest word that there is: nothing may be held, rest or be on its way behind it."""
    if str(told.get("flat")) != "True":
        return
    if held:
        yield f"flat is True, and the venue holds {dict(held)}"
    if entries_open:
        yield f"flat is True, and entries {entries_open} rest at the venue"
    if under_way:
        yield f"flat is True, and {under_way} entries are on their way"


def check_orders(told: Mapping[str, Any], at_venue: Mapping[str, Order], *, touched: Collection[str]) -> Iterable[str]:
    """Each order of the report against the book, and each order of the book that the report must name.

    `touched`: ids of what was open at the venue when the latch was durable, or reached it afterwards.
    """
    reported = {each["clientOrderId"]: each for each in told.get("orders", [])}
    for client_id, each in reported.items():
        yield from _check_result(client_id, each, at_venue.get(client_id))
    open_ids = {client_id for client_id, order in at_venue.items() if order.state in _OPEN}
    for client_id in sorted((set(touched) | open_ids) - reported.keys()):
        yield f"{client_id} is {at_venue[client_id].state} at the venue and missing in the report"
    # a protective stop that the stop had left, and that went later, was not cancelled by it
    theirs = {} if told.get("action") == "Flatten" else {i: o for i, o in at_venue.items() if o.type.is_conditional}
    cancelled = sum(each["result"] == "Cancelled" for i, each in reported.items() if i not in theirs)
    if int(told.get("ordersCancelled", 0)) != cancelled:
        yield f"ordersCancelled is {told.get('ordersCancelled')}, {cancelled} are listed"


def _check_result(client_id: str, each: Mapping[str, Any], order: Order | None) -> Iterable[str]:
    result = each["result"]
    if result in _ENDS:
        if order is None:
            yield f"{client_id} is told as {result}, and the venue never had it"
        elif order.state not in _ENDS[result]:
            yield f"{client_id} is told as {result}, at the venue it is {order.state}"
    elif result == "Unresolved":
        yield f"{client_id} is Unresolved, and the stop is told as done"
    elif order is not None:
        yield f"{client_id} is told as {result}, at the venue it is {order.state}"
    if result == "Remaining" and not each.get("reason"):
        yield f"{client_id} remains, and no reason is given"


def check_positions(told: Mapping[str, Any], held: Mapping[str, Decimal]) -> Iterable[str]:
    """`flat`, and what is left, at the end of a stop."""
    flat = str(told.get("flat"))
    if flat not in ("True", "False"):
        yield f"flat is {flat}, though everything is known"
    if (flat == "True") is not (not held):
        yield f"flat is {flat}, and the venue holds {dict(held)}"
    left = {text.rpartition(" ")[2]: Decimal(text.partition(" ")[0]) for text in told.get("positionsLeft", [])}
    if left != held:
        yield f"positionsLeft is {left}, the venue holds {dict(held)}"
