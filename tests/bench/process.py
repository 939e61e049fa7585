"""SHELL. The real programs as processes of their own: `tradingbot-trader run`, and an interpreter that imports ccxt."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bench.api_server import serving
from bench.composed import build_bot_spec, until, write_keys
from bench.setting import resident_mb
from support.trader import FakeKube
from tradingbot_sandbox.venues.process import VenueProcess
from tradingbot_trader.control.permit import MODES
from tradingbot_trader.orders.order import BookName

DEADLINE_SECONDS = 60.0
STOP_SECONDS = 20.0
T = TypeVar("T")
BARE = "import ccxt.pro\nprint('imported', flush=True)\nimport sys\nsys.stdin.read()"
"""Tells when it is done, and stays until its input is closed."""


@dataclass(frozen=True, slots=True)
class Started:
    """A process that has come to the point in question."""

    pid: int
    seconds: float
    """From the moment in which it was spawned."""

    @property
    def resident_mb(self) -> float:
        return resident_mb(self.pid)


@dataclass(frozen=True, slots=True)
class TraderProcess(Started):
    """`seconds`: until the feed said that the first message of the market had come."""

    kube: FakeKube
    said: Counter[str]
    """How often it has logged each event, since the feed said so."""

    async def until_active(self) -> None:
        """Until it says so."""
        await until("Active", lambda: self.kube.trader.get("state") == "Active")


@asynccontextmanager
async def bare_import() -> AsyncIterator[Started]:
    """What everybody pays who uses ccxt's streams: the same interpreter, `import ccxt.pro`, and nothing else."""
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", BARE, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        await asyncio.wait_for(_required(process.stdout).readline(), DEADLINE_SECONDS)
        yield Started(process.pid, time.perf_counter() - began)
    finally:
        _required(process.stdin).close()
        await asyncio.wait_for(process.wait(), STOP_SECONDS)


@asynccontextmanager
async def running_trader(
    venue: VenueProcess,
    folder: Path,
    *,
    book: BookName,
    kube: FakeKube | None = None,
    keys_dir: Path | None = None,
) -> AsyncIterator[TraderProcess]:
    """The program that a pod runs, with one symbol, until its first message of the market; SIGTERM at the end.

    `kube` and `keys_dir` stand in for a bot and for an account of its own.
    """
    kube = kube or FakeKube(build_bot_spec(book))
    kube.permit(mode=MODES[book].value)
    keys = []
    if book is BookName.LIVE:
        keys = ["--keys-dir", str(keys_dir or write_keys(venue, folder / "keys"))]
    async with serving(kube, folder / "service-account") as api:
        command = [
            sys.executable, "-m", "tradingbot_trader", "run",
            "--namespace", "desk", "--name", "btc", "--exchange", "binance", "--network", "Sandbox",
            "--book", book.value, "--store", str(folder / "store"), "--listen", "127.0.0.1:0",
            "--service-account-dir", str(api.service_account), "--installation", "bench",
            "--rest-url", venue.rest_url, "--stream-url", venue.stream_url, "--account-url", venue.session_url, *keys,
        ]  # fmt: skip
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *command, stderr=asyncio.subprocess.PIPE, env=os.environ | dict(api.environment), limit=1 << 20
        )
        lines = _required(process.stderr)
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await _until_connected(lines)
            seconds = time.perf_counter() - began
            said: Counter[str] = Counter()
            reading = asyncio.create_task(_pass_on(lines, said))
            yield TraderProcess(process.pid, seconds, kube, said)
        finally:
            if process.returncode is None:
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()
        await reading


async def _until_connected(lines: asyncio.StreamReader) -> None:
    """The feed says so in the moment in which the first trade or book is handled (market/feed.py)."""
    async for line in lines:
        _log(line)
        if _word(line, "event") == "feed" and _word(line, "state") == "Connected":
            return
    raise RuntimeError("the trader ended before its first message of the market")


async def _pass_on(lines: asyncio.StreamReader, said: Counter[str]) -> None:
    async for line in lines:
        _log(line)
        said[str(_word(line, "event"))] += 1


def _word(line: bytes, name: str) -> Any:
    try:
        return json.loads(line).get(name)
    except (ValueError, AttributeError):
        return None  # a traceback is no JSON


def _required(stream: T | None) -> T:
    if stream is None:
        raise RuntimeError("a process was started without a pipe")
    return stream


def _log(line: bytes) -> None:
    sys.stderr.buffer.write(line)
    sys.stderr.buffer.flush()
