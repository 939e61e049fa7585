"""The matrix of stops as data: who asks (sources), and in which moment (situations). Played by stop_plays.py."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from support.simulation.stop_world import BTC, ETH, StopWorld
from support.simulation.venue import add_rules
from tradingbot_sandbox.venues import faults_rules as rules
from tradingbot_sandbox.venues.faults_rules import Effect, Operation, Rule, When
from tradingbot_trader.book import requests
from tradingbot_trader.book.audit import AuditKind
from tradingbot_trader.book.reader import open_reader
from tradingbot_trader.control.break_glass import FILE_NAME
from tradingbot_trader.orders.order import BookName, OrderState

ACTIONS = ("ReduceOnly", "CancelOrders", "Flatten")
FLIGHT_SECONDS = Decimal(2)
"""Below recvWindow (3 s): the venue still takes it."""
REST_LEAD_SECONDS, FLIGHT_LEAD_SECONDS = 6.0, 1.5
"""So long before a source takes effect is its situation made, where that moment is known."""
NS = 1_000_000_000
Step = Callable[[StopWorld], None]


def _nothing(world: StopWorld) -> None:
    """Nothing happens."""


# Sources that latch


@dataclass(frozen=True, slots=True, kw_only=True)
class Latching:
    """One who asks for a stop that only a person releases."""

    told_as: str
    on: Callable[[StopWorld, str], None]
    """With the action that the cell is about."""
    off: Step
    needs_api: bool = False
    """It comes from the API server, which is therefore cut off only after it was heard."""
    risk: dict[str, str] = field(default_factory=dict)
    is_loss: bool = False


def _fall(world: StopWorld, _action: str) -> None:
    world.market.move(BTC, "-5")


def _recover(world: StopWorld) -> None:
    """What was sold on the way is lost for good: a person looks at it and allows more."""
    world.market.put(BTC)
    world.kube.edit(risk={"maxDailyLossPercent": "50", "maxDrawdownPercent": "50"})


def send_signal(world: StopWorld, _action: str) -> None:
    assert world.session is not None
    world.session.stop_by_signal()


LATCHING = {
    "kill-switch": Latching(
        told_as="KillSwitch",
        on=lambda world, _: world.kube.edit(killSwitch={"engaged": True, "reason": "cell"}),
        off=lambda world: world.kube.edit(killSwitch={"engaged": False}),
        needs_api=True,
    ),
    "halt": Latching(
        told_as="TradingHalt/all",
        on=lambda world, action: world.kube.halt("all", {"action": action, "reason": "cell"}),
        off=lambda world: world.kube.halt("all", None),
        needs_api=True,
    ),
    "daily-loss": Latching(
        told_as="DailyLoss", on=_fall, off=_recover, risk={"maxDailyLossPercent": "0.5"}, is_loss=True
    ),
    "drawdown": Latching(told_as="Drawdown", on=_fall, off=_recover, risk={"maxDrawdownPercent": "0.5"}, is_loss=True),
    "signal": Latching(told_as="Signal", on=send_signal, off=_nothing),
    "break-glass": Latching(
        told_as="BreakGlassFile",
        on=lambda world, action: (world.store / FILE_NAME).write_text(f"{action} cell") and None,
        off=lambda world: (world.store / FILE_NAME).unlink(),
    ),
}


# Sources that clear themselves


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfClearing:
    """One that holds back for as long as it lasts."""

    on: Step
    off: Step
    grace_seconds: float = 0.0
    """The trader may need so long to notice."""
    is_noticed: Callable[[StopWorld], object] = lambda _: True
    effect_ns: Callable[[StopWorld], int] | None = None
    """By the monotonic clock: when it takes effect, if that is not at once."""
    ends_life: bool = False


def _withdraw(world: StopWorld, amount: str) -> None:
    """What nobody has recorded; and a person asks for a comparison."""
    world.venue.exchange.desk.transfer(world.venue.account, "BTC", Decimal(amount), world.clock.now_ns())
    request = requests.Request(
        id=uuid.UUID(int=world.draw.getrandbits(128)).hex, kind=requests.RequestKind.RECONCILE, book=BookName.LIVE,
        who="cell", created_ns=world.clock.now_ns(),
    )  # fmt: skip
    requests.put(world.store, request)


def _mismatched(world: StopWorld) -> bool:
    with open_reader(world.store) as reader:
        return any(record.kind == AuditKind.MISMATCH for record in reader.audit_records())


def _refuse_lease(world: StopWorld) -> None:
    world.kube.refuses_lease = True


def _give_lease(world: StopWorld) -> None:
    world.kube.refuses_lease = False


def _cut_api(world: StopWorld) -> None:
    world.kube.down = True


def _lose_feed(world: StopWorld) -> None:
    world.venue.refused_streams.add("market")
    world.venue.hang_up("market")


def _bend_clock(world: StopWorld) -> None:
    world.trader_clock.skew_ns = 5 * NS


def _mend_clock(world: StopWorld) -> None:
    world.trader_clock.skew_ns = 0


SELF_CLEARING = {
    "lost-lease": SelfClearing(
        on=_refuse_lease,
        off=_give_lease,
        # It has to outlive what the venue may take a request for: 60 s less 4.
        effect_ns=lambda world: world.kube.heard_ns["lease"] + 56 * NS,
    ),
    "lost-contact": SelfClearing(
        on=_cut_api,
        off=lambda world: world.come_back(),
        grace_seconds=0.2,
        effect_ns=lambda w: w.kube.heard_ns["halts"] + 30 * NS,
    ),
    "failed-reconciliation": SelfClearing(
        on=lambda world: _withdraw(world, "-0.05"), off=lambda world: _withdraw(world, "0.05"), is_noticed=_mismatched
    ),
    "feed-lost": SelfClearing(
        on=_lose_feed, off=lambda world: world.venue.refused_streams.discard("market"), grace_seconds=0.1
    ),
    "clock-skew": SelfClearing(on=_bend_clock, off=_mend_clock, grace_seconds=0.1),
    "disk-full": SelfClearing(
        on=lambda world: world.fill_disk(is_full=True),
        off=lambda world: world.fill_disk(is_full=False),
    ),
    "sigterm": SelfClearing(on=lambda world: world.terminate(), off=_nothing, ends_life=True),
}


# Situations


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """The moment in which the stop comes."""

    faults: tuple[Rule, ...] = ()
    """The venue's, from before the entry on."""
    has_entry: bool = True
    is_there: Callable[[StopWorld], object] = lambda world: world.entries_open()
    """That it came about: a cell in which it did not proves nothing."""
    prepare: Step = _nothing
    """Once the entry rests."""
    begin: Step = _nothing
    """In the instant in which the stop is asked for."""
    heal: Step = _nothing
    cuts_api: bool = False
    lead_seconds: float = REST_LEAD_SECONDS


def _on_entry(what: Effect) -> Rule:
    return Rule(when=When(operation=Operation.PLACE, symbol="ETHUSDT", nth=1), what=what)


def _is_unresolved(world: StopWorld) -> bool:
    with open_reader(world.store) as reader:
        return any(order.state is OrderState.UNRESOLVED for order in reader.open_orders(BookName.LIVE))


def _fail_cancels(world: StopWorld) -> None:
    three = When(operation=Operation.CANCEL, count=3)
    add_rules(world.venue, [Rule(when=three, what=rules.ServerError(status=502, html=True))])


def _cut_account_stream(world: StopWorld) -> None:
    world.venue.refused_streams.add("account")
    world.venue.hang_up("account")


def _kill_operator(world: StopWorld) -> None:
    world.kube.is_operator_dead = True


SITUATIONS = {
    "idle": Situation(has_entry=False, is_there=lambda world: not world.entries_open()),
    "in-flight": Situation(
        faults=(_on_entry(rules.AcceptLate(seconds=FLIGHT_SECONDS)),),
        is_there=lambda world: world.entries_under_way(),
        lead_seconds=FLIGHT_LEAD_SECONDS,
    ),
    "answer-lost": Situation(
        faults=(
            _on_entry(rules.LoseAnswer()),
            _on_entry(rules.HideOrder(seconds=Decimal(10))),
            Rule(when=When(operation=Operation.USER_STREAM, symbol="ETHUSDT"), what=rules.DropEvents(events=1000)),
        ),
        is_there=_is_unresolved,
        heal=lambda world: world.venue.faults.script.clear() and None,
        lead_seconds=FLIGHT_LEAD_SECONDS,
    ),
    "partially-filled": Situation(
        prepare=lambda world: world.market.dip(ETH, "1", "0.1"),
        is_there=lambda world: world.entries_open() and ETH in world.held(),
    ),
    "cancels-5xx": Situation(begin=_fail_cancels),
    "websocket-down": Situation(
        begin=_cut_account_stream, heal=lambda world: world.venue.refused_streams.discard("account")
    ),
    "operator-dead": Situation(begin=_kill_operator, heal=lambda world: world.revive_operator()),
    "api-dead": Situation(cuts_api=True, heal=lambda world: world.come_back()),
}
