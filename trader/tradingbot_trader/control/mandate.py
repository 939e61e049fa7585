"""SHELL. What this trader may do: the accepted configuration, the permit, and the limits that follow from both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from tradingbot_api.spec import TradingBotSpec
from tradingbot_api.status import Permit
from tradingbot_trader.control.configuration import Configuration
from tradingbot_trader.control.permit import NOTHING, Grant, grant, read_permit
from tradingbot_trader.orders.order import BookName
from tradingbot_trader.risk.limits import Limits, build_limits, stricter_of

FindSpec = Callable[[str], TradingBotSpec | None]
"""The accepted spec of that digest, if the store still has it."""


class Mandate:
    """Changes with each look at the object; the desk asks for its limits at every decision."""

    def __init__(self, book: BookName, find_spec: FindSpec) -> None:
        self._book, self._find_spec = book, find_spec
        self.configuration: Configuration | None = None
        self.permit: Permit | None = None
        self.grant: Grant = NOTHING
        self.limits: Limits | None = None

    def read(self, raw: Mapping[str, Any], *, uid: str) -> bool:
        """Take the permit from the object; True when it is another one than before."""
        permit = read_permit(raw, uid=uid)
        changed, self.permit = permit != self.permit, permit
        if changed:
            self._settle()
        return changed

    def adopt(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self._settle()

    def _settle(self) -> None:
        configuration, permit = self.configuration, self.permit
        if configuration is None:
            self.grant, self.limits = NOTHING, None
            return
        spec = configuration.spec
        self.grant = grant(permit, spec, book=self._book)
        asked = build_limits(spec.risk, granted_quote=self.grant.limit_quote, stage_quote=self.grant.limit_quote)
        self.limits = asked
        if permit is None or permit.digest == configuration.digest:
            return
        permitted = self._find_spec(permit.digest)
        if permitted is None:
            self.grant = Grant(Decimal(0), "", "the permit is for a spec that this trader has never accepted")
            self.limits = build_limits(spec.risk, granted_quote=Decimal(0), stage_quote=Decimal(0))
            return
        of_permit = build_limits(permitted.risk, granted_quote=permit.limit, stage_quote=permit.limit)
        self.limits = stricter_of(of_permit, asked)
