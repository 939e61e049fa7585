"""PURE. `TradingBot.status`: what the operator and the trader answer, each its own part."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

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
MAX_REPORTED_SOURCES = 20
MAX_REPORTED_ORDERS = 50
"""A status is no order book: of the orders that a stop touched, at most so many are listed."""


class Condition(ApiModel):
    """metav1.Condition."""

    type: Annotated[str, Field(max_length=316)]
    """What is judged, like Ready. The types and their reasons: docs/reference/conditions.md."""
    status: Annotated[str, Field(pattern=r"^(True|False|Unknown)$", max_length=7)]
    """True, False or Unknown."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The `metadata.generation` that was judged; an older one than the object's says nothing of the newest spec."""
    last_transition_time: Time
    """When `status` changed last; a new reason or message does not touch it."""
    reason: Annotated[str, Field(pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", max_length=1024)]
    """Why, in one CamelCase word, for programs."""
    message: Annotated[str, Field(max_length=32768)]
    """Why, and what to do next, for people."""


class Permit(ApiModel):
    """What the operator lets the trader do now. It never expires by itself."""

    uid: Text
    """uid of the bot that it was granted to; a permit of another uid is ignored."""
    mode: Mode
    """The book that may be traded: Paper or Live. It may be less than `spec.mode` asks for."""
    stage: Text
    """The capital stage that is granted; at most the one that `spec.capital.stage` asks for."""
    limit: Reported
    """Most of the capital's currency that may be at risk."""
    digest: Text
    """Digest of the risk-relevant spec that it was granted for."""
    spec_generation: Annotated[int, Field(ge=0)]
    """Generation of the spec that it was granted for."""
    issued_at: Time
    """When it was granted, or last changed."""
    account: Fingerprint | None = None
    """Fingerprint of the venue's account that it was granted for; of a live permit."""
    review_ref: Text | None = None
    """The TradingReview that a live permit rests on."""


class StoppedOrder(ApiModel):
    """One order that a stop or a drain touched or left."""

    client_order_id: Text
    """Our own id of the order; the venue knows it by the same."""
    symbol: Text
    """Market of the order, like BTC/USDT."""
    side: Text
    """buy or sell."""
    result: Text
    """Cancelled: gone from the venue, expired by itself included. Filled: it was executed before the cancel came.
    Remaining: still open. Unresolved: it may or may not exist at the venue, and is being looked for. Rejected: the
    venue never took it. Denied: it never left the trader. PresumedAbsent: not found, and watched for 24 h."""
    reason: Message = ""
    """Why it remains or was refused, if it did or was."""


class Flat(StrEnum):
    """Whether anything tradable is held. What is not known is never taken for flat."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"
    """An order is unresolved, or the books have not been compared with the account since something was missed."""


def _read_flat(value: object) -> object:
    """Before it could be unknown it was a boolean: stores and statuses of then are read."""
    return {True: Flat.TRUE, False: Flat.FALSE}[value] if isinstance(value, bool) else value


class LatchSource(ApiModel):
    """One of those who have asked for this stop."""

    source: Text
    """Who or what asks: see `source` of the latch."""
    action: StopAction
    """What it asks for."""
    reason: Message = ""
    """What it gave as its reason."""
    since: Time
    """When the trader first saw it ask."""
    active: bool
    """It asks still: the latch is not released before this ends."""


class GivenUp(ApiModel):
    """A position that Flatten has stopped selling."""

    symbol: Text
    """Like `BTC/USDT`; how much of it is held stands in `positionsLeft`."""
    reason: Message
    """What was tried."""


class Latch(ApiModel):
    """A stop, and the proof that it worked."""

    state: LatchState = LatchState.ARMED
    """Armed: nothing is latched. Stopping: latched, no new risk leaves, the rest is under way. Stopped: latched, and
    what the action asks for is done and proved."""
    id: Text = ""
    """Name it in `spec.killSwitch.rearm` to release this latch."""
    action: StopAction | None = None
    """The strictest action that was asked for since it latched."""
    reason: Message = ""
    """What whoever asked gave as their reason."""
    source: Text = ""
    """Who or what asked first, or for the strictest action: KillSwitch, TradingHalt/NAME, Signal, BreakGlassFile,
    DailyLoss, Drawdown."""
    sources: list[LatchSource] = Field(
        default_factory=list, max_length=MAX_REPORTED_SOURCES, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    """All who have asked since it was latched; at most 20."""
    message: Message = ""
    """What stands in the way: of the release that somebody asks for, or of the end of the stop."""
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
    """How many positions this stop sold; only Flatten sells."""
    dust: list[Text] = Field(
        default_factory=list, max_length=50, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    """What is held but too small to sell, like `0.00000123 BTC`."""
    positions_left: list[Text] = Field(
        default_factory=list, max_length=20, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    """What is held and could be sold, like `0.5 BTC/USDT`."""
    given_up: list[GivenUp] = Field(
        default_factory=list, max_length=20, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    """What Flatten does not go on selling, because nobody buys it at a price that is still meant; at most 20."""
    flat: Annotated[Flat, BeforeValidator(_read_flat)] = Flat.UNKNOWN
    """Whether nothing tradable is held any more."""


class ConfigReport(ApiModel):
    """Which spec the trader runs on, and why not the newest."""

    generation: Annotated[int, Field(ge=0)]
    """The newest generation that the trader has looked at."""
    digest: Text = ""
    """Digest of the configuration in force; empty while there is none."""
    accepted: bool
    """false: the newest generation was not taken, the last good configuration stays in force."""
    reason: Text
    """In one CamelCase word, why it was taken or not: docs/reference/conditions.md, at Stalled."""
    message: Message = ""
    """What to correct, where it was not taken."""


class DrainReason(StrEnum):
    """Why a trader's pod is to go."""

    DELETING = "Deleting"
    """The bot is being deleted, and `onDelete` is not Hold."""
    SUSPENDED = "Suspended"
    """`spec.suspend` is true."""
    LEAVING_LIVE = "LeavingLive"
    """A live pod whose spec asks for Paper."""


class DrainReport(ApiModel):
    """What a pod that is to go has done: nothing new is risked, orders are cancelled, nothing is sold."""

    reason: DrainReason
    since: Time
    """When this trader saw that it is asked for."""
    done: bool = False
    """No own order is open or unresolved but the protective stops that `orders` names, and the account agreed with the
    books afterwards. Positions may be held: `openPositions` says how many."""
    orders: list[StoppedOrder] = Field(
        default_factory=list, max_length=MAX_REPORTED_ORDERS, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    """Each order that was cancelled for it, and each that stays; at most 50."""
    given_up: list[GivenUp] = Field(
        default_factory=list, max_length=20, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    """What `onDelete: Flatten` does not go on selling; at most 20. It stays in the account."""


class AuditHead(ApiModel):
    """The end of the audit chain, published outside of the pod so that a cut tail is noticed."""

    sequence: Annotated[int, Field(ge=0)]
    """Number of the last record."""
    hash: Text
    """Hash of the last record, hexadecimal; `tradingbot-trader audit verify` compares it."""


class Position(ApiModel):
    """What the bot holds of one symbol."""

    symbol: Text
    """Market, like BTC/USDT."""
    quantity: Reported
    """In the base currency."""
    cost: Reported
    """What it cost, fees included, in the capital's currency."""
    price: Reported | None = None
    """Last trusted price."""


class Performance(ApiModel):
    """Since the book was opened; the series belong in Prometheus."""

    realized_pnl: Reported = Decimal(0)
    """Profit or loss of what was sold, fees included, in the capital's currency."""
    unrealized_pnl: Reported = Decimal(0)
    """Profit or loss of what is held at its last trusted price, in the capital's currency."""
    day_pnl: Reported = Decimal(0)
    """Realized and unrealized since 00:00 UTC."""
    fees: Reported = Decimal(0)
    """Fees of all fills, in the capital's currency."""
    fills: Annotated[int, Field(ge=0)] = 0
    """Fills that are in the ledger."""
    orders: Annotated[int, Field(ge=0)] = 0
    """Orders that the risk checks let pass."""
    denials: Annotated[int, Field(ge=0)] = 0
    """Orders that the risk checks refused."""


class Preflight(ApiModel):
    """What a live pod checks before it may trade."""

    passed: bool
    """Whether every check has passed."""
    reason: Text = ""
    """In one CamelCase word, why not."""
    message: Message = ""
    """What to do about it."""
    at: Time
    """When this result was first found."""


class CredentialsReport(ApiModel):
    """The exchange key, as far as it may be told."""

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
    """The account at the venue, as far as it may be told."""

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
    """Asset, like BTC."""
    venue: Reported
    """What the venue says that the account holds."""
    local: Reported
    """What it should hold: opening baseline, adjustments and ledger together."""
    delta: Reported
    """`venue` less `local`."""


class ReconciliationReport(ApiModel):
    """The last comparison of the books with the venue."""

    at: Time
    """When it ended."""
    result: ReconciliationResult
    """Passed: books and venue agree. Failed: they differ. Inconclusive: the venue could not be asked, or orders were
    under way; nothing is proved either way, and it is tried again."""
    message: Message = ""
    """What differs, or why nothing is proved, and what to do."""
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
    """The circuit breakers of a live trader."""

    open: list[Text] = Field(
        default_factory=list, max_length=20, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    """Names of those that are open or half-open now."""
    trips: Annotated[int, Field(ge=0)] = 0
    """How often any of them opened since the book was opened."""
    last_trip_at: Time | None = None
    """When one of them opened last."""


class StateCause(ApiModel):
    """Something that holds the trading state above Active."""

    cause: Text
    """In one CamelCase word: docs/explanation/trading-states.md."""
    state: TradingState
    """What it asks for by itself; the strictest of all holds."""
    since: Time
    """When it began, as far as this run of the trader knows."""


class TraderStatus(ApiModel):
    """Written by the trader alone, about its own bot."""

    uid: Text
    """uid of the bot that this speaks for; a report of another uid is ignored."""
    pod: Text
    """Name of the pod that writes this."""
    version: Text
    """Version of the trader in that pod."""
    template: Text = ""
    """Hash of the pod template that it runs under; empty: it does not tell. A live permit rests on the report of the
    newest one alone."""
    mode: Mode
    """Which book it trades: Paper or Live."""
    state: TradingState
    """What may leave the trader. Active: all that the risk checks pass. ReduceOnly: cancels, stop-losses and exits.
    Halted: cancels alone."""
    state_reasons: list[Text] = Field(
        default_factory=list, max_length=20, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    """What holds the state above Active."""
    state_causes: list[StateCause] = Field(
        default_factory=list, max_length=20, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    """The same, with what each asks for and since when."""
    started_at: Time
    """When this run of the trader began."""
    heartbeat_at: Time
    """When this was written; at least every 30 s."""
    epoch: Annotated[int, Field(ge=0)]
    """Number of this run of the trader; part of every client order id."""
    config: ConfigReport
    latch: Latch = Latch()
    drain: DrainReport | None = None
    """How far it is with what has to be done before its pod goes; absent while nothing asks for that."""
    limit: Reported = Decimal(0)
    """Capital limit in force: the stricter of permit and spec."""
    stage: Text = ""
    """The capital stage in force; empty while nothing is permitted."""
    open_positions: Annotated[int, Field(ge=0)] = 0
    """Symbols of which enough is held to be sold; what is less is dust."""
    open_orders: Annotated[int, Field(ge=0)] = 0
    """Own orders that rest at the venue, or may."""
    unresolved_orders: Annotated[int, Field(ge=0)] = 0
    """Orders that may or may not exist at the venue; each counts at its full cost until that is proven."""
    positions: list[Position] = Field(
        default_factory=list, max_length=20, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    """What is held, dust included; at most 20."""
    left_behind: list[Text] = Field(
        default_factory=list, max_length=20, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )
    """What the live book still holds while this pod trades on paper, like `0.5 BTC/USDT`. Nobody manages it but the
    stops that rest at the venue: sell it yourself, or go live again."""
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
    """The answer of operator and trader."""

    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The generation of the spec that the operator has reconciled."""
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=20,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    """The operator's judgements, one a type: docs/reference/conditions.md. Ready, Reconciling and Stalled are as
    kstatus defines them, so `kubectl wait --for=condition=Ready` works."""
    phase: Text | None = None
    """One word for `kubectl get`; decoration, decide by the conditions."""
    permit: Permit | None = None
    kill_switch: Latch | None = None
    """Mirror of `trader.latch`, as fresh as the operator; who needs proof reads `trader.latch`."""
    trader: TraderStatus | None = None


def parse_status(raw: dict[str, Any]) -> TradingBotStatus:
    """The status of an object as the API server gives it; parts of another uid are left to the caller."""
    return TradingBotStatus.model_validate(raw)
