"""PURE. The permit: what the trader may do now. It speaks for the last accepted spec."""

from __future__ import annotations

from dataclasses import dataclass

from tradingbot_api.spec import Mode
from tradingbot_api.status import Permit
from tradingbot_operator.plan.view import BotView
from tradingbot_operator.timestamps import format_time


@dataclass(frozen=True, slots=True)
class PermitDecision:
    permit: Permit | None
    is_pending: bool = False
    """A new permit waits until the trader has accepted the spec that it would be for."""


def decide_permit(view: BotView, now_ns: int) -> PermitDecision:
    """Paper at the asked stage, whatever mode is asked for: this version has no live order path."""
    if view.spec is None or view.is_deleting or _is_rejected(view):
        return PermitDecision(view.permit)
    if not _may_speak_for(view):
        return PermitDecision(view.permit, is_pending=True)
    stage = view.spec.capital.find_stage(view.spec.capital.stage)
    granted = Permit(
        uid=view.ref.uid,
        mode=Mode.PAPER,
        stage=stage.name,
        limit=stage.limit,
        digest=view.digest,
        spec_generation=view.generation,
        issued_at=format_time(now_ns),
    )
    if view.permit is not None and not differs(view.permit, granted):
        # The same permission for a newer spec is no new permission.
        granted = granted.model_copy(update={"issued_at": view.permit.issued_at})
    return PermitDecision(granted)


def differs(old: Permit, new: Permit) -> bool:
    """Whether something else is permitted now."""
    return (old.mode, old.stage, old.limit, old.digest) != (new.mode, new.stage, new.limit, new.digest)


def _is_rejected(view: BotView) -> bool:
    config = view.trader.config if view.trader else None
    return config is not None and config.generation == view.generation and not config.accepted


def _may_speak_for(view: BotView) -> bool:
    """A trader that runs on another configuration may yet reject this one; until then the old permit holds.

    Where no configuration is in force nobody could lose a permit, and what the trader runs on already needs no wait.
    """
    config = view.trader.config if view.trader else None
    if config is None or not config.digest or config.digest == view.digest:
        return True
    return config.generation >= view.generation and config.accepted
