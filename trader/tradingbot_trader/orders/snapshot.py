"""PURE. From what a venue shows of an order to our own events and intents. Between an adapter and the machine."""

from __future__ import annotations

from dataclasses import dataclass

from tradingbot_trader.orders.order import BookName, Fill, Intent, OrderEvent, OrderState, OrderType, Purpose, Side
from tradingbot_trader.venues.account import OrderSnapshot, VenueTrade

ADOPTED = "adopted from the venue: the store had lost it"


@dataclass(frozen=True, slots=True)
class Place:
    """Where fills belong: the part of their key that no message of a venue carries."""

    venue: str
    account: str
    book: BookName


def to_events(snapshot: OrderSnapshot, client_order_id: str, place: Place) -> list[OrderEvent]:
    """The trades that it carries first, each at the quantity that it brings, then the state. Any order would do."""
    events = [trade_event(trade, client_order_id, place) for trade in snapshot.trades]
    events.append(
        OrderEvent(
            client_order_id=client_order_id,
            state=snapshot.state,
            at_ns=snapshot.updated_ns,
            venue_order_id=snapshot.venue_order_id,
            filled_base=snapshot.filled_base,
            reason=snapshot.reason,
        )
    )
    return events


def trade_event(trade: VenueTrade, client_order_id: str, place: Place) -> OrderEvent:
    """Says no more than what one trade proves: that much is filled, whatever else was."""
    return OrderEvent(
        client_order_id=client_order_id,
        state=OrderState.PARTIALLY_FILLED,
        at_ns=trade.event_time_ns,
        venue_order_id=trade.venue_order_id,
        filled_base=trade.quantity_base,
        fill=to_fill(trade, client_order_id, place),
    )


def to_fill(trade: VenueTrade, client_order_id: str, place: Place) -> Fill:
    return Fill(
        venue=place.venue,
        account=place.account,
        book=place.book,
        symbol=trade.symbol,
        trade_id=trade.trade_id,
        client_order_id=client_order_id,
        side=trade.side,
        price=trade.price,
        quantity_base=trade.quantity_base,
        fee_asset=trade.fee_asset,
        fee_amount=trade.fee_amount,
        event_time_ns=trade.event_time_ns,
        is_maker=trade.is_maker,
    )


def to_intent(snapshot: OrderSnapshot, book: BookName) -> Intent:
    """The intent that an own order must have had, when no store remembers it. Spot, long only: a buy is an entry."""
    price = snapshot.price or max((trade.price for trade in snapshot.trades), default=snapshot.price)
    purpose = Purpose.ENTRY if snapshot.side is Side.BUY else Purpose.EXIT
    if snapshot.type is OrderType.STOP_LOSS:
        purpose = Purpose.PROTECT
    return Intent(
        client_order_id=snapshot.client_order_id,
        book=book,
        symbol=snapshot.symbol,
        side=snapshot.side,
        type=snapshot.type,
        time_in_force=snapshot.time_in_force,
        purpose=purpose,
        quantity_base=snapshot.quantity_base,
        price=price,
        created_ns=snapshot.created_ns,
        reason=ADOPTED,
        stop_price=snapshot.stop_price,
    )
