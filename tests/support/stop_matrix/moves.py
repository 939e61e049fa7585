"""How each source of the matrix of stops is switched on and off on a real bot, and how each situation is brought about.

The tables have the names of the simulation's. A situation that takes something from everybody (the operator, the API
server) is brought about by whoever plays the wave (waves.py), and is plain here.
"""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from support.stop_matrix.bots import FILLS_SLOWLY, RESTS, Bot
from support.stop_matrix.lines import ACCOUNT, MARKET
from tradingbot_api import API_VERSION
from tradingbot_trader.book import requests
from tradingbot_trader.control.break_glass import FILE_NAME
from tradingbot_trader.orders.order import BookName

FLIGHT_SECONDS = "2.5"
"""Below recvWindow (3 s): the venue still takes it."""
HIDDEN_SECONDS = "10"
TIGHT, WIDE = "0.0001", "50"
"""Percent of the limit: what the fees of one purchase exceed, and what nothing here reaches."""
Act = Callable[[Bot], object]


def nothing(_bot: Bot) -> None:
    """Nothing happens."""


# Sources that latch


@dataclass(frozen=True, kw_only=True)
class Latching:
    told_as: Callable[[Bot], str]
    on: Callable[[Bot, str], object]
    """With the action that the cell is about, which the spec holds already."""
    off: Act = nothing
    released_by: dict[str, Any] = field(default_factory=dict)
    """What the spec has to say beside the id of the latch."""
    needs_api: bool = False
    """It comes from the API server, which is therefore taken away only after it was heard."""


def _halt_name(bot: Bot) -> str:
    return f"{bot.live.desk}-{bot.name}"


def _halt(bot: Bot, action: str) -> None:
    spec = {"namespaces": [bot.live.desk], "bots": [bot.name], "action": action, "reason": "cell"}
    body = {"apiVersion": API_VERSION, "kind": "TradingHalt", "metadata": {"name": _halt_name(bot)}, "spec": spec}
    answer = bot.common.api.create(f"/apis/{API_VERSION}/tradinghalts", body)
    assert answer.is_success, answer.body


def _delete_halt(bot: Bot) -> None:
    answer = bot.common.api.delete(f"/apis/{API_VERSION}/tradinghalts/{_halt_name(bot)}")
    assert answer.is_success, answer.body


def _loss(told_as: str, limit: str) -> Latching:
    return Latching(
        told_as=lambda _: told_as,
        on=lambda bot, _: bot.ask({"risk": {limit: TIGHT}}),
        released_by={"risk": {limit: WIDE}},
        needs_api=True,
    )


LATCHING = {
    "kill-switch": Latching(
        told_as=lambda _: "KillSwitch",
        on=lambda bot, _: bot.ask({"killSwitch": {"engaged": True, "reason": "cell"}}),
        needs_api=True,
    ),
    "halt": Latching(told_as=lambda bot: f"TradingHalt/{_halt_name(bot)}", on=_halt, off=_delete_halt, needs_api=True),
    "daily-loss": _loss("DailyLoss", "maxDailyLossPercent"),
    "drawdown": _loss("Drawdown", "maxDrawdownPercent"),
    "signal": Latching(told_as=lambda _: "Signal", on=lambda bot, _: os.kill(bot.pid, signal.SIGUSR1)),
    "break-glass": Latching(
        told_as=lambda _: "BreakGlassFile",
        on=lambda bot, action: (bot.store / FILE_NAME).write_text(f"{action} cell"),
        off=lambda bot: (bot.store / FILE_NAME).unlink(),
    ),
}


# Sources that clear themselves


@dataclass(frozen=True, kw_only=True)
class SelfClearing:
    cause: str
    """As the trader's log calls it."""
    on: Callable[[Bot, ExitStack], object] = lambda _bot, _until_off: None
    """What ends it goes onto the stack."""
    lead_seconds: float = 0.0
    """It takes effect so long after it is switched on, at the earliest: when the situation is to be there."""
    ends_life: bool = False
    has_candles: bool = True
    """The strategy is asked, and asks, as long as it lasts."""
    told_by: str = ""
    """A record of the audit says when, where the cause alone would not: it is also named for other reasons."""


def _lose_lease(bot: Bot, until_off: ExitStack) -> None:
    """Another trader seems to hold it. Just after a renewal, so that the next look is known: 9 to 11 s later."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{bot.live.desk}/leases"
    api = bot.common.api
    (name,) = [
        each["metadata"]["name"]
        for each in api.get(path).body["items"]
        if each["metadata"]["name"].startswith(f"{bot.name}-trader")
    ]
    before = api.get(f"{path}/{name}").body["spec"]
    spec = bot.wait(
        "a renewal", lambda: (now := api.get(f"{path}/{name}").body["spec"])["renewTime"] != before["renewTime"] and now
    )

    def give(holder: str) -> None:
        answer = api.merge(f"{path}/{name}", {"spec": {"holderIdentity": holder}})
        assert answer.is_success, answer.body

    give("another-trader")
    until_off.callback(give, spec["holderIdentity"])


def _withdraw(bot: Bot, until_off: ExitStack) -> None:
    """A person takes money away, and asks for a comparison; later it is put back."""
    venue, uid = bot.common.stack.venue, bot.live.uid

    def back() -> None:
        venue.transfer(uid, "USDT", "500")
        _reconcile(bot)

    venue.transfer(uid, "USDT", "-500")
    until_off.callback(back)
    _reconcile(bot)


def _reconcile(bot: Bot) -> None:
    request = requests.Request(
        id=uuid.uuid4().hex, kind=requests.RequestKind.RECONCILE, book=BookName.LIVE, who="cell",
        created_ns=time.time_ns(),
    )  # fmt: skip
    requests.put(bot.store, request)


def _lose_feed(bot: Bot, until_off: ExitStack) -> None:
    bot.common.lines.cut(bot.owner, MARKET)
    until_off.callback(bot.common.lines.mend, bot.owner, MARKET)


def _refuse_store(bot: Bot, until_off: ExitStack) -> None:
    until_off.enter_context(bot.store_refused())


SELF_CLEARING = {
    "lost-lease": SelfClearing(cause="LeaseLost", on=_lose_lease, lead_seconds=8.0),
    "lost-contact": SelfClearing(cause="ControlPlaneLost"),
    "failed-reconciliation": SelfClearing(cause="Reconciling", on=_withdraw, told_by="Mismatch"),
    "feed-lost": SelfClearing(cause="FeedLost", on=_lose_feed, has_candles=False),
    "clock-skew": SelfClearing(cause="ClockSkewed"),
    "disk-full": SelfClearing(cause="StoreUnwritable", on=_refuse_store),
    "sigterm": SelfClearing(cause="Terminating", on=lambda bot, _: os.kill(bot.pid, signal.SIGTERM), ends_life=True),
}


# Situations


@dataclass(frozen=True, kw_only=True)
class Situation:
    before: Act = nothing
    """Before the entry."""
    made_at: int = 0
    """In a wave: the larger, the nearer to its beginning is it brought about, because it does not last."""
    takes_seconds: float = 0.0
    """More than the candle that every entry waits for."""
    entry: dict[str, str] | None = field(default_factory=lambda: dict(RESTS))
    is_there: Callable[[Bot], object] = lambda bot: bot.entries()
    """That it came about: a cell in which it did not proves nothing."""
    begin: Act = nothing
    """In the instant in which the stop is asked for."""
    met: Callable[[Bot], object] = lambda _: True
    """Asked at the end of a stop: that what was begun was met."""
    heal: Act = nothing


def _fly(bot: Bot) -> None:
    bot.add_fault("accept-late", "place", symbol="ETHUSDT", nth=1, seconds=FLIGHT_SECONDS)


def _is_under_way(bot: Bot) -> bool:
    (number,) = bot.rules
    return bool(bot.hits(number)) and not bot.entries()


def _lose_answer(bot: Bot) -> None:
    bot.add_fault("lose-answer", "place", symbol="ETHUSDT", nth=1)
    bot.add_fault("hide-order", "place", symbol="ETHUSDT", nth=1, seconds=HIDDEN_SECONDS)
    bot.add_fault("drop-events", "user-stream", symbol="ETHUSDT", events=1000)


def _is_partly_filled(bot: Bot) -> bool:
    return any(each["status"] == "PARTIALLY_FILLED" for each in bot.entries())


def _fail_cancels(bot: Bot) -> None:
    bot.add_fault("server-error", "cancel", count=3, status=502, html=True)


SITUATIONS = {
    "idle": Situation(entry=None, is_there=lambda bot: not bot.entries()),
    "in-flight": Situation(made_at=2, before=_fly, is_there=_is_under_way),
    "answer-lost": Situation(before=_lose_answer, is_there=lambda bot: bot.in_doubt(), heal=Bot.remove_faults),
    "partially-filled": Situation(made_at=1, takes_seconds=3.0, entry=dict(FILLS_SLOWLY), is_there=_is_partly_filled),
    "cancels-5xx": Situation(begin=_fail_cancels, met=lambda bot: bot.hits(bot.rules[0])),
    "websocket-down": Situation(
        begin=lambda bot: bot.common.lines.cut(bot.owner, ACCOUNT),
        heal=lambda bot: bot.common.lines.mend(bot.owner, ACCOUNT),
    ),
    "operator-dead": Situation(),
    "api-dead": Situation(),
}
