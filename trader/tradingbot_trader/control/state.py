"""PURE. The trading state: the strictest that any cause asks for. Every send passes by it (risk engine and gateway)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from tradingbot_api.conditions import TradingState


class Cause(StrEnum):
    """What holds the state above Active. The name is what the person on duty reads in `status.trader.stateReasons`."""

    LATCHED = "Latched"
    """A stop is latched; only a person releases it."""
    NO_CONFIG = "NoConfig"
    """No spec was ever accepted."""
    NO_PERMIT = "NoPermit"
    """The operator has granted nothing to this bot, or to another one of its name."""
    CONTROL_PLANE_LOST = "ControlPlaneLost"
    """No contact with the API server for `killSwitch.controlPlaneTimeout`: a stop could not reach us."""
    FEED_LOST = "FeedLost"
    """No market data for a symbol."""
    CLOCK_SKEWED = "ClockSkewed"
    """This machine's clock and the venue's differ by more than `risk.maxClockSkew`: one of them is wrong."""
    RECONCILING = "Reconciling"
    """The books have not been compared with the venue yet, or do not agree with it."""
    REBUILDING = "Rebuilding"
    """The store is new, and the venue knows fills of this bot: what it holds is not known yet, so nothing is sold."""
    ACCOUNT_STREAM_LOST = "AccountStreamLost"
    """The venue's reports about our orders do not come: fills would be seen late."""
    BREAKER_OPEN = "BreakerOpen"
    """The venue fails, refuses what we send, or fills what it should not."""
    BOT_DELETED = "BotDeleted"
    """Our TradingBot is gone, or another one has its name."""
    DELETING = "Deleting"
    """The bot is being deleted: orders are cancelled as `onDelete` says, then the pod goes."""
    LEAVING_LIVE = "LeavingLive"
    """The spec asks for Paper: nothing new is risked with real money until the pod is replaced."""
    SUSPENDED = "Suspended"
    """`spec.suspend` asks for no pod at all; until it is gone nothing new is risked."""
    TERMINATING = "Terminating"
    """SIGTERM: resting entries are cancelled, then the process ends."""
    LEASE_LOST = "LeaseLost"
    """Another trader of this bot may be running."""
    STORE_UNWRITABLE = "StoreUnwritable"
    """What is sent could not be recorded."""
    STORE_FULL = "StoreFull"
    """The volume is full: its reserve is in use, for cancels, exits and what has happened."""
    CREDENTIALS_REJECTED = "CredentialsRejected"
    """There are no keys, or the venue does not take them, or they may do more than trade."""


_STATE = {
    Cause.LATCHED: TradingState.REDUCE_ONLY,
    Cause.NO_CONFIG: TradingState.REDUCE_ONLY,
    Cause.NO_PERMIT: TradingState.REDUCE_ONLY,
    Cause.CONTROL_PLANE_LOST: TradingState.REDUCE_ONLY,
    Cause.FEED_LOST: TradingState.REDUCE_ONLY,
    Cause.CLOCK_SKEWED: TradingState.REDUCE_ONLY,
    Cause.RECONCILING: TradingState.REDUCE_ONLY,
    Cause.ACCOUNT_STREAM_LOST: TradingState.REDUCE_ONLY,
    Cause.BREAKER_OPEN: TradingState.REDUCE_ONLY,
    Cause.STORE_FULL: TradingState.REDUCE_ONLY,
    Cause.BOT_DELETED: TradingState.REDUCE_ONLY,
    Cause.DELETING: TradingState.REDUCE_ONLY,
    Cause.LEAVING_LIVE: TradingState.REDUCE_ONLY,
    Cause.SUSPENDED: TradingState.REDUCE_ONLY,
    Cause.TERMINATING: TradingState.REDUCE_ONLY,
    Cause.REBUILDING: TradingState.HALTED,
    Cause.LEASE_LOST: TradingState.HALTED,
    Cause.STORE_UNWRITABLE: TradingState.HALTED,
    Cause.CREDENTIALS_REJECTED: TradingState.HALTED,
}
OUT_OF_SIGHT = frozenset(
    {
        Cause.CONTROL_PLANE_LOST,
        Cause.FEED_LOST,
        Cause.CLOCK_SKEWED,
        Cause.LEASE_LOST,
        Cause.STORE_UNWRITABLE,
        Cause.ACCOUNT_STREAM_LOST,
        Cause.CREDENTIALS_REJECTED,
    }
)
"""While one of these held, things may have happened that we did not see: their end asks for a fresh reconciliation."""
_STRICTNESS = {TradingState.ACTIVE: 0, TradingState.REDUCE_ONLY: 1, TradingState.HALTED: 2}


def state_of(cause: Cause) -> TradingState:
    """What this cause alone asks for; one without a row is Halted, the stricter side."""
    return _STATE.get(cause, TradingState.HALTED)


@dataclass(frozen=True, slots=True)
class Verdict:
    state: TradingState
    causes: tuple[Cause, ...]

    def passes(self, *, adds_risk: bool) -> bool:
        """Whether an order may leave in this state."""
        return self.state is TradingState.ACTIVE or (self.state is TradingState.REDUCE_ONLY and not adds_risk)


def judge(causes: Iterable[Cause]) -> Verdict:
    """The state that these causes together ask for."""
    present = tuple(sorted(set(causes)))
    states = [state_of(cause) for cause in present]
    return Verdict(max(states, key=_STRICTNESS.__getitem__, default=TradingState.ACTIVE), present)
