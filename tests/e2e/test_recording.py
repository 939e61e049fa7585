"""One bot trades a real recorded market on paper, to its end: nothing lost, nothing doubled, every decision told."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from support.stack import Stack, build_bot
from tradingbot_sandbox.supervisor.process import Child

pytestmark = pytest.mark.recording
SPEED = "8"
SECONDS = 150.0
"""346 s of market at 8x take 43 s; the rest is room for a busy machine."""
STRATEGY = {"fast": 2, "slow": 5, "rsiPeriod": 7, "rsiOverbought": 90}


@pytest.fixture(scope="module")
def recording() -> Path:
    path = os.environ.get("TRADINGBOT_RECORDING")
    if path and Path(path).is_file():
        return Path(path)
    reason = f"TRADINGBOT_RECORDING names no recorded market ({path!r}); the recording is no part of the project"
    if os.environ.get("TRADINGBOT_REQUIRE_RECORDING"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture
def venue(stack: Stack, recording: Path, tmp_path: Path) -> Iterator[str]:
    """The recording, played once from the first subscription on."""
    command = [
        sys.executable, "-m", "tradingbot_sandbox", "venue", "binance", "--listen", f"127.0.0.1:{stack.testnet_port}",
        "--market", str(recording), "--speed", SPEED, "--play", "once", "--start", "first-subscription",
    ]  # fmt: skip
    child = Child(command, environ=dict(os.environ), directory=tmp_path, log=tmp_path / "venue.log", guarded=True)
    yield f"http://127.0.0.1:{stack.testnet_port}/sandbox/state"
    child.send(15)
    child.wait(10)


def count_trades(recording: Path) -> int:
    """From the file itself, so that no number of it stands in the project."""
    with gzip.open(recording, "rt") as lines:
        return sum('"e":"trade"' in line for line in lines)


def read_state(address: str) -> dict[str, Any]:
    with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310  our own simulator
        state: dict[str, Any] = json.load(answer)
    return state


def test_recorded_market_is_traded_to_its_end(stack: Stack, desk: str, venue: str, recording: Path) -> None:
    strategy = {"name": "sma-cross", "timeframe": "1s", "parameters": STRATEGY}
    stack.wait("the venue", lambda: read_state(venue))
    stack.apply(build_bot("btc", desk, exchange={"id": "binance", "network": "Testnet"}, strategy=strategy))
    stack.wait("the recording's end", lambda: "ended" in json.dumps(read_state(venue)), seconds=SECONDS)
    trades = count_trades(recording)
    assert trades > 9_000
    metrics = stack.wait(
        "all trades",
        lambda: (
            (m := stack.metrics(desk, "btc"))
            and m["market_trades_total"] + m["market_dropped_messages"] >= trades
            and m
        ),
    )
    assert metrics["market_trades_total"] == trades
    assert metrics["market_dropped_messages"] == 0
    assert metrics.get("market_missing_trades_total", 0) == 0

    stack.patch(desk, "btc", {"killSwitch": {"engaged": True}})
    stack.wait("the proof", lambda: stack.trader(desk, "btc")["latch"]["state"] == "Stopped")
    store = stack.store(desk, "btc")
    trader = stack.wait(
        "a report of everything",
        lambda: (t := stack.trader(desk, "btc"))["auditHead"]["sequence"] == newest(store) and t,
    )
    check_ledger(store, trader)
    check_audit(store, trader)


def newest(store: Path) -> int:
    with sqlite3.connect(f"file:{store / 'store.db'}?mode=ro", uri=True) as database:
        return int(database.execute("SELECT max(sequence) FROM audit").fetchone()[0])


def check_ledger(store: Path, trader: dict[str, Any]) -> None:
    """Position and cash are the sum of the fills, to the last digit, worked out here by other means."""
    with sqlite3.connect(f"file:{store / 'store.db'}?mode=ro", uri=True) as database:
        database.row_factory = sqlite3.Row
        fills = database.execute("SELECT * FROM fills").fetchall()
    assert len(fills) >= 6
    assert {fill["side"] for fill in fills} == {"buy", "sell"}
    base = cash = Decimal(0)
    for fill in fills:
        quantity, price, fee = (Decimal(fill[name]) for name in ("quantity_base", "price", "fee_amount"))
        if fill["side"] == "buy":
            assert fill["fee_asset"] == "BTC"
            base, cash = base + quantity - fee, cash - quantity * price
        else:
            assert fill["fee_asset"] == "USDT"
            base, cash = base - quantity, cash + quantity * price - fee
    held = {each["symbol"]: each for each in trader["positions"]}
    assert Decimal(held["BTC/USDT"]["quantity"] if "BTC/USDT" in held else 0) == base
    cost = Decimal(held["BTC/USDT"]["cost"]) if "BTC/USDT" in held else Decimal(0)
    assert Decimal(trader["performance"]["realizedPnl"]) == cash + cost
    assert trader["performance"]["fills"] == len(fills)


def check_audit(store: Path, trader: dict[str, Any]) -> None:
    head = trader["auditHead"]
    program = str(Path(sys.executable).with_name("tradingbot-trader"))
    verified = subprocess.run(
        [program, "audit", "verify", "--store", str(store), "--head", f"{head['sequence']}:{head['hash']}"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert verified.returncode == 0, verified.stderr
    with sqlite3.connect(f"file:{store / 'store.db'}?mode=ro", uri=True) as database:
        approved = database.execute("SELECT count(*) FROM audit WHERE kind = 'OrderApproved'").fetchone()[0]
        denied = database.execute("SELECT count(*) FROM audit WHERE kind = 'OrderDenied'").fetchone()[0]
        told = database.execute("SELECT count(*) FROM audit WHERE kind = 'Fill'").fetchone()[0]
        orders = database.execute("SELECT count(*) FROM orders").fetchone()[0]
    assert approved == orders == trader["performance"]["orders"]
    assert denied == trader["performance"]["denials"]
    assert told == trader["performance"]["fills"]
