"""PURE. A bot as the API server gives it, read so that nothing in it can make a reader fail: what is missing or of
another type than it should be is empty, and never counts as proof. Behind kube.py, before proof.py and table.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tradingbot_api.conditions import LatchState
from tradingbot_api.spec import Mode, StopAction
from tradingbot_api.status import Flat

Raw = dict[str, Any]
OPERATOR_PREFIX = "operator-"
"""Of a latch's id that the operator has minted, while no trader reported."""
_STRICTNESS = {StopAction.REDUCE_ONLY: 0, StopAction.CANCEL_ORDERS: 1, StopAction.FLATTEN: 2}


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """Which bot."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class OrderView:
    client_order_id: str
    symbol: str
    side: str
    result: str
    reason: str


@dataclass(frozen=True, slots=True)
class SourceView:
    """One of those who have asked for the stop."""

    source: str
    action: StopAction | None
    reason: str
    since: str
    is_active: bool


@dataclass(frozen=True, slots=True)
class GivenUpView:
    """A position that Flatten has stopped selling."""

    symbol: str
    reason: str


@dataclass(frozen=True, slots=True)
class LatchView:
    """A latch as somebody reported it."""

    state: str = LatchState.ARMED.value
    id: str = ""
    action: StopAction | None = None
    reason: str = ""
    source: str = ""
    sources: tuple[SourceView, ...] = ()
    message: str = ""
    engaged_at: str = ""
    acknowledged_at: str = ""
    orders_cancelled: int = 0
    orders: tuple[OrderView, ...] = ()
    positions_closed: int = 0
    positions_left: tuple[str, ...] = ()
    given_up: tuple[GivenUpView, ...] = ()
    dust: tuple[str, ...] = ()
    flat: Flat = Flat.UNKNOWN

    @property
    def is_set(self) -> bool:
        return bool(self.id) and self.state in (LatchState.STOPPING.value, LatchState.STOPPED.value)

    @property
    def active_sources(self) -> tuple[str, ...]:
        return tuple(each.source for each in self.sources if each.is_active)


@dataclass(frozen=True, slots=True)
class TraderView:
    """What the bot's own trader reported last."""

    state: str = ""
    reasons: tuple[str, ...] = ()
    mode: str = ""
    stage: str = ""
    limit: str = ""
    heartbeat_at: str = ""
    generation: int = 0
    """The newest spec that it has looked at."""
    open_positions: int = 0
    open_orders: int = 0
    unresolved_orders: int = 0
    latch: LatchView = field(default_factory=LatchView)


@dataclass(frozen=True, slots=True)
class BotView:
    ref: Ref
    uid: str
    generation: int
    labels: Mapping[str, str]
    mode: str
    """What is asked for."""
    network: str
    is_suspended: bool
    is_engaged: bool
    action: StopAction
    """Of the kill switch: what a stop without a word about it does."""
    switch_reason: str
    rearm: str
    has_switch: bool
    stage: str
    permit_mode: str
    permit_stage: str
    permit_limit: str
    trader: TraderView | None
    """None: no trader of this bot has reported."""
    is_report_foreign: bool
    """There is a report, and it speaks for an earlier bot of this name."""
    mirror: LatchView
    """`status.killSwitch`, as fresh as the operator: it proves nothing."""

    @property
    def latch(self) -> LatchView:
        """The latch that a re-arm has to name: the trader's, or the operator's while no trader reports one."""
        own = self.trader.latch if self.trader else LatchView()
        is_operators = self.mirror.id.startswith(OPERATOR_PREFIX) and not self.mirror.acknowledged_at
        return self.mirror if not own.is_set and self.mirror.is_set and (is_operators or self.trader is None) else own


def read_bot(raw: object) -> BotView:
    metadata, spec, status = _mapping(raw, "metadata"), _mapping(raw, "spec"), _mapping(raw, "status")
    switch, permit, trader = _mapping(spec, "killSwitch"), _mapping(status, "permit"), _mapping(status, "trader")
    uid = _text(metadata, "uid")
    is_ours = bool(uid) and _text(trader, "uid") == uid
    is_permit_ours = bool(uid) and _text(permit, "uid") == uid
    return BotView(
        ref=Ref(_text(metadata, "namespace"), _text(metadata, "name")),
        uid=uid,
        generation=_number(metadata, "generation"),
        labels={key: value for key, value in _mapping(metadata, "labels").items() if isinstance(value, str)},
        mode=_text(spec, "mode") or Mode.PAPER.value,
        network=_text(spec, "exchange", "network"),
        is_suspended=spec.get("suspend", False) not in (False, None),
        is_engaged=switch.get("engaged", False) not in (False, None),  # as the trader reads it
        action=read_action(switch.get("action")) or StopAction.CANCEL_ORDERS,
        switch_reason=_text(switch, "reason"),
        rearm=_text(switch, "rearm"),
        has_switch=isinstance(spec.get("killSwitch"), Mapping),
        stage=_text(spec, "capital", "stage"),
        permit_mode=_text(permit, "mode") if is_permit_ours else "",
        permit_stage=_text(permit, "stage") if is_permit_ours else "",
        permit_limit=_text(permit, "limit") if is_permit_ours else "",
        trader=_read_trader(trader) if is_ours else None,
        is_report_foreign=bool(trader) and not is_ours,
        mirror=read_latch(status.get("killSwitch")),
    )


def _read_trader(raw: Mapping[str, Any]) -> TraderView:
    return TraderView(
        state=_text(raw, "state"),
        reasons=_texts(raw, "stateReasons"),
        mode=_text(raw, "mode"),
        stage=_text(raw, "stage"),
        limit=_text(raw, "limit"),
        heartbeat_at=_text(raw, "heartbeatAt"),
        generation=_number(raw, "config", "generation"),
        open_positions=_number(raw, "openPositions"),
        open_orders=_number(raw, "openOrders"),
        unresolved_orders=_number(raw, "unresolvedOrders"),
        latch=read_latch(raw.get("latch")),
    )


def read_latch(raw: object) -> LatchView:
    latch = raw if isinstance(raw, Mapping) else {}
    return LatchView(
        state=_text(latch, "state") or LatchState.ARMED.value,
        id=_text(latch, "id"),
        action=read_action(latch.get("action")),
        reason=_text(latch, "reason"),
        source=_text(latch, "source"),
        sources=tuple(
            SourceView(
                source=_text(each, "source"),
                action=read_action(each.get("action")),
                reason=_text(each, "reason"),
                since=_text(each, "since"),
                is_active=each.get("active") is True,
            )
            for each in _mappings(latch, "sources")
        ),
        message=_text(latch, "message"),
        engaged_at=_text(latch, "engagedAt"),
        acknowledged_at=_text(latch, "acknowledgedAt"),
        orders_cancelled=_number(latch, "ordersCancelled"),
        orders=tuple(
            OrderView(*(_text(each, key) for key in ("clientOrderId", "symbol", "side", "result", "reason")))
            for each in _mappings(latch, "orders")
        ),
        positions_closed=_number(latch, "positionsClosed"),
        positions_left=_texts(latch, "positionsLeft"),
        given_up=tuple(
            GivenUpView(_text(each, "symbol"), _text(each, "reason")) for each in _mappings(latch, "givenUp")
        ),
        dust=_texts(latch, "dust"),
        flat=_read_flat(latch.get("flat")),
    )


def read_action(value: object) -> StopAction | None:
    try:
        return StopAction(value) if isinstance(value, str) else None
    except ValueError:
        return None


def is_as_strict(action: StopAction | None, wanted: StopAction) -> bool:
    """An action that we do not know is as strict as nothing."""
    return action is not None and _STRICTNESS[action] >= _STRICTNESS[wanted]


def strictest(*actions: StopAction) -> StopAction:
    return max(actions, key=_STRICTNESS.__getitem__)


def parse_time(text: str) -> datetime | None:
    """None for what is no time, or has no zone."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _read_flat(value: object) -> Flat:
    """A word; a trader before 0.2 wrote a plain true or false."""
    if isinstance(value, bool):
        return Flat.TRUE if value else Flat.FALSE
    return Flat(value) if value in ("True", "False") else Flat.UNKNOWN


def _mapping(value: object, *path: str) -> Mapping[str, Any]:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _text(value: object, *path: str) -> str:
    found = _mapping(value, *path[:-1]).get(path[-1])
    return found if isinstance(found, str) else ""


def _number(value: object, *path: str) -> int:
    found = _mapping(value, *path[:-1]).get(path[-1])
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def _texts(value: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = value.get(key)
    return tuple(each for each in found if isinstance(each, str)) if isinstance(found, list) else ()


def _mappings(value: Mapping[str, Any], key: str) -> tuple[Mapping[str, Any], ...]:
    found = value.get(key)
    return tuple(each for each in found if isinstance(each, Mapping)) if isinstance(found, list) else ()
