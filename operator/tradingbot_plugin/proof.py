"""PURE. What a bot's status proves about a stop that was asked for, and the exit code that follows.

Proof is `status.trader.latch` of the bot that was asked, and nothing else: `status.killSwitch` is the operator's copy,
and the spec may have been taken back by GitOps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from tradingbot_api.conditions import LatchState
from tradingbot_api.spec import StopAction
from tradingbot_api.status import MAX_REPORTED_ORDERS, Flat
from tradingbot_plugin.view import BotView, LatchView, OrderView, TraderView, is_as_strict

OK, FAILED, NOT_FLAT, NOT_PROVED = 0, 1, 2, 3
"""Exit codes. 1 is what was asked for wrongly, or refused by the API server."""
_ENDED = frozenset({"Cancelled", "Filled", "Rejected", "Denied", "PresumedAbsent"})
"""Results of an order that is at the venue no more; whatever else a trader may write is not known to be so."""
_PROTECTIVE = "protective stop"
_SHOWN_ORDERS = 5


class Outcome(StrEnum):
    STOPPED = "Stopped"
    """Proved."""
    NOT_FLAT = "NotFlat"
    """No new risk leaves and no order is left, but Flatten has not sold everything."""
    NOT_PROVED = "NotProved"
    GONE = "Gone"
    """The bot was deleted, or another one has its name: nobody tells whether it stopped."""
    FAILED = "Failed"
    """The stop could not even be asked for."""


_CODES = {
    Outcome.STOPPED: OK,
    Outcome.NOT_FLAT: NOT_FLAT,
    Outcome.NOT_PROVED: NOT_PROVED,
    Outcome.GONE: NOT_PROVED,
    Outcome.FAILED: FAILED,
}
_WORST_FIRST = (FAILED, NOT_PROVED, NOT_FLAT, OK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked of one bot, and what was known of it at that moment."""

    uid: str
    action: StopAction
    generation: int = 0
    """Of the spec with the stop in it; 0: the bot itself could not be patched."""
    halt: str = ""
    """Name of the TradingHalt for this bot; empty: there is none. No other halt ever had it, where `generation` is
    0."""


@dataclass(frozen=True, slots=True)
class Proof:
    outcome: Outcome
    why: str
    """For a person: what is missing, or what is proved."""
    is_latched: bool = False
    """The trader has taken this very stop: asking again would change nothing."""
    has_given_up: bool = False
    """Its Flatten sells no more, though something is held."""

    @property
    def is_final(self) -> bool:
        """Nothing better can come. Not flat is not, as long as the trader goes on selling."""
        return self.outcome in (Outcome.STOPPED, Outcome.GONE) or self.has_given_up


def exit_code(outcomes: Iterable[Outcome]) -> int:
    """The worst of all; without any bot nothing is proved."""
    return worst(_CODES[outcome] for outcome in outcomes)


def worst(codes: Iterable[int]) -> int:
    given = set(codes) or {FAILED}
    return next(code for code in _WORST_FIRST if code in given)


def judge(bot: BotView | None, asked: Asked) -> Proof:
    if bot is None:
        return Proof(Outcome.GONE, "the bot is gone, and with it whoever could say that it stopped")
    if not asked.uid or bot.uid != asked.uid:
        return Proof(Outcome.GONE, "another bot was made under this name meanwhile: stop that one as well")
    trader = bot.trader
    if trader is None:
        return Proof(Outcome.NOT_PROVED, _why_silent(bot))
    latch = trader.latch
    if not latch.is_set:
        return Proof(Outcome.NOT_PROVED, f"its trader has not latched a stop; {_last_word(trader)}")
    if not latch.acknowledged_at:
        return Proof(Outcome.NOT_PROVED, "its trader has seen the stop and has not written it down yet")
    if not _is_about_this_request(trader, asked):
        return Proof(
            Outcome.NOT_PROVED,
            f"an earlier stop is latched, and its trader has not looked at this one; {_last_word(trader)}",
        )
    if _may_be_released(bot, latch, asked):
        return Proof(Outcome.NOT_PROVED, "latched, but somebody asks for its release; kill again where this is wrong")
    if not is_as_strict(latch.action, asked.action):
        stricter = f"latched as {latch.action or 'an unknown action'}, not yet as {asked.action}"
        return Proof(Outcome.NOT_PROVED, stricter)
    if latch.state != LatchState.STOPPED:
        return _judge_stopping(latch, trader)
    if asked.action is StopAction.FLATTEN and latch.flat is not Flat.TRUE:
        return Proof(Outcome.NOT_FLAT, _why_not_flat(latch), is_latched=True, has_given_up=bool(latch.given_up))
    return Proof(Outcome.STOPPED, _what_is_proved(latch), is_latched=True)


def _is_about_this_request(trader: TraderView, asked: Asked) -> bool:
    """Whether the report is younger than the request, without comparing anybody's clocks.

    A report may have been on its way while the request was made, and what it tells may have ended before: an unknown
    latch's id is no sign, nor is the name of a halt that an earlier one had. The trader has looked at the spec with the
    stop in it, or it names a halt that nobody but this request has made.
    """
    if asked.generation:
        return asked.generation <= trader.generation
    return names_halt(trader.latch, asked.halt)


def _may_be_released(bot: BotView, latch: LatchView, asked: Asked) -> bool:
    """Its id is named, the switch is off, and the trader does not know of a halt that holds it."""
    return bot.rearm == latch.id and not bot.is_engaged and not names_halt(latch, asked.halt)


def names_halt(latch: LatchView, name: str) -> bool:
    return bool(name) and f"TradingHalt/{name}" in latch.active_sources


def _judge_stopping(latch: LatchView, trader: TraderView) -> Proof:
    left = [order for order in latch.orders if not _has_ended(order)]
    are_orders_known = len(latch.orders) < MAX_REPORTED_ORDERS and not trader.unresolved_orders
    if latch.action is StopAction.FLATTEN and not left and are_orders_known and latch.flat is not Flat.TRUE:
        return Proof(Outcome.NOT_FLAT, _why_not_flat(latch), is_latched=True)
    parts = ["latched, no new risk leaves"]
    parts += [f"{len(left)} orders left: {_list_orders(left)}"] if left else []
    parts += [f"{trader.unresolved_orders} unresolved"] if trader.unresolved_orders else []
    parts += [latch.message] if latch.message else []
    return Proof(Outcome.NOT_PROVED, "; ".join(parts), is_latched=True)


def _has_ended(order: OrderView) -> bool:
    """A protective stop stays on purpose."""
    return order.result in _ENDED or (order.result == "Remaining" and order.reason == _PROTECTIVE)


def _list_orders(orders: list[OrderView]) -> str:
    told = [
        f"{each.side} {each.symbol} {each.client_order_id} {each.result}" + (f" ({each.reason})" if each.reason else "")
        for each in orders[:_SHOWN_ORDERS]
    ]
    more = [f"and {len(orders) - _SHOWN_ORDERS} more"] if len(orders) > _SHOWN_ORDERS else []
    return ", ".join(told + more)


def _why_not_flat(latch: LatchView) -> str:
    left = ", ".join(latch.positions_left)
    parts = [f"still held: {left}" if left else f"flat is {latch.flat}"]
    parts += [f"gave up {each.symbol}: {each.reason}" for each in latch.given_up]
    parts += [latch.message] if latch.message else []
    return f"stopped, but not flat: {'; '.join(parts)}"


def _what_is_proved(latch: LatchView) -> str:
    kept = sum(order.result == "Remaining" for order in latch.orders)
    parts = [f"{latch.orders_cancelled} orders cancelled"]
    parts += [f"{kept} protective stops stay"] if kept else []
    parts += [f"{latch.positions_closed} positions closed"] if latch.positions_closed else []
    parts += [f"dust: {', '.join(latch.dust)}"] if latch.dust else []
    return ", ".join(parts)


def _why_silent(bot: BotView) -> str:
    if bot.is_report_foreign:
        return "the report in its status speaks for an earlier bot of this name; its own trader has said nothing"
    told = "no trader of this bot has reported"
    if bot.is_suspended:
        return f"{told}: it is suspended. A trader that starts takes the stop over before it trades"
    return f"{told}. A trader that starts takes the stop over before it trades"


def _last_word(trader: TraderView) -> str:
    return f"last heard of at {trader.heartbeat_at or 'an unknown time'}"
