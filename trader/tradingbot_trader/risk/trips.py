"""PURE. Losses that stop the bot or close a position, whatever the strategy thinks. Asked after each fill and price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from tradingbot_trader.book.ledger import Position
from tradingbot_trader.book.pnl import PnlTrack
from tradingbot_trader.risk.limits import Limits
from tradingbot_trader.risk.observed import HUNDRED, ONE


class TripReason(StrEnum):
    DAILY_LOSS = "DailyLoss"
    DRAWDOWN = "Drawdown"
    STOP_LOSS = "StopLoss"
    TRADE_LOSS = "TradeLoss"


@dataclass(frozen=True, slots=True)
class Trip:
    """A limit of loss that was reached."""

    reason: TripReason
    observed: Decimal
    limit: Decimal
    is_latching: bool
    """True: the bot stops until a person re-arms it. False: one position is closed, by an exit."""
    symbol: str = ""
    """The position to close; empty when the whole bot stops."""


def check_bot(track: PnlTrack, limits: Limits) -> list[Trip]:
    """Daily loss and drawdown of the whole bot; both latch."""
    trips = (daily_loss(track, limits), drawdown(track, limits))
    return [trip for trip in trips if trip is not None]


def check_positions(positions: Mapping[str, Position], prices: Mapping[str, Decimal], limits: Limits) -> list[Trip]:
    """Positions that have lost enough to be closed, at most one reason each. Without a price nothing can be said."""
    trips = []
    for symbol, position in positions.items():
        if position.quantity_base <= 0 or symbol not in prices:
            continue
        trip = stop_loss(position, prices[symbol], limits) or trade_loss(position, prices[symbol], limits)
        if trip is not None:
            trips.append(trip)
    return trips


def daily_loss(track: PnlTrack, limits: Limits) -> Trip | None:
    """Loss since 00:00 UTC, realized and unrealized."""
    allowed = limits.percent_of_granted(limits.max_daily_loss_percent)
    return _reached(TripReason.DAILY_LOSS, -track.day_quote, allowed, is_latching=True)


def drawdown(track: PnlTrack, limits: Limits) -> Trip | None:
    """Fall from the highest cumulative P&L ever, on the limit in force now."""
    allowed = limits.percent_of_granted(limits.max_drawdown_percent)
    return _reached(TripReason.DRAWDOWN, track.drawdown_quote, allowed, is_latching=True)


def stop_loss(position: Position, price: Decimal, limits: Limits) -> Trip | None:
    """The price has fallen so far below what a unit cost on average, fees included."""
    average = position.average_price
    if average is None:
        return None
    floor = average * (ONE - limits.stop_loss_percent / HUNDRED)
    if price > floor:
        return None
    return Trip(TripReason.STOP_LOSS, price, floor, is_latching=False, symbol=position.symbol)


def trade_loss(position: Position, price: Decimal, limits: Limits) -> Trip | None:
    """One position has lost so much of the granted limit."""
    allowed = limits.percent_of_granted(limits.max_trade_loss_percent)
    loss = -position.unrealized_quote(price)
    return _reached(TripReason.TRADE_LOSS, loss, allowed, is_latching=False, symbol=position.symbol)


def _reached(
    reason: TripReason, loss: Decimal, allowed: Decimal, *, is_latching: bool, symbol: str = ""
) -> Trip | None:
    """Without a granted limit there is no percentage of it; no entry passes then anyway."""
    if allowed <= 0 or loss < allowed:
        return None
    return Trip(reason, loss, allowed, is_latching=is_latching, symbol=symbol)
