"""PURE. What the trader may do now: the stricter of what the operator granted and what the spec says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from tradingbot_api.spec import Mode, TradingBotSpec
from tradingbot_api.status import Permit
from tradingbot_trader.orders.order import BookName

MODES = {BookName.PAPER: Mode.PAPER, BookName.LIVE: Mode.LIVE}


@dataclass(frozen=True, slots=True)
class Grant:
    """The capital that may be at risk. `limit_quote` 0 means none: exits and cancels only."""

    limit_quote: Decimal
    stage: str
    missing: str = ""
    """Why nothing is granted; empty when something is."""


NOTHING = Grant(Decimal(0), "", "the operator has not granted a permit yet")


def read_permit(raw: Mapping[str, Any], *, uid: str) -> Permit | None:
    """The permit in the object's status; None when there is none, it cannot be read, or it is of another uid."""
    status = raw.get("status")
    part = status.get("permit") if isinstance(status, Mapping) else None
    if not isinstance(part, Mapping):
        return None
    try:
        permit = Permit.model_validate(part)
    except ValidationError:
        return None
    return permit if permit.uid == uid else None


def grant(permit: Permit | None, spec: TradingBotSpec, *, book: BookName) -> Grant:
    """The capital limit in force. A lower stage in the spec applies at once, a higher one waits for the operator."""
    if permit is None:
        return NOTHING
    if permit.mode is not MODES[book]:
        return Grant(Decimal(0), "", f"the permit is for {permit.mode}, this pod trades {MODES[book]}")
    asked = spec.capital.find_stage(spec.capital.stage)
    if asked.limit < permit.limit:
        return Grant(asked.limit, asked.name)
    return Grant(permit.limit, permit.stage)
