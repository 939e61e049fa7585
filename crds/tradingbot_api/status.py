"""PURE. `TradingBot.status`: what the operator and the trader answer, each its own part."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from tradingbot_api.conditions import LatchState, TradingState
from tradingbot_api.decimal import Reported
from tradingbot_api.model import ApiModel
from tradingbot_api.spec import Mode, StopAction

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"}, max_length=40)]
Text = Annotated[str, Field(max_length=256)]
Message = Annotated[str, Field(max_length=4096)]
Fingerprint = Annotated[str, Field(pattern=r"^([0-9a-f]{12})?$", max_length=12)]
"""The pattern is a guard: the API server refuses a status that carries the key instead of its fingerprint."""
MAX_REPORTED_DELTAS = 20
MAX_REPORTED_ORDERS = 50
"""A status is no order book: of the orders that a stop touched, at most so many are listed."""


class Condition(ApiModel):
    """metav1.Condition."""

    type: Annotated[str, Field(max_length=316)]
    status: Annotated[str, Field(pattern=r"^(True|False|Unknown)$", max_length=7)]
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    last_transition_time: Time
    reason: Annotated[str, Field(pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", max_length=1024)]
    message: Annotated[str, Field(max_length=32768)]


class Permit(ApiModel):
    """What the operator lets the trader do now. It never expires by itself."""

    uid: Text
    """uid of the bot that it was granted to; a permit of another uid is ignored."""
    mode: Mode
    stage: Text
    limit: Reported
    """Most of the capital's currency that may be at risk."""
    digest: Text
    """Digest of the risk-relevant spec that it was granted for."""
    spec_generation: Annotated[int, Field(ge=0)]
    """Generation of the spec that it was granted for."""
    issued_at: Time
    review_ref: Text | None = None
    """The TradingReview that a live permit rests on."""


class StoppedOrder(ApiModel):
    client_order_id: Text
    symbol: Text
    side: Text
    result: Text
    """Cancelled, Filled, Remaining or Unresolved."""
    reason: Message = ""
    """Why it remains, if it does."""


class Latch(ApiModel):
    """A stop, and the proof that it worked."""

    state: LatchState = LatchState.ARMED
    id: Text = ""
    """Name it in `spec.killSwitch.rearm` to release this latch."""
    action: StopAction | None = None
    reason: Message = ""
    source: Text = ""
    """Who or what asked: KillSwitch, TradingHalt/NAME, Signal, BreakGlassFile, DailyLoss, Drawdown."""
    engaged_at: Time | None = None
    """When the trader saw the request."""
    acknowledged_at: Time | None = None
    """When the latch was durable and no new risk could leave any more."""
    orders_cancelled: Annotated[int, Field(ge=0)] = 0
    """How many orders this stop cancelled."""
    orders: list[StoppedOrder] = Field(
        default_factory=list, max_length=MAX_REPORTED_ORDERS, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    """Each order that the stop touched or left, and why; at most 50."""
    positions_closed: Annotated[int, Field(ge=0)] = 0
    dust: list[Text] = Field(
        default_factory=list, max_length=50, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    """What is held but too small to sell, like `0.00000123 BTC`."""
    flat: bool = False
    """Nothing tradable is held any more."""


class ConfigReport(ApiModel):
    """Which spec the trader runs on, and why not the newest."""

    generation: Annotated[int, Field(ge=0)]
    """The newest generation that the trader has looked at."""
    digest: Text = ""
    """Digest of the configuration in force; empty while there is none."""
    accepted: bool
    """false: the newest generation was not taken, the last good configuration stays in force."""
    reason: Text
    message: Message = ""


class AuditHead(ApiModel):
    """The end of the audit chain, published outside of the pod so that a cut tail is noticed."""

    sequence: Annotated[int, Field(ge=0)]
    hash: Text


class Position(ApiModel):
    symbol: Text
    quantity: Reported
    """In the base currency."""
    cost: Reported
    """What it cost, fees included, in the capital's currency."""
    price: Reported | None = None
    """Last trusted price."""


class Performance(ApiModel):
    """Since the book was opened; the series belong in Prometheus."""

    realized_pnl: Reported = Decimal(0)
    unrealized_pnl: Reported = Decimal(0)
    day_pnl: Reported = Decimal(0)
    """Realized and unrealized since 00:00 UTC."""
    fees: Reported = Decimal(0)
    fills: Annotated[int, Field(ge=0)] = 0
    orders: Annotated[int, Field(ge=0)] = 0
    denials: Annotated[int, Field(ge=0)] = 0
    """Orders that the risk checks refused."""


class Preflight(ApiModel):
    passed: bool
    reason: Text = ""
    """In one CamelCase word, why not."""
    message: Message = ""
    """What to do about it."""
    at: Time
    """When this result was first found."""


class CredentialsReport(ApiModel):
    ready: bool
    """Whether a key is in force: it authenticates, may trade, and may neither withdraw nor transfer."""
    fingerprint: Fingerprint = ""
    """First 12 hex digits of the SHA-256 of the id of the key in force; empty while there is none."""
    since: Time | None = None
    """When the trader first saw that key."""
    reason: Text = ""
    """In one CamelCase word, why no key is in force, or why a newer one was not taken."""
    message: Message = ""
    """What to do about it."""


class AccountReport(ApiModel):
    fingerprint: Fingerprint = ""
    """First 12 hex digits of the SHA-256 of the venue's id of the account; two live bots must not share one."""


class ReconciliationResult(StrEnum):
    PASSED = "Passed"
    FAILED = "Failed"
    INCONCLUSIVE = "Inconclusive"
    """The venue could not be asked, or orders were under way: nothing is proved either way, and it is tried again."""


class BalanceDelta(ApiModel):
    """One asset, whether it differs or not."""

    asset: Text
    venue: Reported
    """What the venue says that the account holds."""
    local: Reported
    """What it should hold: opening baseline, adjustments and ledger together."""
    delta: Reported
    """`venue` less `local`."""


class ReconciliationReport(ApiModel):
    at: Time
    result: ReconciliationResult
    message: Message = ""
    deltas: list[BalanceDelta] = Field(
        default_factory=list,
        max_length=MAX_REPORTED_DELTAS,
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    """The assets that were compared, those that differ first; at most 20."""
    orphans: Annotated[int, Field(ge=0)] = 0
    """Orders and trades on the account that are not this bot's and were found since the comparison before. They are
    reported, and left alone; what they moved stays in `deltas` until somebody records it."""


class BreakersReport(ApiModel):
    open: list[Text] = Field(
        default_factory=list, max_length=20, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    """Names of those that are open or half-open now."""
    trips: Annotated[int, Field(ge=0)] = 0
    """How often any of them opened since the book was opened."""
    last_trip_at: Time | None = None


class TraderStatus(ApiModel):
    """Written by the trader alone, about its own bot."""

    uid: Text
    """uid of the bot that this speaks for; a report of another uid is ignored."""
    pod: Text
    version: Text
    mode: Mode
    """Which book it trades: Paper or Live."""
    state: TradingState
    state_reasons: list[Text] = Field(
        default_factory=list, max_length=20, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    """What holds the state above Active."""
    started_at: Time
    heartbeat_at: Time
    """When this was written; at least every 30 s."""
    epoch: Annotated[int, Field(ge=0)]
    """Number of this run of the trader; part of every client order id."""
    config: ConfigReport
    latch: Latch = Latch()
    limit: Reported = Decimal(0)
    """Capital limit in force: the stricter of permit and spec."""
    stage: Text = ""
    open_positions: Annotated[int, Field(ge=0)] = 0
    open_orders: Annotated[int, Field(ge=0)] = 0
    unresolved_orders: Annotated[int, Field(ge=0)] = 0
    """Orders that may or may not exist at the venue; each counts at its full cost until that is proven."""
    positions: list[Position] = Field(
        default_factory=list, max_length=20, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    performance: Performance = Performance()
    dropped_messages: Annotated[int, Field(ge=0)] = 0
    """Market messages that were received and not processed since the start."""
    audit_head: AuditHead | None = None
    preflight: Preflight | None = None
    """What a live pod checks before it may trade; no live permit before it has passed. Absent until it has run."""
    credentials: CredentialsReport | None = None
    """The exchange key of a live pod. Never the key itself, nor any part of it."""
    account: AccountReport | None = None
    """The venue's account of a live pod; absent until the venue has told which it is."""
    reconciliation: ReconciliationReport | None = None
    """The last comparison of open orders, fills and balances with the venue; absent until the first one has ended."""
    breakers: BreakersReport | None = None
    """Circuit breakers, which stop new risk by themselves and close again by themselves."""


class TradingBotStatus(ApiModel):
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The generation of the spec that the operator has reconciled."""
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=20,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    phase: Text | None = None
    """One word for `kubectl get`; decoration, decide by the conditions."""
    permit: Permit | None = None
    kill_switch: Latch | None = None
    """Mirror of `trader.latch`, as fresh as the operator; who needs proof reads `trader.latch`."""
    trader: TraderStatus | None = None


def parse_status(raw: dict[str, Any]) -> TradingBotStatus:
    """The status of an object as the API server gives it; parts of another uid are left to the caller."""
    return TradingBotStatus.model_validate(raw)
