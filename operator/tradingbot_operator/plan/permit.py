"""PURE. The permit: what the trader may do now. It speaks for the last accepted spec.

A permit is for one book, and goes to a trader of that book alone. Live, it comes after the preflight of the live pod,
and stays when a later one fails: the trader enforces that itself, and goes on when the cause is gone, whether the
operator is up or not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tradingbot_api.conditions import Reason
from tradingbot_api.spec import Mode
from tradingbot_api.status import Permit
from tradingbot_operator.children.deployment import template_hash
from tradingbot_operator.manifest import Manifest, number
from tradingbot_operator.plan.book import BookDecision
from tradingbot_operator.plan.credentials import CredentialsVerdict
from tradingbot_operator.plan.guard import GuardReport
from tradingbot_operator.plan.trader import FRESH_NS, Availability, available_since_ns
from tradingbot_operator.plan.view import BotView
from tradingbot_operator.timestamps import format_time


@dataclass(frozen=True, slots=True)
class Clearance:
    """What has to be asked for each new live permit, because the objects of one bot do not tell it."""

    guard: GuardReport
    """Whether the admission policies are in force."""
    account_holder: str = ""
    """Another live bot on the same account of the venue, which came first; empty when there is none."""


@dataclass(frozen=True, slots=True)
class PermitDecision:
    permit: Permit | None
    is_pending: bool = False
    """A new permit waits until the trader has accepted the spec that it would be for."""
    asks_clearance: bool = False
    """A live permit would be granted now, if the clearance were known."""
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a live permit that is due otherwise is not granted."""

    reason: str
    message: str


def decide_permit(
    view: BotView,
    book: BookDecision,
    *,
    is_settled: bool,
    credentials: CredentialsVerdict | None,
    clearance: Clearance | None,
    now_ns: int,
) -> PermitDecision:
    """Paper at the asked stage at once. Live at the asked stage, on networks that ask for no gates.

    `is_settled`: the last report is fresh, and of the pod that is meant to run (see `is_rolled_out`,
    `speaks_for_template`). `clearance`: None
    until it was asked for.
    """
    if book.permitted is None or not _may_hold(view, book.permitted):
        return PermitDecision(None)
    held = view.permit if view.permit is not None and view.permit.mode is book.permitted else None
    if view.spec is None or view.is_deleting or view.is_rejected:
        return PermitDecision(held)
    if not _may_speak_for(view):
        return PermitDecision(held, is_pending=True)
    stage = view.spec.capital.find_stage(view.spec.capital.stage)
    granted = Permit(
        uid=view.ref.uid,
        mode=book.permitted,
        stage=stage.name,
        limit=stage.limit,
        digest=view.digest,
        spec_generation=view.generation,
        issued_at=format_time(now_ns),
        account=_account(view, held) if book.permitted is Mode.LIVE else None,
    )
    if held is not None and not differs(held, granted):
        # The same permission for a newer spec is no new permission.
        granted = granted.model_copy(update={"issued_at": held.issued_at})
    elif book.permitted is Mode.LIVE:
        if not (is_settled and _has_passed(view)):
            return PermitDecision(held, is_pending=held is not None)
        if credentials is not None and credentials.is_too_old:
            too_old = Refusal(Reason.CREDENTIALS_TOO_OLD, credentials.message)
            return PermitDecision(held, is_pending=held is not None, refusal=too_old)
        if clearance is None:
            return PermitDecision(held, is_pending=held is not None, asks_clearance=True)
        if (refusal := _refuse(view, clearance)) is not None:
            return PermitDecision(held, is_pending=held is not None, refusal=refusal)
    return PermitDecision(granted)


def _refuse(view: BotView, clearance: Clearance) -> Refusal | None:
    if not clearance.guard.is_in_force:
        missing = " ".join(clearance.guard.missing)
        return Refusal(Reason.POLICIES_NOT_IN_FORCE, f"No live permit without the admission policies. {missing}")
    if view.trader is None or not view.trader.account:
        return Refusal(Reason.ACCOUNT_UNKNOWN, "The trader has not reported the venue's account yet.")
    if clearance.account_holder:
        return Refusal(
            Reason.ACCOUNT_IN_USE,
            f"The live bot {clearance.account_holder} trades on the same account of the venue: give this bot keys of "
            "another (sub-)account, or take the other one back to Paper.",
        )
    return None


def find_account_holder(view: BotView, others: Iterable[BotView]) -> str:
    """The bot that has the account of this one: a permit wins, then age, so that of two at once exactly one is it."""
    mine = _rank(view)
    account = view.trader.account if view.trader else ""
    for other in others:
        if not account or other.ref.uid == view.ref.uid:
            continue
        if account in accounts_of(other) and _rank(other) < mine:
            return f"{other.ref.namespace}/{other.ref.name}"
    return ""


def accounts_of(view: BotView) -> frozenset[str]:
    """What it was permitted for, and what its live trader reports: a restarted one does not know at first."""
    trader, permit = view.trader, view.permit
    reported = trader.account if trader is not None and trader.mode is not Mode.PAPER else ""
    permitted = permit.account if permit is not None and permit.mode is Mode.LIVE else None
    return frozenset(each for each in (reported, permitted) if each)


def _rank(view: BotView) -> tuple[bool, int, str]:
    trader, permit = view.trader, view.permit
    is_permitted = permit is not None and permit.mode is Mode.LIVE
    # One that is on its way back to Paper has the account until it holds nothing there.
    is_loaded = trader is not None and (trader.open_positions, trader.open_orders, trader.unresolved_orders) != (
        0,
        0,
        0,
    )
    return not (is_permitted or is_loaded), view.created_ns, view.ref.uid


def _account(view: BotView, held: Permit | None) -> str | None:
    """A restarted trader does not know its account at first: then what was permitted stands."""
    reported = view.trader.account if view.trader else ""
    return reported or (held.account if held else None)


def differs(old: Permit, new: Permit) -> bool:
    """Whether something else is permitted now."""
    is_other_account = bool(old.account and new.account and old.account != new.account)
    return is_other_account or (old.mode, old.stage, old.limit, old.digest) != (
        new.mode,
        new.stage,
        new.limit,
        new.digest,
    )


def is_rolled_out(deployment: Manifest | None) -> bool:
    """Whether the only pod is of the newest template: a pod on its way out proves nothing about its successor."""
    return (
        number(deployment, "status", "observedGeneration") >= number(deployment, "metadata", "generation")
        and number(deployment, "status", "replicas") == 1
        and number(deployment, "status", "updatedReplicas") == 1
    )


def speaks_for_template(view: BotView, availability: Availability, deployment: Manifest | None) -> bool:
    """Whether the last report is fresh, and of a pod of the newest template.

    A trader that does not tell its template yet is believed later: what it writes so long after its pod became
    available that no report of the pod before could still be fresh (`Recreate` ends that one first).
    """
    if not availability.reports or view.trader is None:
        return False
    if view.trader.template:
        return view.trader.template == template_hash(deployment)
    since_ns = available_since_ns(deployment)
    return since_ns > 0 and (view.trader.heartbeat_ns or 0) >= since_ns + FRESH_NS


def _may_hold(view: BotView, mode: Mode) -> bool:
    """Never of the other book than the report. Paper is permitted before the first one, live only after it."""
    reported = view.trader.mode if view.trader else None
    return reported is Mode.LIVE if mode is Mode.LIVE else reported is not Mode.LIVE


def _has_passed(view: BotView) -> bool:
    preflight = view.trader.preflight if view.trader else None
    return preflight is not None and preflight.passed


def _may_speak_for(view: BotView) -> bool:
    """A trader that runs on another configuration may yet reject this one; until then the old permit holds.

    Where no configuration is in force nobody could lose a permit, and what the trader runs on already needs no wait.
    """
    config = view.trader.config if view.trader else None
    if config is None or not config.digest or config.digest == view.digest:
        return True
    return config.generation >= view.generation and config.accepted
