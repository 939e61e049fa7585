"""PURE. `status.trader`: what the trader says of itself. On the way from the session to the report."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

from tradingbot_api.conditions import TradingState
from tradingbot_api.spec import Mode
from tradingbot_api.status import (
    MAX_REPORTED_DELTAS,
    AccountReport,
    AuditHead,
    BalanceDelta,
    BreakersReport,
    ConfigReport,
    CredentialsReport,
    DrainReport,
    Latch,
    Performance,
    Position,
    Preflight,
    ReconciliationReport,
    ReconciliationResult,
    StateCause,
    TraderStatus,
)
from tradingbot_trader.book.ledger import Ledger
from tradingbot_trader.book.pnl import PnlTrack
from tradingbot_trader.control.permit import Grant
from tradingbot_trader.control.state import Cause, Verdict, state_of
from tradingbot_trader.control.timestamps import rfc3339
from tradingbot_trader.orders.reconcile import Report

MAX_POSITIONS = 20
MAX_MESSAGE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Self:
    """Who speaks; fixed for one run."""

    uid: str
    pod: str
    version: str
    mode: Mode
    started_ns: int
    template: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Numbers of one moment."""

    epoch: int
    ledger: Ledger
    pnl: PnlTrack
    prices: Mapping[str, Decimal]
    tradable: frozenset[str]
    open_orders: int
    orders: int
    denials: int
    dropped_messages: int
    audit_head: AuditHead
    left_behind: Sequence[str] = ()
    """What the live book still holds while this one is paper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountNews:
    """What a live trader says beside its books."""

    preflight: Preflight
    credentials: CredentialsReport
    account: AccountReport | None
    reconciliation: ReconciliationReport | None
    breakers: BreakersReport
    unresolved_orders: int
    is_reconciled: bool
    """For the metrics, as what follows."""
    reconciled_ns: int


def fingerprint(text: str) -> str:
    """12 hex digits that tell two accounts apart and name neither."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def build_reconciliation(report: Report) -> ReconciliationReport:
    """Those that differ first: the list is cut."""
    deltas = sorted(report.deltas, key=lambda delta: (not delta.is_mismatch, delta.asset))
    return ReconciliationReport(
        at=rfc3339(report.at_ns),
        result=ReconciliationResult(report.result.value),
        message=report.message[:MAX_MESSAGE],
        deltas=[
            BalanceDelta(asset=each.asset, venue=each.venue, local=each.local, delta=each.delta)
            for each in deltas[:MAX_REPORTED_DELTAS]
        ],
        orphans=len(report.orphans),
    )


def build_idle(who: Self, config: ConfigReport, latch: Latch | None, *, now_ns: int) -> TraderStatus:
    """Of a trader that cannot trade at all, and stays up to say why. A latch that the status tells of is told on."""
    return TraderStatus(
        uid=who.uid,
        pod=who.pod,
        version=who.version,
        template=who.template,
        mode=who.mode,
        state=TradingState.HALTED,
        state_reasons=[config.reason],
        started_at=rfc3339(who.started_ns),
        heartbeat_at=rfc3339(now_ns),
        epoch=0,
        config=config,
        latch=latch or Latch(),
    )


def build_status(
    who: Self,
    config: ConfigReport,
    verdict: Verdict,
    latch: Latch | None,
    grant: Grant,
    books: Books,
    *,
    since_ns: Mapping[Cause, int],
    drain: DrainReport | None,
    news: AccountNews | None,
    now_ns: int,
) -> TraderStatus:
    """Of a trader with its books open; `news` of a live one, `drain` of one that is to go; `since_ns` of each cause."""
    ledger = books.ledger
    held = [position for _, position in sorted(ledger.positions.items()) if position.quantity_base > 0]
    return TraderStatus(
        uid=who.uid,
        pod=who.pod,
        version=who.version,
        template=who.template,
        mode=who.mode,
        state=verdict.state,
        state_reasons=[cause.value for cause in verdict.causes],
        state_causes=[
            StateCause(cause=cause.value, state=state_of(cause), since=rfc3339(since_ns[cause]))
            for cause in verdict.causes
        ],
        started_at=rfc3339(who.started_ns),
        heartbeat_at=rfc3339(now_ns),
        epoch=books.epoch,
        config=config,
        latch=latch or Latch(),
        drain=drain,
        limit=grant.limit_quote,
        stage=grant.stage,
        open_positions=sum(position.symbol in books.tradable for position in held),
        open_orders=books.open_orders,
        positions=[
            Position(
                symbol=position.symbol,
                quantity=position.quantity_base,
                cost=position.cost_quote,
                price=books.prices.get(position.symbol),
            )
            for position in held[:MAX_POSITIONS]
        ],
        left_behind=list(books.left_behind[:MAX_POSITIONS]),
        performance=Performance(
            realized_pnl=ledger.realized_quote,
            unrealized_pnl=ledger.unrealized_quote(books.prices),
            day_pnl=books.pnl.day_quote,
            fees=ledger.fees_quote,
            fills=ledger.fill_count,
            orders=books.orders,
            denials=books.denials,
        ),
        dropped_messages=books.dropped_messages,
        audit_head=books.audit_head,
        **_account_parts(news),
    )


def _account_parts(news: AccountNews | None) -> dict[str, Any]:
    if news is None:
        return {}
    shown = TraderStatus.model_fields.keys()
    return {field.name: getattr(news, field.name) for field in fields(news) if field.name in shown}
