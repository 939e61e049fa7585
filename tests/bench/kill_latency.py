"""From the accepted kill patch to the first order that is refused, against a bare watch event of it. SHELL.

A real API server and no operator at all. The patch and the bare watch are another process's (hand.py); the trader is
the whole session (governed.py), in which a task asks the gate all the time whether an entry may leave.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from bench.composed import SYMBOL, until
from bench.figure import Figure, percentile
from bench.governed import NAME, NAMESPACE, Governed, create_bot, governed, required_gate
from bench.hand import Hand, Told, helping_hand
from bench.operator_process import running_cluster
from bench.setting import Setting
from tradingbot_sandbox.venues.process import VenueProcess, running_venue

SAMPLES = 300
WARM_UP = 10
TRADES = 20_000
GOAL_P50, GOAL_P99 = 10.0, 30.0
SINCE = ("accepted", "sent")
"""The moments of a patch from which both are counted, in the order in which they are preferred."""
LEAST_MS = 1.0
"""A bare event that came within so little of the answer to the patch, or before it, is no measure for anything: the
gate is asked once in a millisecond, and which of two connections is read first is chance."""
SAY_EVERY = 50
PATH = f"/apis/tradingbot.dev/v1alpha1/namespaces/{NAMESPACE}/tradingbots/{NAME}"
NEXT_BURST_TRADES = TRADES * 9 // 10
"""So many of a burst have come: the next one is asked for, so that there is no pause."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One kill; all by one monotonic clock."""

    told: Told
    heard_ns: int
    """The trader's own watch or read has delivered it."""
    refused_ns: int
    commits: int = 0
    in_commits_seconds: float = 0.0
    """From the delivery to the refusal."""
    was_refused_before: bool = False
    """For another reason, between patch and stop."""


@dataclass(slots=True)
class Bursts:
    """How many were asked for, how many trades came."""

    asked: int = 0
    trades: int = 0
    dropped: int = 0
    begun: asyncio.Event = field(default_factory=asyncio.Event)


async def measure(setting: Setting) -> list[Figure]:
    with running_cluster(setting, "cluster", controllers=False) as cluster, running_venue("binance") as venue:
        create_bot(cluster)
        async with (
            governed(cluster, venue, setting.folder) as trader,
            helping_hand(cluster.control_plane.admin, PATH) as hand,
        ):
            for _ in range(WARM_UP):
                await _kill(trader, hand)
            quiet = await _kill_often(setting, "quiet", trader, hand)
            async with _bursting(trader, venue) as bursts:
                busy = await _kill_often(setting, "bursts", trader, hand)
    text = f"while bursts of {TRADES:,} trades arrive without a pause"
    told = {"bursts": bursts.asked, "trades": bursts.trades, "trades_dropped": bursts.dropped}
    return [
        *figures("kill-latency", f"{text}, no operator", busy, told),
        *figures("kill-latency-quiet", "in a quiet market, no operator", quiet, {}),
    ]


def figures(name: str, text: str, samples: Sequence[Sample], told: dict[str, object]) -> list[Figure]:
    """PURE. Both percentiles of one run: from the acceptance of the patch, or from its sending where that says nothing
    (`ratio`); which one it was is in `relative_to`."""
    made = []
    for percent, goal in ((50, GOAL_P50), (99, GOAL_P99)):
        since = next((each for each in SINCE if math.isfinite(ratio(samples, percent, since=each))), SINCE[-1])
        bare_ms = percentile(elapsed_ms(samples, "event_ns", since=since), percent)
        refused_ms = percentile(elapsed_ms(samples, "refused_ns", since="accepted"), percent)
        made.append(
            Figure(
                name=f"{name}-p{percent}",
                what=f"patch accepted -> next order refused ({refused_ms:.1f} ms), p{percent}, {text}",
                value=ratio(samples, percent, since=since),
                unit="x",
                relative_to=f"a bare watch event ({bare_ms:.1f} ms), both from the moment the patch was {since}",
                goal=goal,
                samples=len(samples),
                detail=describe(samples) | told,
            )
        )
    return made


def ratio(samples: Sequence[Sample], percent: float, *, since: str) -> float:
    """PURE. Of the two percentiles. Infinite, which meets no goal, where one of them is no measure (LEAST_MS)."""
    ours = percentile(elapsed_ms(samples, "refused_ns", since=since), percent)
    bare = percentile(elapsed_ms(samples, "event_ns", since=since), percent)
    return ours / bare if ours > 0 and bare >= LEAST_MS else math.inf


def elapsed_ms(samples: Sequence[Sample], what: str, *, since: str) -> list[float]:
    """PURE. Of `event_ns`, `heard_ns` or `refused_ns` since the patch was sent, or accepted."""
    moments = [each.told.event_ns if what == "event_ns" else getattr(each, what) for each in samples]
    return [(at_ns - getattr(each.told, f"{since}_ns")) / 1e6 for at_ns, each in zip(moments, samples, strict=True)]


def describe(samples: Sequence[Sample]) -> dict[str, object]:
    """PURE. What the ratio was made of."""
    told: dict[str, object] = {
        f"{what.removesuffix('_ns')}_from_{since}_p{percent}_ms": round(
            percentile(elapsed_ms(samples, what, since=since), percent), 3
        )
        for since in SINCE
        for what in ("event_ns", "heard_ns", "refused_ns")
        for percent in (50, 99)
    }
    told |= {f"from_{since}_p{p}_x": _finite(ratio(samples, p, since=since)) for since in SINCE for p in (50, 99)}
    in_commits = [each.in_commits_seconds * 1e3 for each in samples]
    return told | {
        "in_commits_p50_ms": round(percentile(in_commits, 50), 3),
        "in_commits_p99_ms": round(percentile(in_commits, 99), 3),
        "commits_p50": percentile([float(each.commits) for each in samples], 50),
        "refused_before_for_another_reason": sum(each.was_refused_before for each in samples),
    }


def _finite(value: float) -> float | None:
    """JSON has no infinity."""
    return round(value, 2) if math.isfinite(value) else None


async def _kill_often(setting: Setting, what: str, trader: Governed, hand: Hand) -> list[Sample]:
    samples: list[Sample] = []
    while len(samples) < SAMPLES:
        samples.append(await _kill(trader, hand))
        if len(samples) % SAY_EVERY == 0:
            setting.say(f"kill-latency, {what}: {len(samples)} of {SAMPLES} kills")
    return samples


async def _kill(trader: Governed, hand: Hand) -> Sample:
    """One stop, and its re-arm by the id that the trader's own report tells."""
    gate = required_gate(trader)
    await until("an open gate", lambda: gate.is_open)
    trader.forget()
    told = await hand.patch({"engaged": True, "reason": "bench"})
    await until("the refusal", lambda: gate.refused_ns("Latched"))
    refused_ns = gate.refused_ns("Latched")
    commits = trader.disk.commits_seconds[trader.commits_before : trader.commits_at_refusal]
    sample = Sample(
        told,
        trader.heard_ns,
        refused_ns,
        commits=len(commits),
        in_commits_seconds=sum(commits),
        was_refused_before=min(gate.refusals.values()) < refused_ns,
    )
    await until("the report of the latch", lambda: trader.reported_latch)
    trader.let_go = trader.reported_latch
    await hand.patch({"engaged": False, "rearm": trader.let_go})
    await until("the release", lambda: gate.is_open)
    return sample


@asynccontextmanager
async def _bursting(trader: Governed, venue: VenueProcess) -> AsyncIterator[Bursts]:
    """One burst after the other, from the first trades on until it is left."""
    bursts = Bursts()
    before = trader.market.counters
    task = asyncio.create_task(_burst_on(trader, venue, bursts))
    try:
        await bursts.begun.wait()
        yield bursts
    finally:
        after = trader.market.counters
        bursts.trades, bursts.dropped = after.delivered - before.delivered, after.dropped - before.dropped
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _burst_on(trader: Governed, venue: VenueProcess, bursts: Bursts) -> None:
    symbol = SYMBOL.replace("/", "")
    while True:
        begin = trader.market.counters.delivered
        await asyncio.to_thread(venue.burst, trades=TRADES, symbol=symbol)
        bursts.asked += 1
        bursts.begun.set()
        await until("the burst", lambda begin=begin: trader.market.counters.delivered >= begin + NEXT_BURST_TRADES)
