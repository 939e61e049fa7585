"""Live bots on the simulated venue, each with an account of its own: what the venue itself says is the truth."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from support.stack import Stack, build_bot

BALANCES = {"USDT": "10000"}
RESTING = {"fast": 3, "slow": 7, "rsiPeriod": 0, "entryOffsetPercent": "1.5"}
"""Slow enough that an entry rests for some candles before the strategy takes it back."""
BASE_RISK = {"maxOrderNotional": "20", "cooldownAfterLoss": "0s", "maxOrdersPerMinute": 600}
KEPT: dict[str, Any] = {
    "risk": BASE_RISK | {"stopLossPercent": "10", "maxTradeLossPercent": "20", "maxDailyLossPercent": "50"}
}
"""The market does not fall so far within a test: what is held is sold by the strategy or by a person alone."""
NEVER_FILLED: dict[str, Any] = {
    "strategy": {"name": "sma-cross", "timeframe": "1s", "parameters": RESTING | {"entryOffsetPercent": "8"}},
    "risk": BASE_RISK | {"priceCollarPercent": "10"},
}
"""Entries rest too far below the market to be filled within a test."""
HOLD_ATTEMPTS = 6
START_SECONDS = 120.0
"""For all bots of the fixture at once, on a busy machine: each is a paper pod first, then a live one."""
TRADE_SECONDS = 90.0
"""The synthetic market turns every few seconds; a strategy may have to wait for several turns."""


@dataclass(frozen=True)
class Live:
    """One bot, and the account that it trades."""

    stack: Stack
    desk: str
    name: str
    uid: int
    keys: tuple[str, str]

    @property
    def trader(self) -> dict[str, Any]:
        return self.stack.trader(self.desk, self.name)

    @property
    def truth(self) -> dict[str, Any]:
        return self.stack.venue.account(self.uid)

    @property
    def open_at_venue(self) -> list[dict[str, Any]]:
        return [order for order in self.truth["orders"] if order["status"] in ("NEW", "PARTIALLY_FILLED")]

    @property
    def stops_at_venue(self) -> list[dict[str, Any]]:
        """Protective stops that rest."""
        return [order for order in self.open_at_venue if order["type"].startswith("STOP_LOSS")]

    @property
    def held_base(self) -> Decimal:
        """BTC, with what is locked in a stop."""
        found = self.truth["balances"].get("BTC", {})
        return Decimal(found.get("free", "0")) + Decimal(found.get("locked", "0"))

    def audit(self, kind: str) -> list[tuple[int, dict[str, Any]]]:
        """Records of that kind, oldest first: nanoseconds since 1970, and what it tells."""
        return read_audit(self.store, kind)

    @property
    def store(self) -> Path:
        return self.stack.store(self.desk, self.name)

    @property
    def run(self) -> tuple[str, int]:
        """Which pod, and how often it was restarted."""
        pod = self.stack.pods(self.desk, self.name)[0]
        return pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"]

    def condition(self, kind: str) -> tuple[str, str]:
        found = self.stack.condition(self.desk, self.name, kind)
        return found.get("status", ""), found.get("reason", "")

    def patch(self, spec: dict[str, Any]) -> None:
        self.stack.patch(self.desk, self.name, spec)

    def wait(self, what: str, look: Any, *, seconds: float = 60.0) -> Any:
        return self.stack.wait(f"{what} of {self.name}", look, seconds=seconds)

    def wait_trading(self) -> None:
        self.wait("a live permit", lambda: self.condition("Ready")[0] == "True", seconds=START_SECONDS)
        assert self.trader["mode"] == "Live"

    def wait_for_trades(self, count: int) -> None:
        self.wait(f"{count} trades", lambda: len(self.truth["trades"]) >= count, seconds=TRADE_SECONDS)

    def wait_for_spec(self) -> None:
        """Until the trader goes by the newest spec, and is ready with it."""

        def has_looked() -> bool:
            found = self.stack.get("tb", self.name, self.desk)
            return bool(
                found["status"]["trader"]["config"]["generation"] == found["metadata"]["generation"]
                and self.condition("Ready")[0] == "True"
            )

        self.wait("the newest spec", has_looked)

    def hold(self) -> None:
        """Until it holds what a stop at the venue protects, and its strategy decides once an hour. The strategy may
        sell before it is slow: then once more."""
        for _ in range(HOLD_ATTEMPTS):
            self.wait("a protected position", lambda: self.stops_at_venue and self.held_base, seconds=TRADE_SECONDS)
            self.patch({"strategy": {"timeframe": "1h"}})
            self.wait_for_spec()
            if self.stops_at_venue and len(self.open_at_venue) == 1:
                return
            self.patch({"strategy": {"timeframe": "1s"}})
        raise AssertionError(f"{self.name} sold each time before it was slow; {self.truth['orders'][-3:]}")

    def stop(self, action: str) -> dict[str, Any]:
        self.patch({"killSwitch": {"engaged": True, "action": action, "reason": "drill"}})
        latch: dict[str, Any] = self.wait(
            "the proof", lambda: (found := self.trader["latch"])["state"] == "Stopped" and found
        )
        return latch


def open_account(stack: Stack, desk: str, name: str) -> Live:
    uid = stack.venue.open_account(BALANCES)
    return Live(stack, desk, name, uid, stack.venue.issue_key(uid))


def build_live(name: str, desk: str, **changes: Any) -> dict[str, Any]:
    return build_bot(name, desk, mode="Live", credentials={"secretName": f"{name}-keys"}, **changes)


def read_audit(store: Path, kind: str) -> list[tuple[int, dict[str, Any]]]:
    query = "SELECT time_ns, data FROM audit WHERE kind = ? ORDER BY sequence"
    with sqlite3.connect(f"file:{store / 'store.db'}?mode=ro", uri=True) as database:
        return [(int(at_ns), json.loads(data)) for at_ns, data in database.execute(query, (kind,))]
