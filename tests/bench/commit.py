"""What it costs to make an intent durable: the transaction that the desk writes before each order. SHELL.

Against a bare fsync of 4 KiB that were appended to a file beside it: what no store on this disk could be below.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.unit.orders import builders

from bench.figure import Figure, percentile, ratios
from bench.risk_check import build_engine
from bench.setting import Setting
from tradingbot_trader.book.audit import AuditKind
from tradingbot_trader.book.store import Identity, Store, Transaction
from tradingbot_trader.orders.order import BookName

SAMPLES = 1_000
WARM_UP = 50
PAGE_BYTES = 4096


async def measure(setting: Setting) -> list[Figure]:
    identity = Identity("bench", "desk", "btc", "binance", "Sandbox")
    store = Store.open(setting.folder / "store", identity, book=BookName.PAPER, account="paper", now_ns=builders.NOW_NS)
    store.begin_epoch(0, builders.NOW_NS)
    fd = os.open(Path(setting.folder) / "bare", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    commits_us: list[float] = []
    bare_us: list[float] = []
    try:
        for number in range(WARM_UP + SAMPLES):
            commits_us.append(_commit_us(store, number))
            bare_us.append(_fsync_us(fd, number))
    finally:
        os.close(fd)
        store.close()
    commits_us, bare_us = commits_us[WARM_UP:], bare_us[WARM_UP:]
    return [
        Figure(
            name="commit",
            what=f"an approved intent and its audit record, synchronous=FULL, on {setting.filesystem}",
            value=percentile(commits_us, 50),
            unit="us",
            samples=len(commits_us),
            p50=percentile(commits_us, 50),
            p99=percentile(commits_us, 99),
        ),
        Figure(
            name="commit-ratio",
            what="the same, pair by pair",
            value=percentile(ratios(commits_us, bare_us), 50),
            unit="x",
            relative_to="a bare fsync of 4 KiB on the same disk",
            samples=len(bare_us),
            p50=percentile(ratios(commits_us, bare_us), 50),
            p99=percentile(ratios(commits_us, bare_us), 99),
            detail={
                "fsync_p50_us": round(percentile(bare_us, 50), 1),
                "fsync_p99_us": round(percentile(bare_us, 99), 1),
            },
        ),
    ]


def _commit_us(store: Store, number: int) -> float:
    """What Desk._send writes."""
    engine = build_engine()
    intent = builders.intent(f"{number:032x}")
    decision = engine.decide(intent, builders.conditions(limits=builders.limits(granted="10000", stage="10000")))

    def write(tx: Transaction) -> None:
        tx.put_intent(intent)
        tx.put_audit(AuditKind.ORDER_APPROVED, decision.to_data())

    began_ns = time.perf_counter_ns()
    with store.transaction(intent.created_ns) as tx:
        write(tx)
    return (time.perf_counter_ns() - began_ns) / 1e3


def _fsync_us(fd: int, number: int) -> float:
    page = number.to_bytes(8, "big") * (PAGE_BYTES // 8)
    began_ns = time.perf_counter_ns()
    os.write(fd, page)
    os.fsync(fd)
    return (time.perf_counter_ns() - began_ns) / 1e3
