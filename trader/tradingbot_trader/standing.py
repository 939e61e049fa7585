"""SHELL. Gathers what holds this trader back, and keeps the trading state that follows. Asked before each decision.

What a cause means stands in control/state.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from tradingbot_api.conditions import TradingState
from tradingbot_api.spec import KillSwitch
from tradingbot_api.status import DrainReason
from tradingbot_trader.book.audit import AuditKind
from tradingbot_trader.clock import VenueClock
from tradingbot_trader.control.mandate import Mandate
from tradingbot_trader.control.state import OUT_OF_SIGHT, Cause, Verdict, judge
from tradingbot_trader.control.stop import Stop
from tradingbot_trader.desk import Desk
from tradingbot_trader.driver import Driver
from tradingbot_trader.execution import Execution
from tradingbot_trader.store_health import StoreHealth

_log = structlog.get_logger("standing")


class Standing:
    """`judge` whenever anything may have changed; `verdict` is what came of it last."""

    def __init__(
        self,
        *,
        desk: Desk,
        stop: Stop,
        mandate: Mandate,
        driver: Driver,
        execution: Execution,
        health: StoreHealth,
        clock: VenueClock,
        holds_lease: Callable[[float], bool],
        contact_age_seconds: Callable[[], float],
        urge_report: Callable[[], None],
    ) -> None:
        self._desk, self._stop, self._mandate, self._driver = desk, stop, mandate, driver
        self._execution, self._health, self._clock = execution, health, clock
        self._holds_lease, self._contact_age_seconds = holds_lease, contact_age_seconds
        self._urge_report = urge_report
        self.verdict = Verdict(TradingState.HALTED, ())
        self.since_ns: dict[Cause, int] = {}
        """Since when each cause of the verdict has held, in this run of the process."""
        self.is_gone = False
        """The TradingBot is gone, or another one has its name."""
        self.drains_for: DrainReason | None = None
        self.is_terminating = False

    def judge(self) -> Verdict:
        """Work the trading state out anew; a change is recorded."""
        causes = list(self._causes())
        in_sight_again = OUT_OF_SIGHT.intersection(self.verdict.causes).difference(causes)
        if in_sight_again:
            self._execution.require_reconciliation(f"{', '.join(sorted(in_sight_again))} is over")
            causes = list(self._causes())
        verdict = judge(causes)
        if verdict == self.verdict:
            return verdict
        before, self.verdict = self.verdict, verdict
        now_ns = self._clock.now_ns()
        self.since_ns = {cause: self.since_ns.get(cause, now_ns) for cause in verdict.causes}
        _log.info("state", state=verdict.state, causes=[cause.value for cause in verdict.causes], before=before.state)
        if before.state is not verdict.state:
            data = {"state": verdict.state, "causes": list(verdict.causes)}
            self._desk.record(lambda tx: tx.put_audit(AuditKind.STATE_CHANGED, data))
        self._urge_report()
        return self.verdict

    def state_for(self, symbol: str) -> TradingState:
        """What may be decided about this symbol: stricter than the bot's state while its own market is out of sight, or
        while what the bot has gained and lost is not known."""
        state = self.judge().state
        is_blind = symbol in self._driver.lost or not self.can_mark
        return TradingState.REDUCE_ONLY if state is TradingState.ACTIVE and is_blind else state

    @property
    def can_mark(self) -> bool:
        """Whether every position has a price. Worth its cost, a position in profit would look like a loss of the day,
        and one at a loss like none."""
        positions = self._desk.engine.ledger.positions
        return all(symbol in self._driver.prices for symbol, each in positions.items() if each.quantity_base)

    def _causes(self) -> Iterable[Cause]:
        configuration = self._mandate.configuration
        switch = configuration.spec.kill_switch if configuration else KillSwitch()
        max_skew_ns = configuration.spec.risk.max_clock_skew if configuration else None
        lost = self._driver.lost.intersection(configuration.spec.symbols) if configuration else ()
        found = {
            Cause.LATCHED: self._stop.is_latched,
            Cause.NO_CONFIG: configuration is None,
            Cause.NO_PERMIT: self._mandate.grant.limit_quote == 0,
            Cause.CONTROL_PLANE_LOST: self._contact_age_seconds() * 1e9 > switch.control_plane_timeout,
            Cause.FEED_LOST: configuration is not None and len(lost) == len(configuration.spec.symbols),
            Cause.CLOCK_SKEWED: max_skew_ns is not None and abs(self._clock.ahead_ns) > max_skew_ns,
            Cause.BOT_DELETED: self.is_gone,
            Cause.DELETING: self.drains_for is DrainReason.DELETING,
            Cause.LEAVING_LIVE: self.drains_for is DrainReason.LEAVING_LIVE,
            Cause.SUSPENDED: self.drains_for is DrainReason.SUSPENDED,
            Cause.TERMINATING: self.is_terminating,
            Cause.LEASE_LOST: not self._holds_lease(0.0),
            Cause.STORE_UNWRITABLE: bool(self._health.failure),
            Cause.STORE_FULL: self._desk.store.is_reserve_spent,
        }
        yield from (cause for cause, is_so in found.items() if is_so)
        yield from self._execution.causes()
