"""Live bots on the simulated venue, each with an account of its own: what the venue itself says is the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.stack import Stack, build_bot

BALANCES = {"USDT": "10000"}
RESTING = {"fast": 3, "slow": 7, "rsiPeriod": 0, "entryOffsetPercent": "1.5"}
"""Slow enough that an entry rests for some candles before the strategy takes it back."""
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
