"""Orders that the venue took while the lease at the API server had expired: SIGSTOP, a minute, SIGCONT. SHELL.

The real trader as a process, on the live book, with a strategy that crosses its averages every few candles of a second.
It is stopped at moments that differ: by the age of its lease, with an order's bytes on their way, with an answer on its
way. When it wakes the API server refuses everything for a while, so that it has to live with what it remembers; in one
round it does not, and the lease is renewed at once. The control plane may be silent for long by the spec: then nothing
but the lease holds orders back.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.composed import BALANCES, RISK, build_bot_spec, until
from bench.figure import Figure
from bench.process import TraderProcess, running_trader
from bench.setting import Setting
from bench.wire import Wire
from support import polling
from support.trader import FakeKube
from tradingbot_sandbox.venues.process import VenueProcess, running_venue
from tradingbot_trader.orders.order import BookName

STOPPED_SECONDS = 60.0
BLIND_SECONDS = 15.0
"""After SIGCONT, in which the API server refuses everything."""
BEYOND_SECONDS = 0.5
"""After the lease's end: then an order that was held goes on to the venue."""
DENIED = "order_denied"
ORDER = "POST /api/v3/order"
WEIGHT_LIMIT = 100_000
"""A minute's, of the venue: the traders of all rounds come from one address."""
ALIVE_SECONDS = 120.0
NS, MS = 1_000_000_000, 1_000_000
SPEC: Mapping[str, Any] = {
    "strategy": {"name": "sma-cross", "timeframe": "1s", "parameters": {"fast": 1, "slow": 2, "rsiPeriod": 0}},
    "risk": RISK | {
        "stopLossPercent": "20", "maxDailyLossPercent": "50", "maxDrawdownPercent": "50", "maxTradeLossPercent": "50",
    },
    "killSwitch": {"controlPlaneTimeout": "1h"},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Moment:
    """When a round stops the trader."""

    name: str
    lease_age_seconds: float = 0.0
    """So long after its last renewal, at least."""
    on: str = ""
    """`order`: its bytes have left, and are held until the lease is over; `answer`: the venue has taken an order, and
    its answer is held until SIGCONT."""
    is_blind: bool = True
    """Whether the API server refuses everything for a while after SIGCONT."""


MOMENTS = (
    Moment("lease renewed 5 s ago", lease_age_seconds=5.0),
    Moment("lease renewed 8 s ago", lease_age_seconds=8.0),
    Moment("API server there at once", lease_age_seconds=7.0, is_blind=False),
    Moment("order on its way", lease_age_seconds=2.0, on="order"),
    Moment("answer on its way", lease_age_seconds=2.0, on="answer"),
)


@dataclass(frozen=True, slots=True)
class Renewal:
    """What a write of the Lease said; Unix milliseconds."""

    at_ms: int
    until_ms: int
    """renewTime and duration: who reads the Lease believes it until then."""


class LeaseBook(FakeKube):
    """Writes down when the Lease was renewed."""

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__(spec)
        self.renewals: list[Renewal] = []

    async def replace_lease(self, body: Mapping[str, Any], *, resource_version: str) -> dict[str, Any]:
        written = await super().replace_lease(body, resource_version=resource_version)
        self.renewals.append(read_renewal(written["spec"], now_ms=time.time_ns() // MS))
        return written

    @property
    def age_seconds(self) -> float:
        """Of the newest renewal."""
        return time.time_ns() / NS - self.renewals[-1].at_ms / 1e3 if self.renewals else 0.0


def read_renewal(spec: Mapping[str, Any], *, now_ms: int) -> Renewal:
    """PURE."""
    renewed = datetime.fromisoformat(spec["renewTime"]).timestamp() if spec.get("renewTime") else 0.0
    return Renewal(now_ms, int((renewed + spec["leaseDurationSeconds"]) * 1e3))


def count_expired(orders_ms: Sequence[int], renewals: Sequence[Renewal]) -> int:
    """PURE. Of these times at which the venue took an order: those at which the Lease, as it stood, was over."""
    expired = 0
    for at_ms in orders_ms:
        standing = [each for each in renewals if each.at_ms <= at_ms]
        expired += not standing or at_ms >= standing[-1].until_ms
    return expired


@dataclass
class Round:
    """One trader, one account, one stop."""

    moment: Moment
    kube: LeaseBook
    wire: Wire
    pid: int = 0
    may_stop: bool = False
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    """What was held goes on."""
    held_answer: str = ""
    """What the venue said to the order that was held."""
    stopped_ns: int = 0
    woken_ns: int = 0

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)
        self.stopped_ns, self.may_stop = time.time_ns(), False
        self.stopped.set()

    def wake(self) -> None:
        self.woken_ns = time.time_ns()
        os.kill(self.pid, signal.SIGCONT)

    async def hold(self, what: str) -> None:
        if what == ORDER and self.may_stop and self.moment.on == "order":
            self.stop()
            await self.go_on.wait()

    async def hold_answer(self, what: str, answer: bytes) -> None:
        if what != ORDER or self.moment.on not in ("order", "answer"):
            return
        if self.may_stop and self.moment.on == "answer":
            self.stop()
            self.held_answer = summary(answer)
            await self.go_on.wait()
        elif self.stopped.is_set() and not self.held_answer:
            self.held_answer = summary(answer)


def summary(answer: bytes) -> str:
    """PURE. The status of an HTTP answer, and the code of a refusal."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1].decode() if head.count(b" ") else "no HTTP"
    code = body.partition(b'"code":')[2].partition(b",")[0].strip().decode(errors="replace")
    return f"{status} {code}".strip()


async def measure(setting: Setting) -> list[Figure]:
    with running_venue("binance", [f"--weight-limit={WEIGHT_LIMIT}"]) as venue:
        rounds = await asyncio.gather(
            *(_play(setting, venue, each, setting.folder / str(number)) for number, each in enumerate(MOMENTS))
        )
    return [
        Figure(
            name="fence",
            what=f"orders that the venue took with an expired lease: SIGSTOP, {STOPPED_SECONDS:g} s, SIGCONT",
            value=float(sum(each["accepted_expired"] for each in rounds)),
            unit="orders",
            goal=0,
            samples=len(rounds),
            detail={each.name: told for each, told in zip(MOMENTS, rounds, strict=True)},
        )
    ]


async def _play(setting: Setting, venue: VenueProcess, moment: Moment, folder: Path) -> dict[str, Any]:
    uid = await asyncio.to_thread(venue.open_account, BALANCES)
    keys = folder / "keys"
    keys.mkdir(parents=True, mode=0o700)
    for name, text in zip(("apiKey", "apiSecret"), await asyncio.to_thread(venue.issue_key, uid), strict=True):
        (keys / name).write_text(text)
    async with _trading(venue, moment, folder, keys) as (played, trader):
        await trader.until_active()
        await _until_orders(venue, uid, after_ms=0)
        setting.say(f"fence, {moment.name}: it trades")
        await _stop_and_wake(setting, played)
        renewed, denied = len(played.kube.renewals), trader.said[DENIED]
        if moment.is_blind:
            await asyncio.sleep(BLIND_SECONDS)
            if len(played.kube.renewals) != renewed:
                raise RuntimeError("the lease was renewed while the API server refused everything")
            played.kube.down = False
        await until("a renewed lease", lambda: len(played.kube.renewals) > renewed, seconds=ALIVE_SECONDS)
        setting.say(f"fence, {moment.name}: it has its lease again")
        denied = trader.said[DENIED] - denied
        back_ms = played.kube.renewals[renewed].at_ms
        await _until_orders(venue, uid, after_ms=back_ms)
        orders_ms = await _orders_ms(venue, uid)
    expired_ms = played.kube.renewals[renewed - 1].until_ms
    return {
        "accepted_expired": count_expired(orders_ms, played.kube.renewals),
        "accepted_before": sum(each * MS < played.stopped_ns for each in orders_ms),
        "accepted_after": sum(each >= back_ms for each in orders_ms),
        "stopped_s": round((played.woken_ns - played.stopped_ns) / NS, 1),
        "expired_when_woken_s": round(played.woken_ns / NS - expired_ms / 1e3, 1),
        "expired_until_renewed_s": round((back_ms - expired_ms) / 1e3, 1),
        "denied_until_renewed": denied,
        "answer_to_held_order": played.held_answer,
    }


@asynccontextmanager
async def _trading(
    venue: VenueProcess, moment: Moment, folder: Path, keys: Path
) -> AsyncIterator[tuple[Round, TraderProcess]]:
    """SIGCONT at the end, whatever happened: who is stopped does not hear SIGTERM."""
    kube, wire = LeaseBook(build_bot_spec(BookName.LIVE, **SPEC)), Wire(venue.address)
    played = Round(moment, kube, wire)
    wire.hold, wire.hold_answer = played.hold, played.hold_answer
    async with (
        wire.serving(),
        running_trader(
            replace(venue, address=wire.address), folder, book=BookName.LIVE, kube=kube, keys_dir=keys
        ) as trader,
    ):
        played.pid = trader.pid
        try:
            yield played, trader
        finally:
            played.go_on.set()
            played.kube.down = False
            os.kill(trader.pid, signal.SIGCONT)


async def _stop_and_wake(setting: Setting, played: Round) -> None:
    """At least for STOPPED_SECONDS, and until the lease is over."""
    moment, kube = played.moment, played.kube
    renewed = len(kube.renewals)
    await until("a fresh renewal", lambda: len(kube.renewals) > renewed)
    await until("the lease's age", lambda: kube.age_seconds >= moment.lease_age_seconds)
    if moment.on:
        played.may_stop = True
        async with asyncio.timeout(ALIVE_SECONDS):
            await played.stopped.wait()
    else:
        played.stop()
    setting.say(f"fence, {moment.name}: stopped, its lease is {kube.age_seconds:.1f} s old")
    over_ms = kube.renewals[-1].until_ms
    await _sleep_until(over_ms / 1e3 + BEYOND_SECONDS)
    if moment.on == "order":
        played.go_on.set()
        await until("the venue's answer to the order that was held", lambda: played.held_answer)
    await _sleep_until(played.stopped_ns / NS + STOPPED_SECONDS)
    kube.down = moment.is_blind
    played.wake()
    played.go_on.set()


async def _sleep_until(unix_seconds: float) -> None:
    await asyncio.sleep(max(unix_seconds - time.time(), 0.0))


async def _until_orders(venue: VenueProcess, uid: int, *, after_ms: int) -> None:
    """Until the venue has taken one after that moment."""

    def look() -> bool:
        return any(int(each["time"]) > after_ms for each in venue.account(uid)["orders"])

    await asyncio.to_thread(polling.until, "an order at the venue", look, seconds=ALIVE_SECONDS)


async def _orders_ms(venue: VenueProcess, uid: int) -> list[int]:
    """When the venue took each order of that account, by its own clock, which is this machine's."""
    account = await asyncio.to_thread(venue.account, uid)
    return [int(each["time"]) for each in account["orders"]]
